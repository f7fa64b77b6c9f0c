#include "digest_path.h"

#include "digest.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* Fastest first. A path stands for a generation of CPUs, so it decides the CRC too. */
static const struct digest_path paths[] = {
#ifdef __x86_64__
    {"avx512", &blake3_avx512, crc32c_sse42},
    {"avx2", &blake3_avx2, crc32c_sse42},
    {"sse4.1", &blake3_sse41, crc32c_sse42},
#endif
    {"portable", &blake3_portable, crc32c_portable},
};

enum { PATHS = sizeof paths / sizeof *paths };

static _Atomic(const struct digest_path *) selected;

static bool runs_here(const struct digest_path *path)
{
#ifdef __x86_64__
    if (path->crc32c == crc32c_sse42
        && !(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")))
        return false;
    if (path->blake3 == &blake3_avx512)
        return __builtin_cpu_supports("avx512f");
    if (path->blake3 == &blake3_avx2)
        return __builtin_cpu_supports("avx2");
#endif
    (void)path;
    return true;
}

/* The index-th path that runs here, or NULL. */
static const struct digest_path *path_at(size_t index)
{
    for (size_t i = 0; i < PATHS; i++)
        if (runs_here(&paths[i]) && index-- == 0)
            return &paths[i];
    return NULL;
}

const struct digest_path *digest_path(void)
{
    const struct digest_path *path = atomic_load_explicit(&selected, memory_order_relaxed);

    if (!path) {
        path = path_at(0);
        atomic_store_explicit(&selected, path, memory_order_relaxed);
    }
    return path;
}

const char *tetris_digest_path(size_t index)
{
    const struct digest_path *path = path_at(index);

    return path ? path->name : NULL;
}

int tetris_digest_select(const char *name)
{
    const struct digest_path *path;

    for (size_t i = 0; (path = path_at(i)); i++) {
        if (strcmp(path->name, name) == 0) {
            atomic_store_explicit(&selected, path, memory_order_relaxed);
            return 0;
        }
    }
    return -EINVAL;
}
