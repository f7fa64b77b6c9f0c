/* CRC32C (Castagnoli): reflected, inverted before and after; 0 starts one. */
#ifndef TETRIS_CRC32C_H
#define TETRIS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t crc32c_run(uint32_t crc, const uint8_t *data, size_t n);

crc32c_run crc32c_portable;
#ifdef __x86_64__
crc32c_run crc32c_sse42; /* needs PCLMULQDQ too */
#endif

#endif
