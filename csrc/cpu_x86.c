/* What this x86-64 CPU and its kernel can run. By the instruction itself: __builtin_cpu_supports asks
 * the compiler's own library, and that of ziglang, with which wheels are built, answers "nothing". */
#ifdef __x86_64__
#include "cpu_x86.h"

#include <cpuid.h>
#include <stdint.h>

/* Registers that the kernel saves when it switches threads. */
#define YMM ((uint64_t)0x06)
#define ZMM ((uint64_t)0xe6)

/* Only valid with OSXSAVE. */
static bool kernel_saves(uint64_t registers)
{
    uint32_t low, high;

    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (((uint64_t)high << 32 | low) & registers) == registers;
}

bool cpu_has(enum cpu_feature feature)
{
    unsigned int unused, ecx, ebx = 0;
    bool vectors;

    if (!__get_cpuid(1, &unused, &unused, &ecx, &unused))
        return false;
    __get_cpuid_count(7, 0, &unused, &ebx, &unused, &unused);
    vectors = ecx & bit_OSXSAVE;
    switch (feature) {
    case CPU_CRC32C:
        return (ecx & bit_SSE4_2) && (ecx & bit_PCLMUL);
    case CPU_AVX2:
        return (ebx & bit_AVX2) && vectors && kernel_saves(YMM);
    case CPU_AVX512F:
        return (ebx & bit_AVX512F) && vectors && kernel_saves(ZMM);
    }
    return false;
}
#else
/* An empty translation unit is not C. */
typedef int tetris_no_cpu_x86;
#endif
