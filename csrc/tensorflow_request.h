/* One run of RestoreV2: what it was asked for, and how far it has come. */
#ifndef TETRIS_TENSORFLOW_REQUEST_H
#define TETRIS_TENSORFLOW_REQUEST_H

#include "tensorflow_api.h"
#include "tensorflow_eager.h"
#include "tensorflow_slice.h"

enum tetris_source {
    TETRIS_FROM_CHECKPOINT, /* to be read as the stock kernel reads it */
    TETRIS_FROM_SEGMENT,    /* to be mapped */
    TETRIS_SET,             /* the output is there */
};

/* One tensor asked for; its position is that of its output. */
struct tetris_want {
    struct tetris_text name;
    struct tetris_text spec; /* of a slice; empty for the whole tensor */
    int dtype;
    enum tetris_source source;
};

struct tetris_request {
    TF_OpKernelContext *context;
    TF_Status *status;
    struct tetris_text prefix;
    struct tetris_want *wants;
    int count;
    char *text; /* what the texts above point into */
};

/* Reads the inputs and checks them as the stock kernel does; false with the status set. Free it in
 * either case. */
bool tetris_request_read(struct tetris_request *request, TF_OpKernelContext *context);
void tetris_request_free(struct tetris_request *request);

/* Sets the status; the first failure stays. Always false. */
bool tetris_request_fail(struct tetris_request *request, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

bool tetris_request_ok(const struct tetris_request *request);

/* Makes `tensor`, which it takes over, the output of `want`; false with the status set. */
bool tetris_request_set(struct tetris_request *request, struct tetris_want *want,
                        TF_Tensor *tensor);

/* Memory for the output of `want`; the caller deletes the tensor when it is filled. NULL with the
 * status set. */
TF_Tensor *tetris_request_allocate(struct tetris_request *request, struct tetris_want *want,
                                   const int64_t *dims, int ndims);

/* Parses the spec of `want`, which has one; false with the status set. */
bool tetris_request_slice(struct tetris_request *request, const struct tetris_want *want,
                          struct tetris_slice *slice);

#endif
