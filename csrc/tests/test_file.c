/* Reading and comparing files. */
#include "check.h"
#include "file.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SIZE ((size_t)300000) /* more than two steps, and no multiple of one */

static void test_compare_finds_every_difference(int fd, uint8_t *data)
{
    const size_t places[] = {0, 1, 131071, 131072, 262144, SIZE - 1};
    int same = 0;

    CHECK(tetris_file_compare(data, fd, 0, SIZE, &same) == 0 && same);
    CHECK(tetris_file_compare(data + 7, fd, 7, SIZE - 7, &same) == 0 && same);
    CHECK(tetris_file_compare(data, fd, 0, 0, &same) == 0 && same);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        data[places[i]] ^= 0x10;
        CHECK(tetris_file_compare(data, fd, 0, SIZE, &same) == 0 && !same);
        data[places[i]] ^= 0x10;
    }
}

static void test_a_short_file_is_an_error(int fd, uint8_t *data)
{
    int same = 1;

    CHECK(tetris_file_read(fd, data, 8, (off_t)SIZE - 7) == -ENODATA);
    CHECK(tetris_file_compare(data, fd, (off_t)SIZE, 1, &same) == -ENODATA);
    CHECK(!same);
    CHECK(tetris_file_read(-1, data, 8, 0) == -EBADF);
}

int main(void)
{
    FILE *file = tmpfile();
    uint8_t *data = malloc(SIZE);

    if (!file || !data)
        return 1;
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 131 >> 3);
    CHECK(fwrite(data, 1, SIZE, file) == SIZE && fflush(file) == 0);
    test_compare_finds_every_difference(fileno(file), data);
    test_a_short_file_is_an_error(fileno(file), data);
    free(data);
    fclose(file);
    return CHECK_RESULT;
}
