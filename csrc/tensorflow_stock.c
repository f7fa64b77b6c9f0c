#include "tensorflow_stock.h"

#include "tensorflow_large.h"
#include "tensorflow_partition.h"

#include <stdlib.h>
#include <string.h>

enum { LARGE = 16 << 20 }; /* elements above which the stock kernel uses a thread */

static bool anything_to_read(const struct tetris_request *request)
{
    for (int i = 0; i < request->count; i++)
        if (request->wants[i].source == TETRIS_FROM_CHECKPOINT)
            return true;
    return false;
}

/* Whether PREFIX.index is found, as the stock kernel looks for it: by pattern. */
static bool find_index(struct tetris_request *request, bool *found)
{
    char *path = malloc(request->prefix.size + sizeof ".index");
    struct tetris_text pattern = {path, request->prefix.size + strlen(".index")};
    TF_Status *status = tetris_tf.TF_NewStatus();
    bool good = path != NULL;

    if (!good) {
        tetris_request_fail(request, TF_RESOURCE_EXHAUSTED, "Out of memory.");
    } else {
        memcpy(path, request->prefix.at, request->prefix.size);
        strcpy(path + request->prefix.size, ".index");
    }
    if (good && !strpbrk(path, "*?[\\")) {
        TF_FileStatistics ignored;

        tetris_tf.TF_FileStat(path, &ignored, status);
        *found = tetris_tf.TF_GetCode(status) == TF_OK;
    } else if (good) {
        TFE_Context *context = tetris_eager_open(request->status);
        TF_Tensor *paths = NULL;

        good = context != NULL;
        if (good)
            paths = tetris_eager_run(context, "MatchingFiles", &pattern, 1, NULL, 0, status);
        *found = paths && tetris_tf.TF_TensorElementCount(paths) > 0;
        if (paths)
            tetris_tf.TF_DeleteTensor(paths);
        if (context)
            tetris_tf.TFE_DeleteContext(context);
    }
    tetris_tf.TF_DeleteStatus(status);
    free(path);
    return good;
}

static bool open_reader(struct tetris_stock *stock, struct tetris_request *request)
{
    if (!stock->reader)
        stock->reader = tetris_tf.TF_NewCheckpointReader(request->prefix.at, request->status);
    return stock->reader != NULL;
}

/* The functions that tell dtype and shape abort the process for a name they do not know, so look
 * for it first, in the list of names, which is sorted. */
