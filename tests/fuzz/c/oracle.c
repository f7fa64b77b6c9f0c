#include "oracle.h"

#include <string.h>

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8, CHUNK = 1024, BLOCK = 64 };

static const uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const int permutation[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};

static void mix(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d, uint32_t x, uint32_t y)
{
#define ROTATED(v, n) ((v) >> (n) | (v) << (32 - (n)))
    *a += *b + x;
    *d = ROTATED(*d ^ *a, 16);
    *c += *d;
    *b = ROTATED(*b ^ *c, 12);
    *a += *b + y;
    *d = ROTATED(*d ^ *a, 8);
    *c += *d;
    *b = ROTATED(*b ^ *c, 7);
}

static void compress(uint32_t cv[8], const uint8_t *block, size_t n, uint64_t counter,
                     uint32_t flags)
{
    uint32_t v[16], m[16] = {0}, next[16];

    memcpy(m, block, n);
    memcpy(v, cv, 32);
    memcpy(v + 8, iv, 16);
    v[12] = (uint32_t)counter;
    v[13] = (uint32_t)(counter >> 32);
    v[14] = (uint32_t)n;
    v[15] = flags;
    for (int round = 0; round < 7; round++) {
        for (int i = 0; i < 4; i++)
            mix(v + i, v + 4 + i, v + 8 + i, v + 12 + i, m[2 * i], m[2 * i + 1]);
        for (int i = 0; i < 4; i++)
            mix(v + i, v + 4 + (i + 1) % 4, v + 8 + (i + 2) % 4, v + 12 + (i + 3) % 4,
                m[8 + 2 * i], m[9 + 2 * i]);
        for (int i = 0; i < 16; i++)
            next[i] = m[permutation[i]];
        memcpy(m, next, sizeof m);
    }
    for (int i = 0; i < 8; i++)
        cv[i] = v[i] ^ v[i + 8];
}

static void chunk(const uint8_t *data, size_t n, uint64_t counter, uint32_t root, uint32_t cv[8])
{
    uint32_t start = CHUNK_START;

    memcpy(cv, iv, sizeof iv);
    for (; n > BLOCK; n -= BLOCK, data += BLOCK, start = 0)
        compress(cv, data, BLOCK, counter, start);
    compress(cv, data, n, counter, start | CHUNK_END | root);
}

/* The left subtree holds the largest power of two of chunks that leaves something to the right. */
static void tree(const uint8_t *data, size_t n, uint64_t counter, uint32_t root, uint32_t cv[8])
{
    uint32_t children[16];
    size_t left = CHUNK;

    if (n <= CHUNK) {
        chunk(data, n, counter, root, cv);
        return;
    }
    while (2 * left < n)
        left *= 2;
    tree(data, left, counter, 0, children);
    tree(data + left, n - left, counter + left / CHUNK, 0, children + 8);
    memcpy(cv, iv, sizeof iv);
    compress(cv, (const uint8_t *)children, BLOCK, 0, PARENT | root);
}

void oracle_blake3(const uint8_t *data, size_t n, uint8_t out[32])
{
    uint32_t cv[8];

    tree(data, n, 0, ROOT, cv);
    memcpy(out, cv, 32);
}

uint32_t oracle_crc32c(uint32_t crc, const uint8_t *data, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (-(crc & 1) & 0x82f63b78u);
    }
    return ~crc;
}
