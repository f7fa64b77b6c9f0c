/* Checksums of a byte stream: BLAKE3-256 names a segment, CRC32C is what a checkpoint index promises.
 *
 * Both are computed in one pass over the data, and that pass can be the one that copies it: what is
 * hashed is always the destination, so a source that changes meanwhile cannot get a digest that the
 * stored bytes do not have. */
#ifndef TETRIS_DIGEST_H
#define TETRIS_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TETRIS_DIGEST_SIZE 32

/* BLAKE3-256 of n bytes. */
void tetris_digest(const void *data, size_t n, uint8_t out[TETRIS_DIGEST_SIZE]);

/* CRC32C (Castagnoli, reflected, final inversion included) continued from crc; start with 0. */
uint32_t tetris_crc32c(uint32_t crc, const void *data, size_t n);

/* A running BLAKE3-256 and CRC32C. Not thread-safe; one per stream. */
typedef struct tetris_sum tetris_sum;

tetris_sum *tetris_sum_new(void); /* NULL when out of memory */
void tetris_sum_free(tetris_sum *sum);

/* Takes n bytes in. */
void tetris_sum_update(tetris_sum *sum, const void *data, size_t n);

/* Copies n bytes from src to dst and takes in what dst then holds. */
void tetris_sum_copy(tetris_sum *sum, void *dst, const void *src, size_t n);

/* Reads n bytes of fd at offset into dst and takes them in. -ENODATA when the file ends early. */
int tetris_sum_pread(tetris_sum *sum, void *dst, int fd, off_t offset, size_t n);

/* As tetris_sum_pread, but keeps nothing: to hash a range before deciding to store it. */
int tetris_sum_skim(tetris_sum *sum, int fd, off_t offset, size_t n);

/* The checksums of all bytes so far; more may follow. */
void tetris_sum_result(const tetris_sum *sum, uint8_t digest[TETRIS_DIGEST_SIZE], uint32_t *crc32c);

/* The implementations this CPU can run, fastest first, as names that tetris_digest_select takes;
 * NULL past the end. Selecting is for tests and benchmarks: it is process-wide. -EINVAL: not here. */
const char *tetris_digest_path(size_t index);
int tetris_digest_select(const char *path);

#endif
