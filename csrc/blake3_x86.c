/* The wide kernels of x86-64: blake3_wide.h in vectors of 16, 32 and 64 bytes. */
#ifdef __x86_64__
#include "blake3.h"

#include <immintrin.h>
#include <string.h>

/* Rotation by whole bytes is a byte shuffle; these are its masks. AVX2 wants them once per half. */
#define MASK16 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13
#define MASK8 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12

static const uint8_t by16[32] __attribute__((aligned(32))) = {MASK16, MASK16};
static const uint8_t by8[32] __attribute__((aligned(32))) = {MASK8, MASK8};

typedef uint32_t vec4 __attribute__((vector_size(16)));
typedef uint32_t vec8 __attribute__((vector_size(32)));
typedef uint32_t vec16 __attribute__((vector_size(64)));

#define SHIFTS(v, n) ((v) >> (n) | (v) << (32 - (n)))
#define LOAD16(at) _mm_loadu_si128((const __m128i *)(at))
#define STORE16(at, x) _mm_storeu_si128((__m128i *)(at), x)

/* Assembly and not the intrinsic: it keeps the mask out of a register, see blake3_wide.h. */
#define SHUFFLE(target_name, vec, op)                                                   \
    static inline __attribute__((always_inline, target(target_name))) vec               \
    shuffle_##vec(vec v, const uint8_t mask[32])                                        \
    {                                                                                   \
        __asm__(op : "+x"(v) : "m"(*(const vec *)(const void *)mask));                  \
        return v;                                                                       \
    }
SHUFFLE(CRC32C_TARGET, vec4, "pshufb %1, %0")
SHUFFLE("avx2," CRC32C_TARGET, vec8, "vpshufb %1, %0, %0")
#undef SHUFFLE

#define ROTATE(vec, v, n) \
    ((n) == 16 ? shuffle_##vec(v, by16) : (n) == 8 ? shuffle_##vec(v, by8) : SHIFTS(v, n))

/* With SSE4.2 for the CRC: no CPU that anybody serves from has the one and not the other. */
#define WIDE_NAME run_sse41
#define WIDE_TARGET __attribute__((target(CRC32C_TARGET)))
#define WIDE_LANES 4
#define wide_vec vec4
#define WIDE_ROTATE(v, n) ROTATE(vec4, v, n)
#define WIDE_GATHER(p, r, at) ((vec4)LOAD16((p)[r] + (at)))
#define WIDE_SCATTER(p, r, at, v) STORE16((p)[r] + (at), (__m128i)(v))
#define WIDE_LO32(a, b) ((vec4)_mm_unpacklo_epi32((__m128i)(a), (__m128i)(b)))
#define WIDE_HI32(a, b) ((vec4)_mm_unpackhi_epi32((__m128i)(a), (__m128i)(b)))
#define WIDE_LO64(a, b) ((vec4)_mm_unpacklo_epi64((__m128i)(a), (__m128i)(b)))
#define WIDE_HI64(a, b) ((vec4)_mm_unpackhi_epi64((__m128i)(a), (__m128i)(b)))
#include "blake3_wide.h"

#define WIDE_NAME run_avx2
#define WIDE_TARGET __attribute__((target("avx2," CRC32C_TARGET)))
#define WIDE_LANES 8
#define wide_vec vec8
#define WIDE_ROTATE(v, n) ROTATE(vec8, v, n)
#define WIDE_GATHER(p, r, at) \
    ((vec8)_mm256_inserti128_si256(_mm256_castsi128_si256(LOAD16((p)[r] + (at))), \
                                   LOAD16((p)[(r) + 4] + (at)), 1))
#define WIDE_SCATTER(p, r, at, v) \
    (STORE16((p)[r] + (at), _mm256_castsi256_si128((__m256i)(v))), \
     STORE16((p)[(r) + 4] + (at), _mm256_extracti128_si256((__m256i)(v), 1)))
#define WIDE_LO32(a, b) ((vec8)_mm256_unpacklo_epi32((__m256i)(a), (__m256i)(b)))
#define WIDE_HI32(a, b) ((vec8)_mm256_unpackhi_epi32((__m256i)(a), (__m256i)(b)))
#define WIDE_LO64(a, b) ((vec8)_mm256_unpacklo_epi64((__m256i)(a), (__m256i)(b)))
#define WIDE_HI64(a, b) ((vec8)_mm256_unpackhi_epi64((__m256i)(a), (__m256i)(b)))
#include "blake3_wide.h"

/* AVX-512 has thirty-two registers and a rotate, which the compiler finds in the shifts. */
#define QUARTER(x, i) _mm512_extracti32x4_epi32((__m512i)(x), i)
#define WIDE_NAME run_avx512
#define WIDE_TARGET __attribute__((target("avx512f," CRC32C_TARGET)))
#define WIDE_LANES 16
#define wide_vec vec16
#define WIDE_ROTATE(v, n) SHIFTS(v, n)
#define WIDE_INSERT(x, p, r, at, i) _mm512_inserti32x4(x, LOAD16((p)[(r) + 4 * (i)] + (at)), i)
#define WIDE_GATHER(p, r, at) \
    ((vec16)WIDE_INSERT(WIDE_INSERT(WIDE_INSERT(_mm512_castsi128_si512(LOAD16((p)[r] + (at))), \
                                                p, r, at, 1), p, r, at, 2), p, r, at, 3))
#define WIDE_SCATTER(p, r, at, v) \
    (STORE16((p)[r] + (at), QUARTER(v, 0)), STORE16((p)[(r) + 4] + (at), QUARTER(v, 1)), \
     STORE16((p)[(r) + 8] + (at), QUARTER(v, 2)), STORE16((p)[(r) + 12] + (at), QUARTER(v, 3)))
#define WIDE_LO32(a, b) ((vec16)_mm512_unpacklo_epi32((__m512i)(a), (__m512i)(b)))
#define WIDE_HI32(a, b) ((vec16)_mm512_unpackhi_epi32((__m512i)(a), (__m512i)(b)))
#define WIDE_LO64(a, b) ((vec16)_mm512_unpacklo_epi64((__m512i)(a), (__m512i)(b)))
#define WIDE_HI64(a, b) ((vec16)_mm512_unpackhi_epi64((__m512i)(a), (__m512i)(b)))
#include "blake3_wide.h"

const struct blake3_kernel blake3_sse41 = {"sse4.1", 4, run_sse41, &crc32c_sse42};
const struct blake3_kernel blake3_avx2 = {"avx2", 8, run_avx2, &crc32c_sse42};
const struct blake3_kernel blake3_avx512 = {"avx512", 16, run_avx512, &crc32c_sse42};
#else
/* An empty translation unit is not C. */
typedef int tetris_no_x86;
#endif
