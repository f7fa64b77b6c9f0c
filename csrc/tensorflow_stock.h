/* Reading tensors as the stock RestoreV2 does, to the error code.
 *
 * The stock kernel itself cannot be called: a kernel of higher priority hides it for good. What it
 * is made of can be: the reader of V2 checkpoints through the C API, that of V1 checkpoints through
 * the op RestoreSlice. */
#ifndef TETRIS_TENSORFLOW_STOCK_H
#define TETRIS_TENSORFLOW_STOCK_H

#include "tensorflow_request.h"

/* One slice of a partitioned variable, wanted just as it may have been stored. */
struct tetris_stored_slice {
    const char *name;
    size_t name_size;
    int ndims;
    const int64_t *shape;  /* of the whole tensor */
    const int64_t *start;
    const int64_t *length; /* as it was written; TETRIS_WHOLE: all of that axis */
    void *data;    /* of the output; NULL: not to be filled */
    size_t nbytes; /* 0 for strings: use tetris_tf_set_string */
    int64_t elements;
    int filled; /* set by the hook when it has put the bytes into data */
};

/* Fills those slices that the checkpoint stores in just these bounds, leaves all others. The C
 * API cannot ask for them (their keys hold a NUL), so it is a hook. */
typedef void tetris_read_stored(const char *prefix, size_t prefix_size,
                                struct tetris_stored_slice *slices, int count);

struct tetris_stock {
    bool is_v1;
    TF_CheckpointReader *reader; /* of a V2 checkpoint, once open */
    tetris_read_stored *read_stored;
};

/* First pass, over what is TETRIS_FROM_CHECKPOINT: do the names exist, are the dtypes right? False
 * with the request's status set. Close the stock in either case. */
bool tetris_stock_check(struct tetris_stock *stock, struct tetris_request *request);

/* Second pass: sets the outputs. */
bool tetris_stock_serve(struct tetris_stock *stock, struct tetris_request *request);

void tetris_stock_close(struct tetris_stock *stock);

#endif
