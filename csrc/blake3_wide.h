/* The N-lane BLAKE3 kernel: lane i hashes input i, and one vector holds one word of every lane.
 *
 * A template: the includer defines the names below and gets one function of type blake3_run. The
 * state is sixteen vectors, all the registers that SSE and AVX2 have, and code that needs one
 * more spends a third of its time on spills. So message words and shuffle masks stay in memory,
 * where an instruction reads them for free, and so does the one state word that can best wait for
 * it.
 *
 *   WIDE_NAME    name of the function
 *   WIDE_TARGET  its target attribute
 *   WIDE_LANES   N, a multiple of 4
 *   wide_vec     GCC vector of N uint32_t
 *   WIDE_ROTATE(v, n)               every word rotated right by n, one of 16, 12, 8, 7
 *   WIDE_GATHER(p, r, at)           16 bytes each from p[r] + at, p[r + 4] + at, p[r + 8] + at ...
 *   WIDE_SCATTER(p, r, at, v)       the reverse
 *   WIDE_LO32, WIDE_HI32, WIDE_LO64, WIDE_HI64 (a, b)
 *                                   words or pairs of a and b interleaved, within 16 bytes */
#define WIDE_CAT_(a, b) a##_##b
#define WIDE_CAT(a, b) WIDE_CAT_(a, b)
#define WIDE_FN(f) WIDE_CAT(WIDE_NAME, f)
#define WIDE_INLINE static inline __attribute__((always_inline)) WIDE_TARGET

/* Continues the CRC of a lane over a block. */
WIDE_INLINE uint32_t WIDE_FN(crc)(uint32_t crc, const uint8_t *block)
{
    uint64_t c = crc;

#pragma GCC unroll 8
    for (int i = 0; i < BLAKE3_BLOCK; i += 8) {
        uint64_t word;

        memcpy(&word, block + i, sizeof word);
        c = _mm_crc32_u64(c, word);
    }
    return (uint32_t)c;
}

/* Transposes 4x4 words within every 16 bytes. */
WIDE_INLINE void WIDE_FN(transpose)(wide_vec r[4])
{
    wide_vec lo01 = WIDE_LO32(r[0], r[1]), hi01 = WIDE_HI32(r[0], r[1]);
    wide_vec lo23 = WIDE_LO32(r[2], r[3]), hi23 = WIDE_HI32(r[2], r[3]);

    r[0] = WIDE_LO64(lo01, lo23);
    r[1] = WIDE_HI64(lo01, lo23);
    r[2] = WIDE_LO64(hi01, hi23);
    r[3] = WIDE_HI64(hi01, hi23);
}

/* Loads a block of every lane: m[w] becomes word w of all lanes. */
WIDE_INLINE void WIDE_FN(load)(const uint8_t *const p[WIDE_LANES], size_t at, wide_vec m[16])
{
#pragma GCC unroll 4
    for (int w = 0; w < 16; w += 4) {
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            m[w + r] = WIDE_GATHER(p, r, at + 4 * w);
        WIDE_FN(transpose)(m + w);
    }
    /* Keeps m in memory, or the compiler would move these loads to their uses. */
    __asm__("" : "+m"(*(wide_vec(*)[16])m));
}

/* Four quarter-rounds abreast, on the columns (d = 0) or the diagonals (d = 1) of the state. */
WIDE_INLINE void WIDE_FN(half_round)(wide_vec v[16], const wide_vec m[16], const uint8_t s[8],
                                     const int d)
{
#define EACH _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
#define A v[i]
#define B v[4 + (i + d) % 4]
#define C v[8 + (i + 2 * d) % 4]
#define D v[12 + (i + 3 * d) % 4]
    /* The rotations need a register, so v[8] waits in memory: after its use here it is not needed
     * until the next C += D, the longest wait of any word. */
#define PARK(x)                          \
    if (WIDE_LANES < 16) {               \
        wide_vec slot_ = (x);            \
        __asm__("" : "+m"(slot_));       \
        (x) = slot_;                     \
    }
    EACH { A += m[s[2 * i]]; A += B; D = WIDE_ROTATE(D ^ A, 16); }
    EACH C += D;
    EACH B ^= C;
    PARK(v[8])
    EACH B = WIDE_ROTATE(B, 12);
    EACH { A += m[s[2 * i + 1]]; A += B; D = WIDE_ROTATE(D ^ A, 8); }
    EACH C += D;
    EACH B ^= C;
    PARK(v[8])
    EACH B = WIDE_ROTATE(B, 7);
#undef EACH
#undef A
#undef B
#undef C
#undef D
#undef PARK
}

/* One block of every lane; counter is the low words, then the high ones. The CRCs, if any, of the
 * blocks at p[i] + at are strewn between the half-rounds: they use other units of the CPU and cost
 * a third of what a pass of their own would. */
