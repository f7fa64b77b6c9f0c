/* One attached model: which segment holds which tensor, and the lease that keeps them there.
 *
 * A table lives as long as somebody counts on it: whoever attached, a restore under way, and every
 * tensor made from it. With the last of them it unmaps its lease, by which the daemon knows. */
#ifndef TETRIS_TENSORFLOW_TABLE_H
#define TETRIS_TENSORFLOW_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define TETRIS_FINGERPRINT_SIZE 32

typedef struct tetris_table tetris_table;

struct tetris_entry {
    char *name; /* NUL-terminated */
    size_t name_size;
    char *file;    /* of the segment, in the view; empty when nbytes is 0 */
    int dtype;     /* TF_DataType */
    int ndims;
    int64_t *dims; /* of the whole tensor, in elements */
    size_t nbytes;
};

/* An empty table of the model `fingerprint`, whose segments are in directory `view`; one count. */
int tetris_table_new(const uint8_t *fingerprint, const char *view, tetris_table **table);

/* Adds one tensor. -EINVAL: a negative dimension. Only before tetris_table_publish. */
int tetris_table_add(tetris_table *table, const char *name, size_t name_size, int dtype,
                     const int64_t *dims, int ndims, const char *file, size_t nbytes);

/* Takes the lease `lease` of the view (NULL: none) and lets tetris_table_find see the table.
 * -ENOENT: the lease is gone. -EEXIST: two tensors of one name. */
int tetris_table_publish(tetris_table *table, const char *lease);

/* The table of that model with a count more, or NULL. Never one from before a fork: a child that
 * attaches takes its own lease, or the daemon would not know of it. */
tetris_table *tetris_table_find(const uint8_t *fingerprint);

void tetris_table_ref(tetris_table *table);
void tetris_table_unref(tetris_table *table);

const uint8_t *tetris_table_fingerprint(const tetris_table *table);

/* The tensor of that name, or NULL. */
const struct tetris_entry *tetris_table_lookup(const tetris_table *table, const char *name,
                                               size_t name_size);

/* Opens the view; the caller closes *fd. By path each time, since a descriptor kept for long could
 * be closed behind our back by a program that becomes a daemon. */
int tetris_table_open_view(const tetris_table *table, int *fd);

#endif
