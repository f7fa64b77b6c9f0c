/* Arrays over segments for other libraries, by the DLPack protocol (ABI 1.0, restated here).
 *
 * An exported tensor is a second mapping of the array's pages. It duplicates the mapping it comes
 * from, open file description and all, so it is a share of that reference; and letting it go is
 * munmap and free: no Python, hence from any thread and after the interpreter too. */
#ifndef TETRIS_DLPACK_H
#define TETRIS_DLPACK_H

#include <stdint.h>

#define TETRIS_DL_CPU 1
#define TETRIS_DL_READ_ONLY 1u

struct tetris_dl_tensor {
    void *data;
    struct {
        int32_t kind, id;
    } device;
    int32_t ndim;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape;
    int64_t *strides; /* in elements */
    uint64_t byte_offset;
};

/* What a capsule "dltensor" points to. */
struct tetris_dl_managed {
    struct tetris_dl_tensor tensor;
    void *context;
    void (*deleter)(void *self);
};

/* What a capsule "dltensor_versioned" points to: the one that can say that it is read-only. */
struct tetris_dl_versioned {
    struct {
        uint32_t major, minor;
    } version;
    void *context;
    void (*deleter)(void *self);
    uint64_t flags;
    struct tetris_dl_tensor tensor;
};

struct tetris_dl_array {
    void *data;
    int ndim;
    const int64_t *shape;
    const int64_t *strides; /* in bytes, of any sign, each a multiple of the element size */
    uint8_t code, bits;     /* the element, as DLPack has it */
};

/* Sets *managed to one of the two above, on pages of its own; an empty array has none.
 * -EINVAL: the array is not over a shared mapping; -ENOMEM: no memory, or too many mappings. */
int tetris_dlpack_export(const struct tetris_dl_array *array, int versioned, void **managed);

/* The deleter of both. */
void tetris_dlpack_free(void *managed);

/* The name of the capsule around one, static: a capsule does not copy it. */
const char *tetris_dlpack_name(int versioned);

#endif
