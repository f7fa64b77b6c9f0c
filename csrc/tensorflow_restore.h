/* The kernel that takes the place of TensorFlow's RestoreV2 on the CPU.
 *
 * Whole tensors of an attached model become mappings of their segments, slices that lie in one piece
 * become parts of such a mapping. The mappings are private and copy-on-write. TensorFlow copies a
 * variable before it first writes to it, since the buffer is not of its own allocator. All else, and all of it when there is
 * nothing attached, is read as the stock kernel reads it. */
#ifndef TETRIS_TENSORFLOW_RESTORE_H
#define TETRIS_TENSORFLOW_RESTORE_H

#include "tensorflow_stock.h"
#include "tensorflow_table.h"

/* Why a tensor of an attached model was not mapped. */
enum tetris_reason {
    TETRIS_STRING,   /* strings have no segment */
    TETRIS_SLICE,    /* TensorFlow must judge the slice */
    TETRIS_UNKNOWN,  /* the manifest has no such name */
    TETRIS_MISMATCH, /* of another dtype or size than its segment */
    TETRIS_GONE,     /* the segment is not there */
    TETRIS_REFUSED,  /* the kernel would not map it: a limit on mappings, say */
    TETRIS_REASONS,
};

/* What became of one run. */
struct tetris_restored {
    uint64_t tensors;   /* mapped */
    uint64_t nbytes;    /* in them */
    uint64_t read_only; /* mappings that had to be */
    uint64_t copied;    /* tensors: slices in many pieces, copied out of a mapping */
    uint64_t read[TETRIS_REASONS];
};

/* The other half of the kernel, which knows of checkpoints and of the daemon. Called from any
 * thread; none may fail in any way but the one named. */
struct tetris_restore_hooks {
    /* The table of the model at prefix, with a count for the caller; NULL: read it the stock way. */
    tetris_table *(*resolve)(const char *prefix, size_t prefix_size);
    /* Told after a restore in which a table took part has succeeded. */
    void (*restored)(const char *prefix, size_t prefix_size, const uint8_t *fingerprint,
                     const struct tetris_restored *what);
    tetris_read_stored *read_stored; /* also when sharing is off */
};

/* Registers the kernel, once in the life of the process; tetris_tf must be bound. -EIO: TensorFlow
 * refuses, and why says it. */
int tetris_restore_register(const struct tetris_restore_hooks *hooks, char *why, size_t why_size);

/* Turns sharing on or off. A kernel cannot be unregistered: off, it does what the stock one does. */
void tetris_restore_switch(int on);

#endif
