/* Running one stock op from inside a kernel, in an eager context of its own.
 *
 * For what the C API has no function for but an op that shares the code of the stock RestoreV2. The
 * op runs on the calling thread. */
#ifndef TETRIS_TENSORFLOW_EAGER_H
#define TETRIS_TENSORFLOW_EAGER_H

#include "tensorflow_api.h"

struct tetris_text {
    const char *at; /* NUL-terminated */
    size_t size;
};

/* A context that sees the CPU alone; NULL with the status set. Delete it with TFE_DeleteContext. */
TFE_Context *tetris_eager_open(TF_Status *status);

/* Runs `op` on scalar strings and returns its one result, or NULL with the status set. `attribute`
 * names a type attribute to set to dtype, or is NULL. */
TF_Tensor *tetris_eager_run(TFE_Context *context, const char *op, const struct tetris_text *inputs,
                            int count, const char *attribute, int dtype, TF_Status *status);

#endif
