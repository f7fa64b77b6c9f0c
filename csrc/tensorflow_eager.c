#include "tensorflow_eager.h"

/* A serialized ConfigProto: device_count {"GPU": 0}. */
static const char cpu_only[] = "\x0a\x07\x0a\x03GPU\x10";

TFE_Context *tetris_eager_open(TF_Status *status)
{
    TFE_ContextOptions *options = tetris_tf.TFE_NewContextOptions();
    TFE_Context *context = NULL;

    /* Its terminating NUL is the 0 of the message. */
    tetris_tf.TFE_ContextOptionsSetConfig(options, cpu_only, sizeof cpu_only, status);
    if (tetris_tf.TF_GetCode(status) == TF_OK)
        context = tetris_tf.TFE_NewContext(options, status);
    tetris_tf.TFE_DeleteContextOptions(options);
    return context;
}

/* The tensor views the text, which must outlive it: so there is nothing to free in it. */
static TFE_TensorHandle *wrap(const struct tetris_text *text, TF_Status *status)
{
    TFE_TensorHandle *handle;
    TF_TString *string;
    TF_Tensor *tensor =
        tetris_tf.TF_AllocateTensor(TF_STRING, NULL, 0, TETRIS_TF_STRING_SIZE);

    string = tetris_tf.TF_TensorData(tensor);
    tetris_tf.TF_StringInit(string);
    tetris_tf.TF_StringAssignView(string, text->at, text->size);
    handle = tetris_tf.TFE_NewTensorHandle(tensor, status);
    tetris_tf.TF_DeleteTensor(tensor);
    return handle;
}

static bool add_inputs(TFE_Op *op, const struct tetris_text *inputs, int count, TF_Status *status)
{
    for (int i = 0; i < count; i++) {
        TFE_TensorHandle *handle = wrap(&inputs[i], status);

        if (!handle)
            return false;
        tetris_tf.TFE_OpAddInput(op, handle, status); /* takes a count of its own */
        tetris_tf.TFE_DeleteTensorHandle(handle);
        if (tetris_tf.TF_GetCode(status) != TF_OK)
            return false;
    }
    return true;
}

TF_Tensor *tetris_eager_run(TFE_Context *context, const char *op, const struct tetris_text *inputs,
                            int count, const char *attribute, int dtype, TF_Status *status)
{
    TFE_TensorHandle *handle = NULL;
    TF_Tensor *result = NULL;
    int results = 1;
    TFE_Op *made = tetris_tf.TFE_NewOp(context, op, status);

    if (!made)
        return NULL;
    if (attribute)
        tetris_tf.TFE_OpSetAttrType(made, attribute, dtype);
    if (add_inputs(made, inputs, count, status))
        tetris_tf.TFE_Execute(made, &handle, &results, status);
    if (tetris_tf.TF_GetCode(status) == TF_OK) {
        result = tetris_tf.TFE_TensorHandleResolve(handle, status);
        tetris_tf.TFE_DeleteTensorHandle(handle);
    }
    tetris_tf.TFE_DeleteOp(made);
    return result;
}
