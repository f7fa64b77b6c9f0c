#include "tensorflow_restore.h"

#include "segment.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct tetris_restore_hooks hooks; /* constant once registered */
static atomic_int sharing;

/* One run with an attached model. */
struct share {
    struct tetris_request *request;
    tetris_table *table;
    int view;
    struct tetris_restored what;
};

/* One mapping, owned by the tensor over it. */
struct holder {
    void *address;
    size_t nbytes;
    tetris_table *table;
};

/* TensorFlow calls it on any thread when the last tensor over the buffer goes. */
static void release(void *data, size_t n, void *arg)
{
    struct holder *holder = arg;

    (void)data;
    (void)n;
    tetris_unmap(holder->address, holder->nbytes);
    tetris_table_unref(holder->table);
    free(holder);
}

/* Private, so that whoever gets at the bytes past TensorFlow (through DLPack, say) may write to them.
 * When a limit on private memory refuses that (RLIMIT_DATA, strict overcommit), read-only will do:
 * TensorFlow itself never writes into a buffer that TF_NewTensor made, but copies it first. */
static int map(struct share *share, const struct tetris_entry *entry, void **address)
{
    int error = tetris_segment_map(share->view, entry->file, entry->nbytes, TETRIS_MAP_PRIVATE,
                                   address);

    if (error != -ENOMEM && error != -EAGAIN)
        return error;
    error = tetris_segment_map(share->view, entry->file, entry->nbytes, TETRIS_MAP_SHARED, address);
    if (!error)
        share->what.read_only++;
    return error;
}

static struct holder *hold(struct share *share, const struct tetris_entry *entry, int *error)
{
    struct holder *holder = malloc(sizeof *holder);

    *error = holder ? map(share, entry, &holder->address) : -ENOMEM;
    if (*error) {
        free(holder);
        return NULL;
    }
    holder->nbytes = entry->nbytes;
    holder->table = share->table;
    tetris_table_ref(share->table);
    return holder;
}

/* Leaves `want` to the stock reader. */
static bool leave(struct share *share, struct tetris_want *want, enum tetris_reason reason)
{
    want->source = TETRIS_FROM_CHECKPOINT;
    share->what.read[reason]++;
    return true;
}

static bool leave_unmapped(struct share *share, struct tetris_want *want, int error)
{
    return leave(share, want,
                 error == -ENOENT || error == -EBADMSG ? TETRIS_GONE : TETRIS_REFUSED);
}

static bool set_mapped(struct share *share, struct tetris_want *want, struct holder *holder,
                       const int64_t *dims, int ndims, size_t offset, size_t nbytes)
{
    TF_Tensor *tensor =
        tetris_tf.TF_NewTensor(want->dtype, dims, ndims, (char *)holder->address + offset, nbytes,
                               release, holder);

    share->what.tensors++;
    share->what.nbytes += nbytes;
    return tetris_request_set(share->request, want, tensor);
}

static bool set_empty(struct share *share, struct tetris_want *want, const int64_t *dims, int ndims)
{
    TF_Tensor *tensor = tetris_request_allocate(share->request, want, dims, ndims);

    if (!tensor)
        return false;
    tetris_tf.TF_DeleteTensor(tensor);
    share->what.tensors++;
    return true;
}

static bool share_whole(struct share *share, struct tetris_want *want,
                        const struct tetris_entry *entry)
{
    struct holder *holder;
    int error;

    if (!entry->nbytes)
        return set_empty(share, want, entry->dims, entry->ndims);
    holder = hold(share, entry, &error);
    if (!holder)
        return leave_unmapped(share, want, error);
    return set_mapped(share, want, holder, entry->dims, entry->ndims, 0, entry->nbytes);
}

/* A slice in one piece whose start TensorFlow takes as aligned is part of the mapping; any other
 * is copied out of it. */
static bool share_slice(struct share *share, struct tetris_want *want,
                        const struct tetris_entry *entry, const struct tetris_slice *slice)
{
    size_t itemsize = tetris_tf.TF_DataTypeSize(want->dtype);
    size_t nbytes = (size_t)tetris_slice_elements(slice) * itemsize;
    struct holder *holder;
    TF_Tensor *tensor;
    int64_t offset;
    int error;

    if (!nbytes)
        return set_empty(share, want, slice->length, slice->ndims);
    holder = hold(share, entry, &error);
    if (!holder)
        return leave_unmapped(share, want, error);
    if (tetris_slice_is_contiguous(slice, &offset) &&
        (size_t)offset * itemsize % TETRIS_TF_ALIGNMENT == 0)
        return set_mapped(share, want, holder, slice->length, slice->ndims,
                          (size_t)offset * itemsize, nbytes);
    tensor = tetris_request_allocate(share->request, want, slice->length, slice->ndims);
    if (tensor) {
        tetris_slice_copy(slice, itemsize, holder->address, tetris_tf.TF_TensorData(tensor));
        tetris_tf.TF_DeleteTensor(tensor);
        share->what.copied++;
    }
    release(NULL, 0, holder);
    return tensor != NULL;
}

