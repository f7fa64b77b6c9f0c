/* Prints what the oracle makes of each input of stdin: 8 bytes of length, then that many bytes. */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    uint64_t n;

    while (fread(&n, sizeof n, 1, stdin) == 1) {
        uint8_t *data = malloc(n + 1), digest[32];

        if (!data || fread(data, 1, n, stdin) != n)
            return 1;
        oracle_blake3(data, n, digest);
        for (int i = 0; i < 32; i++)
            printf("%02x", digest[i]);
        printf(" %08x\n", oracle_crc32c(0, data, n));
        free(data);
    }
    return 0;
}
