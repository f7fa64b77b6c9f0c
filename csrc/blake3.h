/* BLAKE3 in its default hash mode with 32 bytes of output, for digest.c alone.
 *
 * A tree of three parts: kernels hash many equal inputs at once (blake3_portable.c, blake3_wide.h),
 * the tree joins their results (blake3.c), digest_path.c says which kernel this CPU runs. */
#ifndef TETRIS_BLAKE3_H
#define TETRIS_BLAKE3_H

#include "crc32c.h"

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "message words are read as they lie in memory: little-endian machines only"
#endif

enum {
    BLAKE3_BLOCK = 64,
    BLAKE3_CHUNK = 1024,
    BLAKE3_CV = 32,    /* bytes of a chaining value, and of the digest */
    BLAKE3_BATCH = 16, /* the most lanes a kernel has */
    /* 2^64 bytes are 2^54 chunks, and digit l of the tree counts batches of 2^(l+1) chunks. */
    BLAKE3_LEVELS = 50,
};

enum blake3_flag {
    BLAKE3_CHUNK_START = 1,
    BLAKE3_CHUNK_END = 2,
    BLAKE3_PARENT = 4,
    BLAKE3_ROOT = 8,
};

enum blake3_kind { BLAKE3_CHUNKS, BLAKE3_PARENTS };

/* What the two kinds of inputs differ in: their size and the flags of their blocks. */
struct blake3_shape {
    size_t bytes;
    uint32_t each, first, last;
};

static inline struct blake3_shape blake3_shape(enum blake3_kind kind)
{
    const struct blake3_shape chunk = {BLAKE3_CHUNK, 0, BLAKE3_CHUNK_START, BLAKE3_CHUNK_END};
    const struct blake3_shape parent = {2 * BLAKE3_CV, BLAKE3_PARENT, 0, 0};

    return kind == BLAKE3_CHUNKS ? chunk : parent;
}

extern const uint32_t blake3_iv[8];

/* Which message word each quarter-round of round r takes: row r is row r-1 permuted. */
static const uint8_t blake3_schedule[7][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
    {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
    {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
    {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
    {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
    {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
};

/* Hashes inputs [0, count) that lie back to back at `in` into count chaining values at `out`,
 * count being at least 1 and at most what the kernel has lanes. `out` may be `in`. Chunk i is
 * number counter + i of the stream. Hashing leaves the memory idle, so what lies `ahead` bytes
 * from each chunk is fetched into the cache meanwhile; it leaves the integer units idle too, so
 * with `crcs` given the CRC32C of each chunk is made beside it, as crc32c.join takes it. Parents
 * ignore all three. */
typedef void blake3_run(enum blake3_kind kind, const uint8_t *in, size_t count, uint64_t counter,
                        ptrdiff_t ahead, uint32_t *crcs, uint8_t *out);

struct blake3_kernel {
    const char *name;
    size_t lanes;
    blake3_run *run;
    const struct crc32c *crc32c; /* what fits to `crcs` */
};

extern const struct blake3_kernel blake3_portable;
#ifdef __x86_64__
extern const struct blake3_kernel blake3_sse41, blake3_avx2, blake3_avx512;
#endif

/* One input alone: a chunk of n <= BLAKE3_CHUNK bytes or a parent. `extra` is BLAKE3_ROOT or 0. */
void blake3_one(enum blake3_kind kind, const uint8_t *in, size_t n, uint64_t counter,
                uint32_t extra, uint8_t out[BLAKE3_CV]);

/* A running hash. The arrays come last and start undefined: a new one costs nothing. */
struct blake3 {
    uint64_t chunks; /* closed so far */
    uint64_t levels; /* bit l: digit l is set */
    size_t open;     /* bytes of the chunk that is not closed */
    size_t loose;    /* chaining values of chunks that are in no batch yet */
    uint8_t open_chunk[BLAKE3_CHUNK];
    uint8_t loose_cvs[2 * BLAKE3_BATCH][BLAKE3_CV];
    uint8_t digit[BLAKE3_LEVELS][BLAKE3_BATCH][BLAKE3_CV];
};

void blake3_init(struct blake3 *hash);
/* `ahead`: how far from `data` lies what is read next, kernel->lanes * BLAKE3_CHUNK when that is
 * just the rest of it. `crc`: a CRC32C to continue over the same bytes, or NULL. */
void blake3_update(struct blake3 *hash, const struct blake3_kernel *kernel, const uint8_t *data,
                   size_t n, ptrdiff_t ahead, uint32_t *crc);
void blake3_result(const struct blake3 *hash, const struct blake3_kernel *kernel,
                   uint8_t out[BLAKE3_CV]);

#endif