WIDE_INLINE void WIDE_FN(compress)(wide_vec h[8], const wide_vec m[16], const wide_vec counter[2],
                                   uint32_t flags, uint32_t *crcs,
                                   const uint8_t *const p[WIDE_LANES], size_t at)
{
    const wide_vec zero = {0};
    wide_vec v[16] = {
        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
        zero + blake3_iv[0], zero + blake3_iv[1], zero + blake3_iv[2], zero + blake3_iv[3],
        counter[0], counter[1], zero + (uint32_t)BLAKE3_BLOCK, zero + flags,
    };

#pragma GCC unroll 14
    for (int r = 0; r < 14; r++) {
        WIDE_FN(half_round)(v, m, blake3_schedule[r / 2] + r % 2 * 8, r % 2);
#pragma GCC unroll 16
        for (int i = 0; i < WIDE_LANES; i++)
            if (crcs && i * 14 / WIDE_LANES == r)
                crcs[i] = WIDE_FN(crc)(crcs[i], p[i] + at);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        h[i] = v[i] ^ v[i + 8];
}

/* Writes the chaining values of all lanes, one after the other. */
WIDE_INLINE void WIDE_FN(store)(wide_vec h[8], uint8_t cvs[WIDE_LANES][BLAKE3_CV])
{
#pragma GCC unroll 2
    for (int w = 0; w < 8; w += 4) {
        WIDE_FN(transpose)(h + w);
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
            WIDE_SCATTER(cvs, r, 4 * w, h[w + r]);
    }
}

WIDE_INLINE void WIDE_FN(inputs)(enum blake3_kind kind, const uint8_t *in, size_t count,
                                 uint64_t counter, ptrdiff_t ahead, uint32_t *crcs, uint8_t *out)
{
    const struct blake3_shape shape = blake3_shape(kind);
    const uint8_t *p[WIDE_LANES];
    uint8_t cvs[WIDE_LANES][BLAKE3_CV];
    wide_vec h[8], m[16], number[2];
    uint32_t flags = shape.each | shape.first;

    for (size_t i = 0; i < WIDE_LANES; i++) {
        uint64_t c = kind == BLAKE3_CHUNKS ? counter + i : 0;

        p[i] = in + (i < count ? i : count - 1) * shape.bytes; /* idle lanes repeat the last */
        number[0][i] = (uint32_t)c;
        number[1][i] = (uint32_t)(c >> 32);
    }
    for (int i = 0; i < 8; i++)
        h[i] = (wide_vec){0} + blake3_iv[i];
    for (size_t at = 0; at < shape.bytes; at += BLAKE3_BLOCK) {
        for (size_t i = 0; kind == BLAKE3_CHUNKS && i < WIDE_LANES; i++)
            __builtin_prefetch((const void *)((uintptr_t)p[i] + at + (uintptr_t)ahead));
        if (at + BLAKE3_BLOCK == shape.bytes)
            flags |= shape.last;
        WIDE_FN(load)(p, at, m);
        WIDE_FN(compress)(h, m, number, flags, crcs, p, at);
        flags = shape.each;
    }
    WIDE_FN(store)(h, cvs);
    memcpy(out, cvs, count * BLAKE3_CV);
}

/* Two functions and not two calls in one: the compiler would hold what they share in registers. */
WIDE_TARGET static __attribute__((noinline)) void WIDE_FN(summed)(
    enum blake3_kind kind, const uint8_t *in, size_t count, uint64_t counter, ptrdiff_t ahead,
    uint32_t *crcs, uint8_t *out)
{
    uint32_t all[WIDE_LANES] = {0};

    WIDE_FN(inputs)(kind, in, count, counter, ahead, all, out);
    memcpy(crcs, all, count * sizeof *crcs);
}

WIDE_TARGET static void WIDE_NAME(enum blake3_kind kind, const uint8_t *in, size_t count,
                                  uint64_t counter, ptrdiff_t ahead, uint32_t *crcs, uint8_t *out)
{
    if (crcs)
        WIDE_FN(summed)(kind, in, count, counter, ahead, crcs, out);
    else
        WIDE_FN(inputs)(kind, in, count, counter, ahead, NULL, out);
}

#undef WIDE_CAT_
#undef WIDE_CAT
#undef WIDE_FN
#undef WIDE_INLINE
#undef WIDE_NAME
#undef WIDE_TARGET
#undef WIDE_LANES
#undef WIDE_ROTATE
#undef WIDE_GATHER
#undef WIDE_SCATTER
#undef WIDE_LO32
#undef WIDE_HI32
#undef WIDE_LO64
#undef WIDE_HI64
#undef wide_vec
