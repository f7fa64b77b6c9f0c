/* CRC32C by the instruction of SSE4.2. It takes a cycle to start and three to finish, so three
 * streams run abreast, and a carry-less multiplication shifts each into its place. */
#ifdef __x86_64__
#include "crc32c.h"

#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target(CRC32C_TARGET ",pclmul")))

/* Bytes of one stream: three of them are a page less one word-sized step. */
#define STREAM 1360
/* Moving a register over s bytes multiplies it by x^(8s) modulo the polynomial. The product of
 * two reflected 32-bit values lies one bit low in 64, and the crc32 instruction multiplies by
 * x^32 as it reduces, so the constants are x^(8s - 33), reflected. */
#define OVER_ONE 0x3f70cc6f /* s = STREAM */
#define OVER_TWO 0x5aa1f3cf /* s = 2 * STREAM */
#define OVER_PART 0x170076fa /* s = CRC32C_PART */

static inline uint64_t word_at(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return word;
}

TARGET static inline uint64_t shift(uint64_t crc, uint32_t over)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)over), 0);

    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

TARGET static uint64_t three_streams(uint64_t crc, const uint8_t *p)
{
    uint64_t a = crc, b = 0, c = 0;

    for (const uint8_t *end = p + STREAM; p < end; p += 8) {
        a = _mm_crc32_u64(a, word_at(p));
        b = _mm_crc32_u64(b, word_at(p + STREAM));
        c = _mm_crc32_u64(c, word_at(p + 2 * STREAM));
    }
    return shift(a, OVER_TWO) ^ shift(b, OVER_ONE) ^ c;
}

TARGET static uint32_t update(uint32_t crc, const uint8_t *data, size_t n)
{
    uint64_t c = ~crc;

    for (; n >= 3 * STREAM; n -= 3 * STREAM, data += 3 * STREAM)
        c = three_streams(c, data);
    for (; n >= 8; n -= 8, data += 8)
        c = _mm_crc32_u64(c, word_at(data));
    for (; n > 0; n--, data++)
        c = _mm_crc32_u8((uint32_t)c, *data);
    return ~(uint32_t)c;
}

TARGET static uint32_t join(uint32_t crc, const uint32_t *parts, size_t count)
{
    uint64_t c = ~crc;

    for (size_t i = 0; i < count; i++)
        c = shift(c, OVER_PART) ^ parts[i];
    return ~(uint32_t)c;
}

const struct crc32c crc32c_sse42 = {update, join};
#else
/* An empty translation unit is not C. */
typedef int tetris_no_crc32c_x86;
#endif
