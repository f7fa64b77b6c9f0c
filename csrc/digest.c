#include "digest.h"

#include "digest_path.h"
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is copied before it is summed: enough chunks for every lane, and little enough to be in
 * the cache still when it is read again, with as much of the source fetched ahead beside it. */
#define COPY_STEP ((size_t)32 * 1024)
/* The same for reading: a system call costs more than a memcpy. */
#define READ_STEP ((size_t)128 * 1024)

struct tetris_sum {
    struct blake3 hash;
    uint32_t crc;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How far ahead to fetch in one long buffer. */
static ptrdiff_t straight(const struct blake3_kernel *kernel)
{
    return (ptrdiff_t)(kernel->lanes * BLAKE3_CHUNK);
}

static ptrdiff_t between(const void *a, const void *b)
{
    return (ptrdiff_t)((uintptr_t)b - (uintptr_t)a);
}

void tetris_digest(const void *data, size_t n, uint8_t out[TETRIS_DIGEST_SIZE])
{
    const struct blake3_kernel *kernel = digest_path();
    struct blake3 hash;

    blake3_init(&hash);
    blake3_update(&hash, kernel, data, n, straight(kernel), NULL);
    blake3_result(&hash, kernel, out);
}

uint32_t tetris_crc32c(uint32_t crc, const void *data, size_t n)
{
    return digest_path()->crc32c->update(crc, data, n);
}

tetris_sum *tetris_sum_new(void)
{
    tetris_sum *sum = malloc(sizeof *sum);

    if (sum) {
        blake3_init(&sum->hash);
        sum->crc = 0;
    }
    return sum;
}

void tetris_sum_free(tetris_sum *sum)
{
    free(sum);
}

void tetris_sum_update(tetris_sum *sum, const void *data, size_t n)
{
    const struct blake3_kernel *kernel = digest_path();

    blake3_update(&sum->hash, kernel, data, n, straight(kernel), &sum->crc);
}

void tetris_sum_copy(tetris_sum *sum, void *dst, const void *src, size_t n)
{
    const struct blake3_kernel *kernel = digest_path();
    const uint8_t *from = src;
    uint8_t *to = dst;

    for (size_t now; n > 0; n -= now, from += now, to += now) {
        now = least(n, COPY_STEP);
        memcpy(to, from, now);
        /* The compiler must not sum `from` in its place: it may change, `to` is what is stored. */
        __asm__ volatile("" ::: "memory");
        blake3_update(&sum->hash, kernel, to, now, between(to, from + now), &sum->crc);
    }
}

int tetris_sum_pread(tetris_sum *sum, void *dst, int fd, off_t offset, size_t n)
{
    uint8_t *to = dst;

    for (size_t now; n > 0; n -= now, to += now, offset += (off_t)now) {
        int error;

        now = least(n, READ_STEP);
        error = tetris_file_read(fd, to, now, offset);
        if (error)
            return error;
        tetris_sum_update(sum, to, now);
    }
    return 0;
}

int tetris_sum_skim(tetris_sum *sum, int fd, off_t offset, size_t n)
{
    uint8_t *bounce = malloc(least(n, READ_STEP) + 1); /* never malloc(0) */
    int error = bounce ? 0 : -ENOMEM;

    for (size_t now; !error && n > 0; n -= now, offset += (off_t)now) {
        now = least(n, READ_STEP);
        error = tetris_sum_pread(sum, bounce, fd, offset, now);
    }
    free(bounce);
    return error;
}

void tetris_sum_result(const tetris_sum *sum, uint8_t digest[TETRIS_DIGEST_SIZE], uint32_t *crc32c)
{
    blake3_result(&sum->hash, digest_path(), digest);
    *crc32c = sum->crc;
}
