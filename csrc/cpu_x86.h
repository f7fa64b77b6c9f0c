/* Features of an x86-64 CPU, as far as checksums use them. */
#ifndef TETRIS_CPU_X86_H
#define TETRIS_CPU_X86_H

#include <stdbool.h>

enum cpu_feature {
    CPU_CRC32C, /* SSE4.2 and carry-less multiplication */
    CPU_AVX2,
    CPU_AVX512F,
};

/* Whether the CPU has it and the kernel saves the registers it needs. */
bool cpu_has(enum cpu_feature feature);
#endif
