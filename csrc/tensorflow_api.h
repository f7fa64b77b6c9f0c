/* The few functions of TensorFlow's C API that the restore kernel calls.
 *
 * The prototypes are our own, of an ABI that is stable since it was published; the functions are
 * found by name in the library the process has loaded already. So nothing of TensorFlow is needed
 * to build this, and one build serves 2.16 to 2.21. */
#ifndef TETRIS_TENSORFLOW_API_H
#define TETRIS_TENSORFLOW_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TF_Status TF_Status;
typedef struct TF_Tensor TF_Tensor;
typedef struct TF_TString TF_TString;
typedef struct TF_KernelBuilder TF_KernelBuilder;
typedef struct TF_OpKernelContext TF_OpKernelContext;
typedef struct TF_CheckpointReader TF_CheckpointReader;
typedef struct TFE_ContextOptions TFE_ContextOptions;
typedef struct TFE_Context TFE_Context;
typedef struct TFE_Op TFE_Op;
typedef struct TFE_TensorHandle TFE_TensorHandle;

typedef struct {
    int64_t length;
    int64_t mtime_nsec;
    bool is_directory;
} TF_FileStatistics;

/* TF_Code, as far as we set it ourselves. */
enum {
    TF_OK = 0,
    TF_INVALID_ARGUMENT = 3,
    TF_NOT_FOUND = 5,
    TF_RESOURCE_EXHAUSTED = 8,
    TF_INTERNAL = 13,
};

/* TF_DataType, as far as we look into it. */
enum { TF_STRING = 7 };

#define TETRIS_TF_STRING_SIZE 24 /* sizeof(TF_TString) */
#define TETRIS_TF_ALIGNMENT 64   /* what TF_NewTensor takes without a copy */

