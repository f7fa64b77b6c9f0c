/* CRC32C in plain C, eight bytes a step, each looked up in a table of its own. */
#include "crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */
#define OVER_PART 0xe4172b16u  /* x^(8 * CRC32C_PART) modulo it, reflected */

/* table[k][b]: what byte b does to the register when k more bytes follow it. */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void fill_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][b] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
}

static uint32_t update(uint32_t crc, const uint8_t *data, size_t n)
{
    pthread_once(&table_once, fill_table);
    crc = ~crc;
    for (; n >= 8; n -= 8, data += 8) {
        uint64_t word;
        uint32_t next = 0;

        memcpy(&word, data, sizeof word);
        word ^= crc;
        for (int k = 0; k < 8; k++)
            next ^= table[7 - k][word >> 8 * k & 255];
        crc = next;
    }
    for (; n > 0; n--, data++)
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 255];
    return ~crc;
}

/* The product of two reflected polynomials. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = b >> 1 ^ (b & 1 ? POLYNOMIAL : 0);
    }
    return product;
}

static uint32_t join(uint32_t crc, const uint32_t *parts, size_t count)
{
    crc = ~crc;
    for (size_t i = 0; i < count; i++)
        crc = multiply(crc, OVER_PART) ^ parts[i];
    return ~crc;
}

const struct crc32c crc32c_portable = {update, join};
