#include "digest_path.h"

#include "cpu_x86.h"
#include "digest.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* Fastest first. */
static const struct blake3_kernel *const paths[] = {
#ifdef __x86_64__
    &blake3_avx512,
    &blake3_avx2,
    &blake3_sse41,
#endif
    &blake3_portable,
};

enum { PATHS = sizeof paths / sizeof *paths };

static _Atomic(const struct blake3_kernel *) selected;

static bool has_instructions(const struct blake3_kernel *path)
{
#ifdef __x86_64__
    if (path->crc32c == &crc32c_sse42 && !cpu_has(CPU_CRC32C))
        return false;
    if (path == &blake3_avx512)
        return cpu_has(CPU_AVX512F);
    if (path == &blake3_avx2)
        return cpu_has(CPU_AVX2);
#endif
    (void)path;
    return true;
}

/* Digests are identities, so a wrong one would mix up tensors without a word. No machine that
 * builds this has every CPU: the path is compared with the portable one where it is about to be
 * used. */
static bool agrees(const struct blake3_kernel *path)
{
    uint8_t input[BLAKE3_BATCH * BLAKE3_CHUNK];
    uint8_t got[BLAKE3_BATCH * BLAKE3_CV], want[BLAKE3_BATCH * BLAKE3_CV];
    uint32_t crcs[BLAKE3_BATCH], crcs_wanted[BLAKE3_BATCH];
    const uint64_t counter = UINT32_MAX - 1; /* its high half changes between the lanes */
    bool same;

    for (size_t i = 0; i < sizeof input; i++)
        input[i] = (uint8_t)(i * i >> 3);
    path->run(BLAKE3_CHUNKS, input, path->lanes, counter, 0, crcs, got);
    blake3_portable.run(BLAKE3_CHUNKS, input, path->lanes, counter, 0, crcs_wanted, want);
    same = memcmp(got, want, path->lanes * BLAKE3_CV) == 0
        && memcmp(crcs, crcs_wanted, path->lanes * sizeof *crcs) == 0;
    path->run(BLAKE3_PARENTS, input, path->lanes, 0, 0, NULL, got);
    blake3_portable.run(BLAKE3_PARENTS, input, path->lanes, 0, 0, NULL, want);
    return same && memcmp(got, want, path->lanes * BLAKE3_CV) == 0
        && path->crc32c->update(1, input, sizeof input)
           == crc32c_portable.update(1, input, sizeof input)
        && path->crc32c->join(1, crcs, path->lanes) == crc32c_portable.join(1, crcs, path->lanes);
}

static bool runs_here(const struct blake3_kernel *path)
{
    return has_instructions(path) && agrees(path);
}

/* The index-th path that runs here, or NULL. */
static const struct blake3_kernel *path_at(size_t index)
{
    for (size_t i = 0; i < PATHS; i++)
        if (runs_here(paths[i]) && index-- == 0)
            return paths[i];
    return NULL;
}

const struct blake3_kernel *digest_path(void)
{
    const struct blake3_kernel *path = atomic_load_explicit(&selected, memory_order_relaxed);
    const struct blake3_kernel *fastest;

    if (path)
        return path;
    fastest = path_at(0);
    /* Unless somebody has selected one meanwhile, which is then in `path`. */
    return atomic_compare_exchange_strong(&selected, &path, fastest) ? fastest : path;
}

const char *tetris_digest_path(size_t index)
{
    const struct blake3_kernel *path = path_at(index);

    return path ? path->name : NULL;
}

int tetris_digest_select(const char *name)
{
    const struct blake3_kernel *path;

    for (size_t i = 0; (path = path_at(i)); i++) {
        if (strcmp(path->name, name) == 0) {
            atomic_store_explicit(&selected, path, memory_order_relaxed);
            return 0;
        }
    }
    return -EINVAL;
}
