/* digest.h, on every path this CPU has: official vectors, chunkings, copies and reads. */
#include "check.h"
#include "digest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blake3_vectors.h"

#define LARGEST 102400 /* of the vectors */
#define LARGE ((size_t)1 << 20)

static uint8_t *pattern; /* LARGE + 64 bytes i % 251 */

static int same_hex(const uint8_t digest[TETRIS_DIGEST_SIZE], const char *hex)
{
    char text[2 * TETRIS_DIGEST_SIZE + 1];

    for (int i = 0; i < TETRIS_DIGEST_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return strcmp(text, hex) == 0;
}

/* One bit at a time, from the definition. */
static uint32_t crc_by_bits(const uint8_t *data, size_t n)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static int sum_is(const tetris_sum *sum, const uint8_t *data, size_t n)
{
    uint8_t got[TETRIS_DIGEST_SIZE], want[TETRIS_DIGEST_SIZE];
    uint32_t crc;

    tetris_sum_result(sum, got, &crc);
    tetris_digest(data, n, want);
    return memcmp(got, want, sizeof got) == 0 && crc == crc_by_bits(data, n);
}

static void test_vectors(void)
{
    for (size_t i = 0; i < sizeof blake3_vectors / sizeof *blake3_vectors; i++) {
        uint8_t digest[TETRIS_DIGEST_SIZE];

        tetris_digest(pattern, blake3_vectors[i].n, digest);
        CHECK(same_hex(digest, blake3_vectors[i].hex));
    }
}

static void test_chunkings(void)
{
    static const size_t steps[] = {1, 63, 64, 1000, 1023, 1024, 1025, 4096, 32768, 33000, LARGEST};

    for (size_t i = 0; i < sizeof blake3_vectors / sizeof *blake3_vectors; i++) {
        const size_t n = blake3_vectors[i].n;

        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            tetris_sum *sum = tetris_sum_new();
            uint8_t digest[TETRIS_DIGEST_SIZE];
            uint32_t crc;

            for (size_t at = 0; at < n; at += steps[s])
                tetris_sum_update(sum, pattern + at, n - at < steps[s] ? n - at : steps[s]);
            tetris_sum_result(sum, digest, &crc);
            CHECK(same_hex(digest, blake3_vectors[i].hex));
            tetris_sum_free(sum);
        }
    }
}

/* A result is of the bytes so far, and more may follow it: at every seam of chunks and batches. */
static void test_result_between(void)
{
    tetris_sum *sum = tetris_sum_new();

    for (size_t at = 0; at < 150 * 1024; at += 512) {
        CHECK(sum_is(sum, pattern, at));
        tetris_sum_update(sum, pattern + at, 512);
    }
    tetris_sum_free(sum);
}

static void test_crc32c(void)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 4079, 4080, 4081, 8160, 100000};
    const uint8_t zeros[32] = {0};

    CHECK_EQUAL(tetris_crc32c(0, "123456789", 9), 0xe3069283);
    CHECK_EQUAL(tetris_crc32c(0, zeros, sizeof zeros), 0x8a9136aa);
    CHECK_EQUAL(tetris_crc32c(tetris_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t skew = 0; skew < 3; skew++)
            CHECK_EQUAL(tetris_crc32c(0, pattern + skew, sizes[i]),
                        crc_by_bits(pattern + skew, sizes[i]));
}

static void test_copy(void)
{
    static const size_t sizes[] = {0, 1, 1000, 32767, 32768, 32769, 200001, LARGE};
    uint8_t *copy = malloc(LARGE + 1);

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tetris_sum *sum = tetris_sum_new();
        size_t first = sizes[i] / 3;

        memset(copy, 0xee, LARGE + 1);
        tetris_sum_copy(sum, copy, pattern, first);
        tetris_sum_copy(sum, copy + first, pattern + first, sizes[i] - first);
        CHECK(memcmp(copy, pattern, sizes[i]) == 0);
        CHECK_EQUAL(copy[sizes[i]], 0xee);
        CHECK(sum_is(sum, pattern, sizes[i]));
        tetris_sum_free(sum);
    }
    free(copy);
}

