#include "dlpack.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct exported {
    union {
        struct tetris_dl_managed managed;
        struct tetris_dl_versioned versioned;
    } as; /* first: its address is the address of all */
    void *pages; /* NULL for an empty array */
    size_t span;
    int64_t dims[]; /* the shape, then the strides */
};

struct extent {
    uintptr_t start, end;
};

/* The bytes the array reaches, which begin before its first element where a stride is negative.
 * Unsigned, so that the strides of a nonsense view wrap, and mremap refuses the result. */
static struct extent extent_of(const struct tetris_dl_array *array)
{
    struct extent bytes = {(uintptr_t)array->data, (uintptr_t)array->data + array->bits / 8};

    for (int i = 0; i < array->ndim; i++) {
        uintptr_t reach = (uintptr_t)(array->shape[i] - 1) * (uintptr_t)array->strides[i];

        if (array->shape[i] == 0)
            return (struct extent){0, 0};
        *(array->strides[i] < 0 ? &bytes.start : &bytes.end) += reach;
    }
    return bytes;
}

/* Maps the pages of the array a second time: with an old size of 0, mremap leaves the old mapping
 * where it is. The kernel does that for shared mappings only. */
static int map_again(struct exported *made, const struct tetris_dl_array *array, void **data)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct extent bytes = extent_of(array);
    uintptr_t start = bytes.start & ~(page - 1);
    void *pages;

    *data = NULL;
    if (bytes.start == bytes.end)
        return 0;
    made->span = bytes.end - start;
    pages = mremap((void *)start, 0, made->span, MREMAP_MAYMOVE);
    if (pages == MAP_FAILED)
        return -errno;
    made->pages = pages;
    *data = (char *)pages + ((uintptr_t)array->data - start);
    return 0;
}

int tetris_dlpack_export(const struct tetris_dl_array *array, int versioned, void **managed)
{
    size_t n = (size_t)array->ndim;
    struct exported *made = calloc(1, sizeof *made + 2 * n * sizeof made->dims[0]);
    struct tetris_dl_tensor tensor = {.device = {TETRIS_DL_CPU, 0}, .ndim = array->ndim,
                                      .dtype = {array->code, array->bits, 1}};
    int error = made ? map_again(made, array, &tensor.data) : -ENOMEM;

    if (error) {
        free(made);
        return error;
    }
    tensor.shape = made->dims;
    tensor.strides = made->dims + n;
    for (size_t i = 0; i < n; i++) {
        tensor.shape[i] = array->shape[i];
        tensor.strides[i] = array->strides[i] / (array->bits / 8);
    }
    if (versioned)
        made->as.versioned = (struct tetris_dl_versioned){.version = {1, 0},
            .deleter = tetris_dlpack_free, .flags = TETRIS_DL_READ_ONLY, .tensor = tensor};
    else
        made->as.managed = (struct tetris_dl_managed){.deleter = tetris_dlpack_free, .tensor = tensor};
    *managed = made;
    return 0;
}

void tetris_dlpack_free(void *managed)
{
    struct exported *made = managed;

    if (made->pages)
        munmap(made->pages, made->span);
    free(made);
}

const char *tetris_dlpack_name(int versioned)
{
    return versioned ? "dltensor_versioned" : "dltensor";
}
