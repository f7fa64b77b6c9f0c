/* What a restore asks for of a tensor: the text "4 10 0,2:-" is the box [0,2) x [0,10) of a 4 x 10. */
#ifndef TETRIS_TENSORFLOW_SLICE_H
#define TETRIS_TENSORFLOW_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TETRIS_MAX_DIMS 254 /* TensorFlow's own limit */
#define TETRIS_WHOLE (-1)   /* the length of an axis given as "-" */

struct tetris_slice {
    int ndims;
    int64_t shape[TETRIS_MAX_DIMS];  /* of the whole tensor */
    int64_t start[TETRIS_MAX_DIMS];
    int64_t length[TETRIS_MAX_DIMS]; /* of the box: the shape of the result */
    int64_t asked[TETRIS_MAX_DIMS];  /* the length as written: TETRIS_WHOLE or a number */
};

/* Parses n > 0 bytes. On failure `why` says it in words.
 * -EINVAL: not of that form. -ERANGE: the box does not fit the shape. */
int tetris_slice_parse(const char *text, size_t n, struct tetris_slice *slice, char *why,
                       size_t why_size);

/* Whether the box is the whole tensor. */
bool tetris_slice_is_full(const struct tetris_slice *slice);

/* Number of elements in the box. */
int64_t tetris_slice_elements(const struct tetris_slice *slice);

/* Whether the box lies in one piece, from *offset elements on. */
bool tetris_slice_is_contiguous(const struct tetris_slice *slice, int64_t *offset);

/* Copies the box out of the whole tensor. */
void tetris_slice_copy(const struct tetris_slice *slice, size_t itemsize, const void *whole,
                       void *box);

/* Whether TensorFlow cuts boxes out of tensors of this TF_DataType; it refuses some, float16 and
 * strings among them. */
bool tetris_slice_supports(int dtype);

#endif