/* Whether the segment is of the size that dtype and shape make. */
static bool fits(const struct tetris_entry *entry)
{
    size_t n = tetris_tf.TF_DataTypeSize(entry->dtype);

    for (int d = 0; d < entry->ndims; d++)
        if (__builtin_mul_overflow(n, (size_t)entry->dims[d], &n))
            return false;
    return n == entry->nbytes;
}

/* Whether we may cut the slice ourselves: nothing is wrong with it, and the stock kernel would. */
static bool may_cut(const struct tetris_want *want, const struct tetris_entry *entry,
                    struct tetris_slice *slice)
{
    char ignored[1];

    return !tetris_slice_parse(want->spec.at, want->spec.size, slice, ignored, sizeof ignored) &&
           slice->ndims == entry->ndims &&
           !memcmp(slice->shape, entry->dims, (size_t)entry->ndims * sizeof *entry->dims) &&
           (tetris_slice_is_full(slice) || tetris_slice_supports(want->dtype));
}

/* Marks what can be mapped, touching nothing: all names must be known to exist first. */
static void plan(struct share *share)
{
    for (int i = 0; i < share->request->count; i++) {
        struct tetris_want *want = &share->request->wants[i];
        const struct tetris_entry *entry =
            tetris_table_lookup(share->table, want->name.at, want->name.size);
        struct tetris_slice slice;

        if (want->dtype == TF_STRING)
            leave(share, want, TETRIS_STRING);
        else if (!entry)
            leave(share, want, TETRIS_UNKNOWN);
        else if (entry->dtype != want->dtype || !fits(entry))
            leave(share, want, TETRIS_MISMATCH);
        else if (want->spec.size && !may_cut(want, entry, &slice))
            leave(share, want, TETRIS_SLICE);
        else
            want->source = TETRIS_FROM_SEGMENT;
    }
}

static bool serve_mapped(struct share *share)
{
    struct tetris_request *request = share->request;
    bool good = true;
    int error = tetris_table_open_view(share->table, &share->view);

    for (int i = 0; i < request->count && good; i++) {
        struct tetris_want *want = &request->wants[i];
        const struct tetris_entry *entry;
        struct tetris_slice slice;

        if (want->source != TETRIS_FROM_SEGMENT)
            continue;
        entry = tetris_table_lookup(share->table, want->name.at, want->name.size);
        if (error)
            good = leave_unmapped(share, want, error);
        else if (want->spec.size)
            good = tetris_request_slice(request, want, &slice) &&
                   share_slice(share, want, entry, &slice);
        else
            good = share_whole(share, want, entry);
    }
    if (!error)
        close(share->view);
    return good;
}

/* A prefix is a pattern to the stock kernel, which may then find another file, or none. */
static tetris_table *resolve(const struct tetris_text *prefix)
{
    if (!atomic_load(&sharing) || strlen(prefix->at) != prefix->size ||
        strpbrk(prefix->at, "*?[\\"))
        return NULL;
    return hooks.resolve(prefix->at, prefix->size);
}

static bool restore(struct tetris_request *request)
{
    struct tetris_stock stock = {.read_stored = hooks.read_stored};
    struct share share = {.request = request, .table = resolve(&request->prefix)};
    bool good;

    if (share.table)
        plan(&share);
    good = tetris_stock_check(&stock, request) && (!share.table || serve_mapped(&share)) &&
           tetris_stock_serve(&stock, request);
    tetris_stock_close(&stock);
    if (share.table && good)
        hooks.restored(request->prefix.at, request->prefix.size,
                       tetris_table_fingerprint(share.table), &share.what);
    if (share.table)
        tetris_table_unref(share.table);
    return good;
}

static void compute(void *kernel, TF_OpKernelContext *context)
{
    struct tetris_request request;

    (void)kernel;
    if (!tetris_request_read(&request, context) || !restore(&request))
        tetris_tf.TF_OpKernelContext_Failure(context, request.status);
    tetris_request_free(&request);
}

int tetris_restore_register(const struct tetris_restore_hooks *given, char *why, size_t why_size)
{
    TF_Status *status = tetris_tf.TF_NewStatus();
    TF_KernelBuilder *builder =
        tetris_tf.TF_NewKernelBuilder("RestoreV2", "CPU", NULL, compute, NULL);
    int error = 0;

    hooks = *given;
    tetris_tf.TF_KernelBuilder_Priority(builder, 1);
    tetris_tf.TF_RegisterKernelBuilder("TetrisRestoreV2", builder, status); /* takes the builder */
    if (tetris_tf.TF_GetCode(status) != TF_OK) {
        snprintf(why, why_size, "TensorFlow error %d", tetris_tf.TF_GetCode(status));
        error = -EIO;
    }
    tetris_tf.TF_DeleteStatus(status);
    return error;
}

void tetris_restore_switch(int on)
{
    atomic_store(&sharing, on);
}
