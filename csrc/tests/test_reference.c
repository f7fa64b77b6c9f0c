/* segment.h: the mapping is the reference, and removal cannot race it. */
#include "segment_case.h"

#include <signal.h>
#include <sys/prctl.h>

static int claim(const char *name)
{
    int fd = -1, error = tetris_segment_claim(dir, name, &fd);

    if (error == 0)
        close(fd);
    return error;
}

static void test_reference_is_the_mapping(void)
{
    make("a", 1);
    CHECK_EQUAL(referenced("a"), 0);
    for (int mode = TETRIS_MAP_SHARED; mode <= TETRIS_MAP_PRIVATE; mode++) {
        uint8_t *first = map_one("a", mode), *second = map_one("a", mode);

        CHECK_EQUAL(referenced("a"), 1);
        CHECK_EQUAL(claim("a"), -EBUSY);
        tetris_unmap(first, SIZE);
        CHECK_EQUAL(referenced("a"), 1);
        tetris_unmap(second, SIZE);
        CHECK_EQUAL(referenced("a"), 0);
        CHECK_EQUAL(claim("a"), 0);
    }
    CHECK_EQUAL(tetris_segment_probe(dir, "b", &(int){0}), -ENOENT);
}

/* The reference of a forked child outlives the parent's, and goes however the child goes. */
static void test_reference_survives_fork(void)
{
    uint8_t *map;
    pid_t child;

    make("a", 1);
    map = map_one("a", TETRIS_MAP_SHARED);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    tetris_unmap(map, SIZE);
    CHECK_EQUAL(referenced("a"), 1);
    CHECK_EQUAL(claim("a"), -EBUSY);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_EQUAL(referenced("a"), 0);
    CHECK_EQUAL(claim("a"), 0);
}

/* While it is claimed nobody can map it, and after the unlink it is gone, also for whoever opened
 * it before. */
static void test_claim_then_unlink(void)
{
    void *map = NULL;
    int claimed = -1, early;
    struct flock read_lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    struct stat st;

    make("a", 1);
    early = openat(dir, "a", O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(tetris_segment_claim(dir, "a", &claimed), 0);
    CHECK_EQUAL(tetris_segment_map(dir, "a", SIZE, TETRIS_MAP_SHARED, &map), -ENOENT);
    CHECK_EQUAL(claim("a"), -EBUSY);
    CHECK_EQUAL(unlinkat(dir, "a", 0), 0);
    CHECK_EQUAL(fcntl(early, F_OFD_SETLK, &read_lock), -1);
    close(claimed);
    CHECK_EQUAL(fcntl(early, F_OFD_SETLK, &read_lock), 0);
    CHECK_EQUAL(fstat(early, &st), 0);
    CHECK_EQUAL(st.st_nlink, 0); /* what map looks at after it got its lock */
    close(early);
    CHECK_EQUAL(tetris_segment_map(dir, "a", SIZE, TETRIS_MAP_SHARED, &map), -ENOENT);
    CHECK_EQUAL(claim("a"), -ENOENT);
}

/* An unprivileged owner may not open a 0444 file for writing, which a write lock needs. */
static void test_claim_without_privilege(void)
{
    struct stat st;

    if (geteuid() == 0) {
        CHECK_EQUAL(fchown(dir, 65534, 65534), 0);
        CHECK_EQUAL(setuid(65534), 0);
    }
    make("a", 1);
    CHECK_EQUAL(faccessat(dir, "a", W_OK, 0), -1);
    CHECK_EQUAL(claim("a"), 0);
    CHECK_EQUAL(fstatat(dir, "a", &st, 0), 0);
    CHECK_EQUAL(st.st_mode & 07777, 0444);
}

/* A client can pin a segment but never block it: its descriptor cannot carry a write lock. */
static void test_reader_cannot_write_lock(void)
{
    struct flock write_lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd;

    make("a", 1);
    fd = openat(dir, "a", O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(fcntl(fd, F_OFD_SETLK, &write_lock), -1);
    CHECK_EQUAL(errno, EBADF);
    close(fd);
}

struct pipes {
    int ready[2], done[2];
};

/* Takes a file lease, which makes a blocking open for writing wait until the kernel breaks it. */
static void hold_file_lease(void *argument)
{
    struct pipes *pipes = argument;
    int fd = openat(dir, "a", O_RDONLY | O_CLOEXEC);
    char byte = fcntl(fd, F_SETLEASE, F_RDLCK) == 0 ? 'y' : 'n';

    signal(SIGIO, SIG_IGN); /* the request to give it up */
    if (write(pipes->ready[1], &byte, 1) == 1 && read(pipes->done[0], &byte, 1) < 0)
        _exit(1);
    close(fd);
}

static void test_file_lease_does_not_stall(void)
{
    struct pipes pipes;
    char byte = 'n';
    pid_t child;

    make("a", 1);
    CHECK_EQUAL(pipe(pipes.ready) | pipe(pipes.done), 0);
    child = fork();
    if (child == 0) {
        hold_file_lease(&pipes);
        _exit(0);
    }
    CHECK_EQUAL(read(pipes.ready[0], &byte, 1), 1);
    CHECK_EQUAL(byte, 'y');
    CHECK_EQUAL(claim("a"), -EBUSY); /* a stalled one would succeed, 45 s later */
    CHECK_EQUAL(write(pipes.done[1], &byte, 1), 1);
    waitpid(child, NULL, 0);
    CHECK_EQUAL(claim("a"), 0);
    for (int end = 0; end < 2; end++) {
        close(pipes.ready[end]);
        close(pipes.done[end]);
    }
}

int main(void)
{
    RUN(test_reference_is_the_mapping);
    RUN(test_reference_survives_fork);
    RUN(test_claim_then_unlink);
    RUN(test_claim_without_privilege);
    RUN(test_reader_cannot_write_lock);
    RUN(test_file_lease_does_not_stall);
    return CHECK_RESULT;
}
