/* BLAKE3 and CRC32C as their definitions say them: slow, short, and with nothing in common with
 * csrc/. The runner compares them with the official `blake3` package before it believes them. */
#ifndef TETRIS_FUZZ_ORACLE_H
#define TETRIS_FUZZ_ORACLE_H

#include <stddef.h>
#include <stdint.h>

void oracle_blake3(const uint8_t *data, size_t n, uint8_t out[32]);
uint32_t oracle_crc32c(uint32_t crc, const uint8_t *data, size_t n);

#endif
