/* What makes a system call that a signal can interrupt gets to its end all the same, and to the
 * right one: here with a signal every millisecond, and a handler that restarts nothing. */
#include "digest.h"
#include "file.h"
#include "segment_case.h"

#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#define LARGE ((size_t)32 << 20)
enum { ENOUGH = 20 }; /* signals */

static volatile sig_atomic_t signals;

static void handle(int signal)
{
    (void)signal;
    signals++;
}

static void start_the_storm(void)
{
    const struct itimerval timer = {{0, 1000}, {0, 1000}};
    const struct sigaction action = {.sa_handler = handle}; /* no SA_RESTART */

    CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void end_the_storm(void)
{
    const struct itimerval never = {{0, 0}, {0, 0}};

    CHECK_EQUAL(setitimer(ITIMER_REAL, &never, NULL), 0);
}

static int begun; /* allocations */

/* In the place of the system's, since this kernel may be a patient one: one before 6.11 looks for
 * signals while it works, and begins anew. */
int fallocate(int fd, int mode, off_t offset, off_t n)
{
    const struct timespec work = {.tv_nsec = 5000000};

    begun++;
    if (nanosleep(&work, NULL))
        return -1;
    return (int)syscall(SYS_fallocate, fd, mode, offset, n);
}

static void test_reserve(void)
{
    start_the_storm();
    for (int i = 0; i < 10; i++) {
        struct stat st;
        void *map = NULL;

        CHECK_EQUAL(tetris_segment_reserve(dir, ".hidden", LARGE, &map), 0);
        CHECK_EQUAL(fstatat(dir, ".hidden", &st, 0), 0);
        CHECK(st.st_blocks * 512 >= (off_t)LARGE);
        CHECK_EQUAL(tetris_unmap(map, LARGE), 0);
        CHECK_EQUAL(unlinkat(dir, ".hidden", 0), 0);
    }
    CHECK_EQUAL(begun, 10);
    while (signals < ENOUGH) /* they are let through again */
        pause();
    end_the_storm();
}

/* A segment `a` of LARGE bytes, mapped. */
static uint8_t *large_segment(void)
{
    void *map = NULL;

    CHECK_EQUAL(tetris_segment_reserve(dir, ".hidden", LARGE, &map), 0);
    for (size_t i = 0; i < LARGE; i++)
        ((uint8_t *)map)[i] = (uint8_t)(i * i >> 7);
    CHECK_EQUAL(tetris_segment_seal(dir, ".hidden", "a"), 0);
    return map;
}

/* Likewise: a file system of another host, or of a process, gives up at a signal. */
ssize_t pread(int fd, void *to, size_t n, off_t offset)
{
    static sig_atomic_t seen;

    if (seen != signals) {
        seen = signals;
        errno = EINTR;
        return -1;
    }
    return syscall(SYS_pread64, fd, to, n, offset);
}

/* Every way to read a file, against what it holds. */
static void read_all(int fd, const uint8_t *bytes, uint8_t *copy, const uint8_t *digest)
{
    tetris_sum *kept = tetris_sum_new(), *skimmed = tetris_sum_new();
    uint8_t got[TETRIS_DIGEST_SIZE];
    uint32_t crc;
    int same = 0;

    CHECK_EQUAL(tetris_sum_pread(kept, copy, fd, 0, LARGE), 0);
    tetris_sum_result(kept, got, &crc);
    CHECK(memcmp(got, digest, sizeof got) == 0 && memcmp(copy, bytes, LARGE) == 0);
    CHECK_EQUAL(tetris_sum_skim(skimmed, fd, 0, LARGE), 0);
    tetris_sum_result(skimmed, got, &crc);
    CHECK(memcmp(got, digest, sizeof got) == 0);
    CHECK_EQUAL(tetris_file_compare(bytes, fd, 0, LARGE, &same), 0);
    CHECK_EQUAL(same, 1);
    tetris_sum_free(kept);
    tetris_sum_free(skimmed);
}

static void test_reading(void)
{
    uint8_t *bytes = large_segment(), *copy = malloc(LARGE), digest[TETRIS_DIGEST_SIZE];
    int fd = openat(dir, "a", O_RDONLY | O_CLOEXEC);

    tetris_digest(bytes, LARGE, digest);
    start_the_storm();
    do
        read_all(fd, bytes, copy, digest);
    while (signals < ENOUGH);
    end_the_storm();
    close(fd);
    free(copy);
    CHECK_EQUAL(tetris_unmap(bytes, LARGE), 0);
}

static void test_opening_mapping_and_claiming(void)
{
    make("a", 1);
    start_the_storm();
    while (signals < ENOUGH) {
        int fd = -1;

        CHECK_EQUAL(tetris_open_beneath(dir, "a", O_RDONLY, &fd), 0);
        CHECK_EQUAL(close(fd), 0);
        CHECK_EQUAL(tetris_unmap(map_one("a", TETRIS_MAP_PRIVATE), SIZE), 0);
        CHECK_EQUAL(referenced("a"), 0);
        CHECK_EQUAL(tetris_segment_claim(dir, "a", &fd), 0);
        CHECK_EQUAL(close(fd), 0);
    }
    end_the_storm();
}

int main(void)
{
    RUN(test_reserve);
    RUN(test_reading);
    RUN(test_opening_mapping_and_claiming);
    return CHECK_RESULT;
}
