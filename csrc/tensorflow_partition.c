#include "tensorflow_partition.h"

#include <stdlib.h>
#include <string.h>

/* One sliced want under way. */
struct job {
    struct tetris_want *want;
    struct tetris_slice *slice;
    TF_Tensor *output; /* NULL for variants: they cannot be copied here, only handed on */
};

/* A whole tensor that was read; neighbours are often slices of the same. */
struct whole {
    const struct tetris_want *of;
    TF_Tensor *tensor;
};

/* The shape in the spec must be that of the tensor. */
static bool check_shape(struct tetris_stock *stock, struct tetris_request *request,
                        const struct job *job)
{
    const char *name = job->want->name.at;
    int ndims = tetris_tf.TF_CheckpointReaderGetVariableNumDims(stock->reader, name);
    int64_t dims[TETRIS_MAX_DIMS];

    if (ndims >= 0 && ndims <= TETRIS_MAX_DIMS) {
        tetris_tf.TF_CheckpointReaderGetVariableShape(stock->reader, name, dims, ndims,
                                                      request->status);
        if (!tetris_request_ok(request))
            return false;
        if (ndims == job->slice->ndims &&
            !memcmp(dims, job->slice->shape, (size_t)ndims * sizeof *dims))
            return true;
    }
    return tetris_request_fail(request, TF_INVALID_ARGUMENT,
                               "tensor_name = %s; shape in shape_and_slice spec %s does not match "
                               "the shape stored in checkpoint",
                               name, job->want->spec.at);
}

static bool start_job(struct tetris_stock *stock, struct tetris_request *request, struct job *job)
{
    job->slice = malloc(sizeof *job->slice);
    if (!job->slice)
        return tetris_request_fail(request, TF_RESOURCE_EXHAUSTED, "Out of memory.");
    if (!tetris_request_slice(request, job->want, job->slice) ||
        !check_shape(stock, request, job))
        return false;
    if (job->want->dtype != TF_STRING && !tetris_tf.TF_DataTypeSize(job->want->dtype))
        return true;
    job->output = tetris_request_allocate(request, job->want, job->slice->length,
                                          job->slice->ndims);
    return job->output != NULL;
}

/* Asks the hook for all at once and marks what it filled by forgetting the slice. */
static bool try_stored(struct tetris_stock *stock, struct tetris_request *request, struct job *jobs,
                       size_t count)
{
    struct tetris_stored_slice *asked = calloc(count, sizeof *asked);

    if (!asked)
        return tetris_request_fail(request, TF_RESOURCE_EXHAUSTED, "Out of memory.");
    for (size_t i = 0; i < count; i++) {
        const struct tetris_slice *slice = jobs[i].slice;

        asked[i] = (struct tetris_stored_slice){
            .name = jobs[i].want->name.at,
            .name_size = jobs[i].want->name.size,
            .ndims = slice->ndims,
            .shape = slice->shape,
            .start = slice->start,
            .length = slice->asked,
        };
        if (jobs[i].output) {
            asked[i].data = tetris_tf.TF_TensorData(jobs[i].output);
            asked[i].elements = tetris_slice_elements(slice);
            asked[i].nbytes = (size_t)asked[i].elements *
                              tetris_tf.TF_DataTypeSize(jobs[i].want->dtype);
        }
    }
    stock->read_stored(request->prefix.at, request->prefix.size, asked, (int)count);
    for (size_t i = 0; i < count; i++)
        if (asked[i].filled) {
            free(jobs[i].slice);
            jobs[i].slice = NULL;
        }
    free(asked);
    return true;
}

static bool read_whole(struct tetris_stock *stock, struct tetris_request *request,
                       struct tetris_want *want, struct whole *whole)
{
    if (whole->of && !strcmp(whole->of->name.at, want->name.at))
        return true;
    if (whole->of)
        tetris_tf.TF_DeleteTensor(whole->tensor);
    whole->of = NULL;
    whole->tensor =
        tetris_tf.TF_CheckpointReaderGetTensor(stock->reader, want->name.at, request->status);
    if (whole->tensor)
        whole->of = want;
    return whole->tensor != NULL;
}

/* All of it: TensorFlow does not cut strings. */
static void copy_strings(void *to, void *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const TF_TString *string = tetris_tf_string(from, i);

        tetris_tf_set_string(to, i, tetris_tf.TF_StringGetDataPointer(string),
                             tetris_tf.TF_StringGetSize(string));
    }
}

static bool cut(struct tetris_stock *stock, struct tetris_request *request, struct job *job,
                struct whole *whole)
{
    struct tetris_want *want = job->want;
    bool is_full = tetris_slice_is_full(job->slice);
    void *from, *to;

    if (!read_whole(stock, request, want, whole))
        return false;
    if (!is_full && !tetris_slice_supports(want->dtype))
        return tetris_request_fail(request, TF_INVALID_ARGUMENT, "Dtype %d not supported.",
                                   want->dtype);
    if (!job->output) {
        whole->of = NULL;
        return tetris_request_set(request, want, whole->tensor);
    }
    from = tetris_tf.TF_TensorData(whole->tensor);
    to = tetris_tf.TF_TensorData(job->output);
    if (want->dtype == TF_STRING)
        copy_strings(to, from, tetris_slice_elements(job->slice));
    else
        tetris_slice_copy(job->slice, tetris_tf.TF_DataTypeSize(want->dtype), from, to);
    return true;
}

static bool run(struct tetris_stock *stock, struct tetris_request *request, struct job *jobs,
                size_t count)
{
    struct whole whole = {NULL, NULL};
    bool good = true;

    for (size_t i = 0; i < count && good; i++)
        good = start_job(stock, request, &jobs[i]);
    if (good && stock->read_stored)
        good = try_stored(stock, request, jobs, count);
    for (size_t i = 0; i < count && good; i++)
        if (jobs[i].slice)
            good = cut(stock, request, &jobs[i], &whole);
    if (whole.of)
        tetris_tf.TF_DeleteTensor(whole.tensor);
    return good;
}

bool tetris_partition_serve(struct tetris_stock *stock, struct tetris_request *request)
{
    struct job *jobs = calloc((size_t)request->count, sizeof *jobs);
    size_t count = 0;
    bool good;

    if (!jobs)
        return tetris_request_fail(request, TF_RESOURCE_EXHAUSTED, "Out of memory.");
    for (int i = 0; i < request->count; i++)
        if (request->wants[i].source == TETRIS_FROM_CHECKPOINT && request->wants[i].spec.size)
            jobs[count++].want = &request->wants[i];
    good = !count || run(stock, request, jobs, count);
    for (size_t i = 0; i < count; i++) {
        free(jobs[i].slice);
        if (jobs[i].output)
            tetris_tf.TF_DeleteTensor(jobs[i].output);
    }
    free(jobs);
    return good;
}
