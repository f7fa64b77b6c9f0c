/* BLAKE3's compression in plain C: the kernel of machines without a wide one, and what hashes a
 * single odd chunk, the root and short inputs everywhere. */
#include "blake3.h"

#include <string.h>

const uint32_t blake3_iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static inline uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static inline void quarter(uint32_t *v, int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotate(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 7);
}

static inline void one_round(uint32_t v[16], const uint32_t m[16], const uint8_t s[16])
{
    quarter(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
    quarter(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
    quarter(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
    quarter(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
    quarter(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
    quarter(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
    quarter(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
    quarter(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
}

/* Takes a block of n bytes, zeros after them, into chaining value h. */
static void compress(uint32_t h[8], const uint8_t *block, size_t n, uint64_t counter,
                     uint32_t flags)
{
    uint32_t m[16] = {0};
    uint32_t v[16] = {
        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
        blake3_iv[0], blake3_iv[1], blake3_iv[2], blake3_iv[3],
        (uint32_t)counter, (uint32_t)(counter >> 32), (uint32_t)n, flags,
    };

    memcpy(m, block, n);
#pragma GCC unroll 7
    for (int r = 0; r < 7; r++)
        one_round(v, m, blake3_schedule[r]);
    for (int i = 0; i < 8; i++)
        h[i] = v[i] ^ v[i + 8];
}

void blake3_one(enum blake3_kind kind, const uint8_t *in, size_t n, uint64_t counter,
                uint32_t extra, uint8_t out[BLAKE3_CV])
{
    const struct blake3_shape shape = blake3_shape(kind);
    uint32_t h[8], flags = shape.each | shape.first;

    memcpy(h, blake3_iv, sizeof h);
    for (; n > BLAKE3_BLOCK; n -= BLAKE3_BLOCK, in += BLAKE3_BLOCK) {
        compress(h, in, BLAKE3_BLOCK, counter, flags);
        flags = shape.each;
    }
    compress(h, in, n, counter, flags | shape.last | extra);
    memcpy(out, h, sizeof h);
}

static void run_portable(enum blake3_kind kind, const uint8_t *in, size_t count, uint64_t counter,
                         ptrdiff_t ahead, uint32_t *crcs, uint8_t *out)
{
    const size_t bytes = blake3_shape(kind).bytes;

    (void)ahead; /* one stream, which the hardware follows by itself */
    for (size_t i = 0; i < count; i++) {
        uint64_t number = kind == BLAKE3_CHUNKS ? counter + i : 0;

        blake3_one(kind, in + i * bytes, bytes, number, 0, out + i * BLAKE3_CV);
        if (crcs)
            crcs[i] = ~crc32c_portable.update(~0u, in + i * bytes, bytes);
    }
}

const struct blake3_kernel blake3_portable = {"portable", 1, run_portable, &crc32c_portable};
