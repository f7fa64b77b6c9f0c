#include "tensorflow_request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX, NAMES, SPECS, INPUTS };

bool tetris_request_ok(const struct tetris_request *request)
{
    return tetris_tf.TF_GetCode(request->status) == TF_OK;
}

bool tetris_request_fail(struct tetris_request *request, int code, const char *format, ...)
{
    char message[1024];
    va_list arguments;

    if (!tetris_request_ok(request))
        return false;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    tetris_tf.TF_SetStatus(request->status, code, message);
    return false;
}

static bool check_inputs(struct tetris_request *request, TF_Tensor *const *inputs)
{
    int64_t prefixes = tetris_tf.TF_TensorElementCount(inputs[PREFIX]);
    int64_t names = tetris_tf.TF_TensorElementCount(inputs[NAMES]);
    int64_t specs = tetris_tf.TF_TensorElementCount(inputs[SPECS]);

    if (names != request->count)
        return tetris_request_fail(request, TF_INVALID_ARGUMENT,
                                   "Got %lld tensor names, but %d expected dtypes.",
                                   (long long)names, request->count);
    if (prefixes != 1)
        return tetris_request_fail(
            request, TF_INVALID_ARGUMENT,
            "Input prefix should have a single element, got %lld instead.", (long long)prefixes);
    if (tetris_tf.TF_NumDims(inputs[NAMES]) != 1 || tetris_tf.TF_NumDims(inputs[SPECS]) != 1)
        return tetris_request_fail(
            request, TF_INVALID_ARGUMENT,
            "Input tensor_names and shape_and_slices should be 1-D tensors.");
    if (names != specs)
        return tetris_request_fail(
            request, TF_INVALID_ARGUMENT,
            "tensor_names and shape_and_slices have different number of elements: %lld vs. %lld",
            (long long)names, (long long)specs);
    return true;
}

static const TF_TString *element(const TF_Tensor *tensor, int index)
{
    return tetris_tf_string(tetris_tf.TF_TensorData(tensor), index);
}

static size_t text_size(const TF_Tensor *tensor)
{
    size_t size = 0;

    for (int i = 0; i < tetris_tf.TF_TensorElementCount(tensor); i++)
        size += tetris_tf.TF_StringGetSize(element(tensor, i)) + 1;
    return size;
}

/* TensorFlow's strings need no NUL at their end, but the functions we hand them to do. */
static struct tetris_text keep(char **room, const TF_TString *string)
{
    struct tetris_text text = {*room, tetris_tf.TF_StringGetSize(string)};

    memcpy(*room, tetris_tf.TF_StringGetDataPointer(string), text.size);
    (*room)[text.size] = '\0';
    *room += text.size + 1;
    return text;
}

static bool keep_all(struct tetris_request *request, TF_Tensor *const *inputs)
{
    size_t size = 0;
    char *room;

    for (int i = 0; i < INPUTS; i++)
        size += text_size(inputs[i]);
    request->text = room = malloc(size);
    request->wants = calloc((size_t)request->count, sizeof *request->wants);
    if (!request->text || !request->wants)
        return tetris_request_fail(request, TF_RESOURCE_EXHAUSTED, "Out of memory.");
    request->prefix = keep(&room, element(inputs[PREFIX], 0));
    for (int i = 0; i < request->count; i++) {
        struct tetris_want *want = &request->wants[i];

        want->name = keep(&room, element(inputs[NAMES], i));
        want->spec = keep(&room, element(inputs[SPECS], i));
        want->dtype = tetris_tf.TF_ExpectedOutputDataType(request->context, i);
    }
    return true;
}

bool tetris_request_read(struct tetris_request *request, TF_OpKernelContext *context)
{
    TF_Tensor *inputs[INPUTS] = {NULL};
    bool good = true;

    *request = (struct tetris_request){
        .context = context,
        .status = tetris_tf.TF_NewStatus(),
        .count = tetris_tf.TF_NumOutputs(context),
    };
    for (int i = 0; i < INPUTS && good; i++) {
        tetris_tf.TF_GetInput(context, i, &inputs[i], request->status);
        good = tetris_request_ok(request);
    }
    good = good && check_inputs(request, inputs) && keep_all(request, inputs);
    for (int i = 0; i < INPUTS; i++)
        if (inputs[i])
            tetris_tf.TF_DeleteTensor(inputs[i]);
    return good;
}

void tetris_request_free(struct tetris_request *request)
{
    free(request->wants);
    free(request->text);
    tetris_tf.TF_DeleteStatus(request->status);
}

static int position(const struct tetris_request *request, const struct tetris_want *want)
{
    return (int)(want - request->wants);
}

bool tetris_request_set(struct tetris_request *request, struct tetris_want *want, TF_Tensor *tensor)
{
    tetris_tf.TF_SetOutput(request->context, position(request, want), tensor, request->status);
    tetris_tf.TF_DeleteTensor(tensor);
    want->source = TETRIS_SET;
    return tetris_request_ok(request);
}

TF_Tensor *tetris_request_allocate(struct tetris_request *request, struct tetris_want *want,
                                   const int64_t *dims, int ndims)
{
    size_t n = want->dtype == TF_STRING ? TETRIS_TF_STRING_SIZE
                                        : tetris_tf.TF_DataTypeSize(want->dtype);
    TF_Tensor *tensor;

    for (int d = 0; d < ndims; d++)
        n *= (size_t)dims[d];
    tensor = tetris_tf.TF_AllocateOutput(request->context, position(request, want), want->dtype,
                                         dims, ndims, n, request->status);
    want->source = TETRIS_SET;
    return tetris_request_ok(request) ? tensor : NULL;
}

bool tetris_request_slice(struct tetris_request *request, const struct tetris_want *want,
                          struct tetris_slice *slice)
{
    char why[512];
    int error = tetris_slice_parse(want->spec.at, want->spec.size, slice, why, sizeof why);

    if (!error)
        return true;
    return tetris_request_fail(request, error == -ERANGE ? TF_INTERNAL : TF_INVALID_ARGUMENT, "%s",
                               why);
}
