#include "file.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Little enough to be in the cache still when it is compared. */
#define STEP ((size_t)128 * 1024)

int tetris_file_read(int fd, void *to, size_t n, off_t offset)
{
    uint8_t *at = to;

    while (n > 0) {
        ssize_t got = pread(fd, at, n, offset);

        if (got == 0)
            return -ENODATA;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0) {
            at += got;
            offset += got;
            n -= (size_t)got;
        }
    }
    return 0;
}

int tetris_file_compare(const void *data, int fd, off_t offset, size_t n, int *same)
{
    const uint8_t *with = data;
    uint8_t *bounce = malloc(STEP);
    int error = bounce ? 0 : -ENOMEM;

    *same = 1;
    for (size_t now; !error && *same && n > 0; n -= now, with += now, offset += (off_t)now) {
        now = n < STEP ? n : STEP;
        error = tetris_file_read(fd, bounce, now, offset);
        *same = !error && memcmp(bounce, with, now) == 0;
    }
    free(bounce);
    return error;
}