/* A file in memory with the first n bytes of the pattern. */
static int pattern_file(size_t n)
{
    int fd = memfd_create("pattern", MFD_CLOEXEC);

    CHECK(fd >= 0);
    CHECK_EQUAL(write(fd, pattern, n), n);
    return fd;
}

static void test_pread(void)
{
    const size_t n = 300001, skip = 13;
    uint8_t *to = malloc(n);
    int fd = pattern_file(n);
    tetris_sum *sum = tetris_sum_new(), *skim = tetris_sum_new();

    CHECK_EQUAL(tetris_sum_pread(sum, to, fd, skip, n - skip), 0);
    CHECK(memcmp(to, pattern + skip, n - skip) == 0);
    CHECK(sum_is(sum, pattern + skip, n - skip));
    CHECK_EQUAL(tetris_sum_skim(skim, fd, skip, n - skip), 0);
    CHECK(sum_is(skim, pattern + skip, n - skip));
    CHECK_EQUAL(tetris_sum_skim(skim, fd, 0, 0), 0);
    tetris_sum_free(skim);
    tetris_sum_free(sum);
    close(fd);
    free(to);
}

static void test_pread_errors(void)
{
    uint8_t *to = malloc(LARGE);
    int fd = pattern_file(200000);
    tetris_sum *sum = tetris_sum_new();

    CHECK_EQUAL(tetris_sum_pread(sum, to, fd, 0, 200001), -ENODATA);
    CHECK_EQUAL(tetris_sum_pread(sum, to, fd, 200000, 1), -ENODATA);
    CHECK_EQUAL(tetris_sum_skim(sum, fd, 1, 200000), -ENODATA);
    CHECK_EQUAL(tetris_sum_pread(sum, to, fd, -1, 1), -EINVAL);
    CHECK_EQUAL(tetris_sum_pread(sum, to, -1, 0, 1), -EBADF);
    CHECK_EQUAL(tetris_sum_skim(sum, -1, 0, 1), -EBADF);
    tetris_sum_free(sum);
    close(fd);
    free(to);
}

/* A writer changes the source all through the copy: the digest must be that of the destination. */
static void test_copy_of_moving_source(void)
{
    uint8_t *source = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint8_t *copy = malloc(LARGE);
    pid_t writer = fork();

    if (writer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint8_t value = 0;; value++)
            memset(source, value, LARGE);
    }
    for (int i = 0; i < 20; i++) {
        tetris_sum *sum = tetris_sum_new();

        tetris_sum_copy(sum, copy, source, LARGE);
        CHECK(sum_is(sum, copy, LARGE));
        tetris_sum_free(sum);
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    munmap(source, LARGE);
    free(copy);
}

static void test_selection(void)
{
    size_t count = 0;

    while (tetris_digest_path(count))
        count++;
    CHECK(count > 0);
    CHECK(tetris_digest_path(count + 1) == NULL);
    CHECK(strcmp(tetris_digest_path(count - 1), "portable") == 0);
    CHECK_EQUAL(tetris_digest_select("abacus"), -EINVAL);
}

int main(void)
{
    const char *path;

    pattern = malloc(LARGE + 64);
    for (size_t i = 0; i < LARGE + 64; i++)
        pattern[i] = (uint8_t)(i % 251);
    test_selection();
    for (size_t i = 0; (path = tetris_digest_path(i)); i++) {
        int before = check_failures;

        CHECK_EQUAL(tetris_digest_select(path), 0);
        test_vectors();
        test_chunkings();
        test_result_between();
        test_crc32c();
        test_copy();
        test_pread();
        test_pread_errors();
        test_copy_of_moving_source();
        printf("%s: %s\n", path, check_failures == before ? "ok" : "FAILED");
    }
    free(pattern);
    return CHECK_RESULT;
}