/* F(result, name, parameters) for each of them. */
#define TETRIS_TF_FUNCTIONS(F)                                                                     \
    F(TF_Status *, TF_NewStatus, (void))                                                           \
    F(void, TF_DeleteStatus, (TF_Status *))                                                        \
    F(void, TF_SetStatus, (TF_Status *, int code, const char *message))                            \
    F(int, TF_GetCode, (const TF_Status *))                                                        \
    F(const char *, TF_Message, (const TF_Status *))                                               \
    F(TF_Tensor *, TF_NewTensor,                                                                   \
      (int dtype, const int64_t *dims, int ndims, void *data, size_t n,                            \
       void (*release)(void *data, size_t n, void *arg), void *arg))                               \
    F(TF_Tensor *, TF_AllocateTensor, (int dtype, const int64_t *dims, int ndims, size_t n))       \
    F(void, TF_DeleteTensor, (TF_Tensor *))                                                        \
    F(int, TF_TensorType, (const TF_Tensor *))                                                     \
    F(int, TF_NumDims, (const TF_Tensor *))                                                        \
    F(int64_t, TF_TensorElementCount, (const TF_Tensor *))                                         \
    F(void *, TF_TensorData, (const TF_Tensor *))                                                  \
    F(size_t, TF_DataTypeSize, (int dtype))                                                        \
    F(void, TF_StringInit, (TF_TString *))                                                         \
    F(void, TF_StringCopy, (TF_TString *, const char *, size_t))                                   \
    F(void, TF_StringAssignView, (TF_TString *, const char *, size_t))                             \
    F(const char *, TF_StringGetDataPointer, (const TF_TString *))                                 \
    F(size_t, TF_StringGetSize, (const TF_TString *))                                              \
    F(TF_KernelBuilder *, TF_NewKernelBuilder,                                                     \
      (const char *op, const char *device, void *create,                                           \
       void (*compute)(void *, TF_OpKernelContext *), void *destroy))                              \
    F(void, TF_KernelBuilder_Priority, (TF_KernelBuilder *, int32_t))                              \
    F(void, TF_RegisterKernelBuilder, (const char *name, TF_KernelBuilder *, TF_Status *))         \
    F(int, TF_NumOutputs, (TF_OpKernelContext *))                                                  \
    F(void, TF_GetInput, (TF_OpKernelContext *, int, TF_Tensor **, TF_Status *))                   \
    F(int, TF_ExpectedOutputDataType, (TF_OpKernelContext *, int))                                 \
    F(void, TF_SetOutput, (TF_OpKernelContext *, int, const TF_Tensor *, TF_Status *))             \
    F(TF_Tensor *, TF_AllocateOutput,                                                              \
      (TF_OpKernelContext *, int, int dtype, const int64_t *dims, int ndims, size_t n,             \
       TF_Status *))                                                                               \
    F(void, TF_OpKernelContext_Failure, (TF_OpKernelContext *, TF_Status *))                       \
    F(void, TF_FileStat, (const char *path, TF_FileStatistics *, TF_Status *))                     \
    F(TF_CheckpointReader *, TF_NewCheckpointReader, (const char *prefix, TF_Status *))            \
    F(void, TF_DeleteCheckpointReader, (TF_CheckpointReader *))                                    \
    F(TF_Tensor *, TF_CheckpointReaderGetTensor,                                                   \
      (TF_CheckpointReader *, const char *name, TF_Status *))                                      \
    F(int, TF_CheckpointReaderSize, (TF_CheckpointReader *))                                       \
    F(const char *, TF_CheckpointReaderGetVariable, (TF_CheckpointReader *, int index))            \
    F(int, TF_CheckpointReaderGetVariableDataType, (TF_CheckpointReader *, const char *name))      \
    F(int, TF_CheckpointReaderGetVariableNumDims, (TF_CheckpointReader *, const char *name))       \
    F(void, TF_CheckpointReaderGetVariableShape,                                                   \
      (TF_CheckpointReader *, const char *name, int64_t *dims, int ndims, TF_Status *))            \
    F(TFE_ContextOptions *, TFE_NewContextOptions, (void))                                         \
    F(void, TFE_ContextOptionsSetConfig,                                                           \
      (TFE_ContextOptions *, const void *config, size_t n, TF_Status *))                           \
    F(void, TFE_DeleteContextOptions, (TFE_ContextOptions *))                                      \
    F(TFE_Context *, TFE_NewContext, (const TFE_ContextOptions *, TF_Status *))                    \
    F(void, TFE_DeleteContext, (TFE_Context *))                                                    \
    F(TFE_Op *, TFE_NewOp, (TFE_Context *, const char *op, TF_Status *))                           \
    F(void, TFE_DeleteOp, (TFE_Op *))                                                              \
    F(void, TFE_OpAddInput, (TFE_Op *, TFE_TensorHandle *, TF_Status *))                           \
    F(void, TFE_OpSetAttrType, (TFE_Op *, const char *name, int dtype))                            \
    F(void, TFE_Execute, (TFE_Op *, TFE_TensorHandle **results, int *count, TF_Status *))          \
    F(TFE_TensorHandle *, TFE_NewTensorHandle, (const TF_Tensor *, TF_Status *))                   \
    F(void, TFE_DeleteTensorHandle, (TFE_TensorHandle *))                                          \
    F(TF_Tensor *, TFE_TensorHandleResolve, (TFE_TensorHandle *, TF_Status *))

struct tetris_tf {
#define TETRIS_TF_FIELD(result, name, parameters) result(*name) parameters;
    TETRIS_TF_FUNCTIONS(TETRIS_TF_FIELD)
#undef TETRIS_TF_FIELD
};

/* Valid once tetris_tf_bind has returned 0. */
extern struct tetris_tf tetris_tf;

/* Finds the functions in `library`, the path of the loaded libtensorflow_cc.so.2 (what it depends
 * on, libtensorflow_framework.so.2, is searched with it).
 * -ENOENT: not loaded. -ENOSYS: *missing names a function it does not have. */
int tetris_tf_bind(const char *library, const char **missing);

/* Element `index` of a string tensor's data; and a copy of n bytes into it. */
TF_TString *tetris_tf_string(void *data, int64_t index);
void tetris_tf_set_string(void *data, int64_t index, const char *text, size_t n);

#endif