static bool is_listed(TF_CheckpointReader *reader, const char *name)
{
    int low = 0, high = tetris_tf.TF_CheckpointReaderSize(reader);

    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(tetris_tf.TF_CheckpointReaderGetVariable(reader, middle), name);

        if (!order)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool is_nul_in(const struct tetris_text *text)
{
    return strlen(text->at) != text->size;
}

static bool wrong_dtype(struct tetris_request *request, const struct tetris_want *want, int dtype)
{
    return tetris_request_fail(
        request, TF_INVALID_ARGUMENT,
        "tensor_name = %s; expected dtype %d does not equal original dtype %d", want->name.at,
        want->dtype, dtype);
}

/* What the list does not have the reader refuses, in its own words; or it is one of the rare keys
 * that are no tensors, and reading them tells. */
static bool check_unlisted(struct tetris_stock *stock, struct tetris_request *request,
                           struct tetris_want *want)
{
    TF_Tensor *tensor;

    if (is_nul_in(&want->name))
        return tetris_request_fail(request, TF_NOT_FOUND, "Key %s not found in checkpoint",
                                   want->name.at);
    tensor = tetris_tf.TF_CheckpointReaderGetTensor(stock->reader, want->name.at, request->status);
    if (!tensor)
        return false;
    if (tetris_tf.TF_TensorType(tensor) == want->dtype)
        return tetris_request_set(request, want, tensor);
    wrong_dtype(request, want, tetris_tf.TF_TensorType(tensor));
    tetris_tf.TF_DeleteTensor(tensor);
    return false;
}

/* As the stock kernel: a name that is missing goes before a dtype that is wrong. */
static bool check_v2(struct tetris_stock *stock, struct tetris_request *request)
{
    const struct tetris_want *wrong = NULL;
    int stored = 0;

    for (int i = 0; i < request->count; i++) {
        struct tetris_want *want = &request->wants[i];
        int dtype;

        if (want->source != TETRIS_FROM_CHECKPOINT)
            continue;
        if (is_nul_in(&want->name) || !is_listed(stock->reader, want->name.at)) {
            if (!check_unlisted(stock, request, want))
                return false;
            continue;
        }
        dtype = tetris_tf.TF_CheckpointReaderGetVariableDataType(stock->reader, want->name.at);
        if (dtype != want->dtype && !wrong) {
            wrong = want;
            stored = dtype;
        }
    }
    return !wrong || wrong_dtype(request, wrong, stored);
}

bool tetris_stock_check(struct tetris_stock *stock, struct tetris_request *request)
{
    bool is_v2;

    if (!anything_to_read(request))
        return true;
    if (!find_index(request, &is_v2))
        return false;
    stock->is_v1 = !is_v2;
    /* V1 checks one tensor at a time, just before it reads it. */
    return stock->is_v1 || (open_reader(stock, request) && check_v2(stock, request));
}

static bool serve_v1(struct tetris_request *request)
{
    TFE_Context *context = tetris_eager_open(request->status);
    bool good = context != NULL;

    for (int i = 0; i < request->count && good; i++) {
        struct tetris_want *want = &request->wants[i];
        struct tetris_text inputs[] = {request->prefix, want->name, want->spec};
        TF_Tensor *tensor =
            tetris_eager_run(context, "RestoreSlice", inputs, 3, "dt", want->dtype,
                             request->status);

        good = tensor && tetris_request_set(request, want, tensor);
    }
    if (context)
        tetris_tf.TFE_DeleteContext(context);
    return good;
}

static bool is_whole(const struct tetris_want *want)
{
    return want->source == TETRIS_FROM_CHECKPOINT && !want->spec.size;
}

/* Marks the whole tensors that are worth a thread; returns whether there is one. */
static bool find_large(struct tetris_stock *stock, struct tetris_request *request, bool *is_large)
{
    bool found = false;

    for (int i = 0; i < request->count && tetris_request_ok(request); i++) {
        const struct tetris_want *want = &request->wants[i];
        int64_t dims[TETRIS_MAX_DIMS], elements = 1;
        int ndims;

        if (!is_whole(want) || !is_listed(stock->reader, want->name.at))
            continue;
        ndims = tetris_tf.TF_CheckpointReaderGetVariableNumDims(stock->reader, want->name.at);
        tetris_tf.TF_CheckpointReaderGetVariableShape(stock->reader, want->name.at, dims, ndims,
                                                      request->status);
        for (int d = 0; d < ndims; d++)
            elements *= dims[d];
        is_large[i] = elements > LARGE;
        found = found || is_large[i];
    }
    return found;
}

static bool serve_small(struct tetris_stock *stock, struct tetris_request *request,
                        const bool *is_large)
{
    for (int i = 0; i < request->count; i++) {
        struct tetris_want *want = &request->wants[i];
        TF_Tensor *tensor;

        if (!is_whole(want) || is_large[i])
            continue;
        tensor = tetris_tf.TF_CheckpointReaderGetTensor(stock->reader, want->name.at,
                                                        request->status);
        if (!tensor || !tetris_request_set(request, want, tensor))
            return false;
    }
    return true;
}

/* The large ones in threads of their own, meanwhile the others here, whose errors go first. */
static bool serve_v2(struct tetris_stock *stock, struct tetris_request *request)
{
    bool *is_large = calloc((size_t)request->count, sizeof *is_large);
    tetris_large *large = NULL;
    bool good;

    if (!is_large)
        return tetris_request_fail(request, TF_RESOURCE_EXHAUSTED, "Out of memory.");
    if (find_large(stock, request, is_large))
        large = tetris_large_start(request, is_large);
    if (!large)
        memset(is_large, 0, (size_t)request->count * sizeof *is_large);
    good = tetris_request_ok(request) && serve_small(stock, request, is_large) &&
           tetris_partition_serve(stock, request);
    if (large)
        good = tetris_large_finish(large, request, !good) && good;
    free(is_large);
    return good;
}

bool tetris_stock_serve(struct tetris_stock *stock, struct tetris_request *request)
{
    if (!anything_to_read(request))
        return true;
    if (stock->is_v1)
        return serve_v1(request);
    if (!open_reader(stock, request))
        return false;
    return serve_v2(stock, request);
}

void tetris_stock_close(struct tetris_stock *stock)
{
    if (stock->reader)
        tetris_tf.TF_DeleteCheckpointReader(stock->reader);
    stock->reader = NULL;
}
