/* CRC32C (Castagnoli): reflected, inverted before and after; 0 starts one. */
#ifndef TETRIS_CRC32C_H
#define TETRIS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* What functions with the CRC32 instruction are compiled for. Clang wants it named, old GCCs do
 * not know its name. */
#ifdef __clang__
#define CRC32C_TARGET "sse4.2,crc32"
#else
#define CRC32C_TARGET "sse4.2"
#endif

enum { CRC32C_PART = 1024 };

struct crc32c {
    /* Continues crc over n bytes. */
    uint32_t (*update)(uint32_t crc, const uint8_t *data, size_t n);
    /* Continues crc over count parts of CRC32C_PART bytes, given what each makes of an empty
     * register: no inversions, as the kernels of BLAKE3 compute it beside the hash of a chunk. */
    uint32_t (*join)(uint32_t crc, const uint32_t *parts, size_t count);
};

extern const struct crc32c crc32c_portable;
#ifdef __x86_64__
extern const struct crc32c crc32c_sse42; /* needs PCLMULQDQ too */
#endif

#endif
