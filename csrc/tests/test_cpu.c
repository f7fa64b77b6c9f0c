/* What the CPU is found to have is what the kernel says of it. */
#include "check.h"
#include "cpu_x86.h"

#include <stdio.h>
#include <string.h>

#ifdef __x86_64__
static char flags[16384];

/* The "flags" line of /proc/cpuinfo, with a space before and after every name. */
static bool read_flags(void)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    bool found = false;

    while (file && !found && fgets(flags, sizeof flags, file))
        found = strncmp(flags, "flags", 5) == 0;
    if (file)
        fclose(file);
    flags[strcspn(flags, "\n")] = ' ';
    return found;
}

static bool kernel_says(const char *name)
{
    char word[32];

    snprintf(word, sizeof word, " %s ", name);
    return strstr(flags, word) != NULL;
}

int main(void)
{
    if (!read_flags())
        return 77; /* skipped: a sandbox without /proc */
    CHECK_EQUAL(cpu_has(CPU_CRC32C), kernel_says("sse4_2") && kernel_says("pclmulqdq"));
    CHECK_EQUAL(cpu_has(CPU_AVX2), kernel_says("avx2"));
    CHECK_EQUAL(cpu_has(CPU_AVX512F), kernel_says("avx512f"));
    return CHECK_RESULT;
}
#else
int main(void)
{
    return 77;
}
#endif
