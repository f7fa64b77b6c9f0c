#include "digest.h"

#include "digest_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is copied before it is summed: enough chunks for every lane, and little enough to be in the cache
 * still when it is read again, with as much of the source fetched ahead beside it. */
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

void tetris_digest(const void *data, size_t n, uint8_t out[TETRIS_DIGEST_SIZE])
{
    const struct blake3_kernel *kernel = digest_path()->blake3;
    struct blake3 hash;

    blake3_init(&hash);
    blake3_update(&hash, kernel, data, n, (ptrdiff_t)(kernel->lanes * BLAKE3_CHUNK));
    blake3_result(&hash, kernel, out);
}

uint32_t tetris_crc32c(uint32_t crc, const void *data, size_t n)
{
    return digest_path()->crc32c(crc, data, n);
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

/* Takes in a step: few enough bytes to stay in the cache between the two checksums. `next` is what the
 * caller reads after it. */
static void take(tetris_sum *sum, const uint8_t *data, size_t n, const uint8_t *next)
{
    const struct digest_path *path = digest_path();

    sum->crc = path->crc32c(sum->crc, data, n);
    blake3_update(&sum->hash, path->blake3, data, n, (ptrdiff_t)((uintptr_t)next - (uintptr_t)data));
}

void tetris_sum_update(tetris_sum *sum, const void *data, size_t n)
{
    const uint8_t *from = data;

    for (size_t now; n > 0; n -= now, from += now) {
        now = least(n, COPY_STEP);
        take(sum, from, now, from + now);
    }
}

void tetris_sum_copy(tetris_sum *sum, void *dst, const void *src, size_t n)
{
    const uint8_t *from = src;
    uint8_t *to = dst;

    for (size_t now; n > 0; n -= now, from += now, to += now) {
        now = least(n, COPY_STEP);
        memcpy(to, from, now);
        /* The compiler must not sum `from` in its place: it may change, `to` is what is stored. */
        __asm__ volatile("" ::: "memory");
        take(sum, to, now, from + now);
    }
}

/* Reads exactly n bytes. */
static int read_all(int fd, uint8_t *to, size_t n, off_t offset)
{
    while (n > 0) {
        ssize_t got = pread(fd, to, n, offset);

        if (got == 0)
            return -ENODATA;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0) {
            to += got;
            offset += got;
            n -= (size_t)got;
        }
    }
    return 0;
}

int tetris_sum_pread(tetris_sum *sum, void *dst, int fd, off_t offset, size_t n)
{
    uint8_t *to = dst;

    for (size_t now; n > 0; n -= now, to += now, offset += (off_t)now) {
        int error;

        now = least(n, READ_STEP);
        error = read_all(fd, to, now, offset);
        if (error)
            return error;
        take(sum, to, now, to + now);
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
    blake3_result(&sum->hash, digest_path()->blake3, digest);
    *crc32c = sum->crc;
}
