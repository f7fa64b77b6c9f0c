/* segment.h: the mapping is the reference, and removal cannot race it. */
#include "segment_case.h"

#include <pthread.h>
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

struct holder {
    pid_t child;
    int ready[2], done[2];
};

/* Starts a process that holds a file lease on "a", which makes an open that conflicts with it wait
 * until the kernel breaks it. */
static void hold_file_lease(struct holder *holder, int flags, int type)
{
    char byte = 'n';

    CHECK_EQUAL(pipe(holder->ready) | pipe(holder->done), 0);
    holder->child = fork();
    if (holder->child == 0) {
        int fd = openat(dir, "a", flags | O_CLOEXEC);

        signal(SIGIO, SIG_IGN); /* the request to give it up */
        byte = fcntl(fd, F_SETLEASE, type) == 0 ? 'y' : 'n';
        if (write(holder->ready[1], &byte, 1) == 1 && read(holder->done[0], &byte, 1) < 0)
            _exit(1);
        _exit(0);
    }
    CHECK_EQUAL(read(holder->ready[0], &byte, 1), 1);
    CHECK_EQUAL(byte, 'y');
}

static void let_go(struct holder *holder)
{
    CHECK_EQUAL(write(holder->done[1], "", 1), 1);
    waitpid(holder->child, NULL, 0);
    for (int end = 0; end < 2; end++) {
        close(holder->ready[end]);
        close(holder->done[end]);
    }
}

static void test_file_lease_does_not_stall(void)
{
    struct holder holder;

    make("a", 1);
    hold_file_lease(&holder, O_RDONLY, F_RDLCK);
    CHECK_EQUAL(claim("a"), -EBUSY); /* a stalled one would succeed, 45 s later */
    let_go(&holder);
    CHECK_EQUAL(claim("a"), 0);
}

/* One that keeps even readers out is in use, and asking does not wait for it. */
static void test_file_lease_counts_as_a_reference(void)
{
    struct holder holder;
    int referenced = 0;

    make("a", 1);
    hold_file_lease(&holder, O_RDONLY, F_WRLCK);
    CHECK_EQUAL(tetris_segment_probe(dir, "a", &referenced), 0);
    CHECK_EQUAL(referenced, 1);
    let_go(&holder);
    CHECK_EQUAL(tetris_segment_probe(dir, "a", &referenced), 0);
    CHECK_EQUAL(referenced, 0);
}

static int open_beneath(const char *path)
{
    int fd = -1, error = tetris_open_beneath(dir, path, O_RDONLY, &fd);

    if (error == 0)
        close(fd);
    return error;
}

static void test_file_lease_does_not_stall_reading(void)
{
    struct holder holder;

    make("a", 1);
    CHECK_EQUAL(fchmodat(dir, "a", 0644, 0), 0);
    hold_file_lease(&holder, O_RDWR, F_WRLCK);
    CHECK_EQUAL(open_beneath("a"), -EAGAIN); /* likewise */
    let_go(&holder);
    CHECK_EQUAL(open_beneath("a"), 0);
}

/* Claims "a" over and over and puts a new one there. A remover unlinks it and a publisher makes it
 * anew; the rename that stands for both makes the moment to miss short, and missing it likely. */
static void *replace(void *stop)
{
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED)) {
        int fd = -1;

        make("next", 1);
        while (tetris_segment_claim(dir, "a", &fd))
            continue;
        CHECK_EQUAL(renameat(dir, "next", dir, "a"), 0);
        close(fd);
    }
    return NULL;
}

/* What is claimed is what the name stands for: else a slow remover unlinks another's new segment. */
static void test_two_removers(void)
{
    int stop = 0, claims = 0, strangers = 0;
    pthread_t rival;

    make("a", 1);
    CHECK_EQUAL(pthread_create(&rival, NULL, replace, &stop), 0);
    for (int i = 0; i < 20000; i++) {
        struct stat claimed, named;
        int fd = -1, error = tetris_segment_claim(dir, "a", &fd);

        CHECK(error == 0 || error == -EBUSY || error == -ENOENT);
        if (error)
            continue;
        claims++;
        CHECK_EQUAL(fstat(fd, &claimed) | fstatat(dir, "a", &named, 0), 0);
        strangers += claimed.st_ino != named.st_ino;
        close(fd);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(rival, NULL);
    CHECK(claims > 0);
    CHECK_EQUAL(strangers, 0);
}

int main(void)
{
    RUN(test_reference_is_the_mapping);
    RUN(test_reference_survives_fork);
    RUN(test_claim_then_unlink);
    RUN(test_claim_without_privilege);
    RUN(test_reader_cannot_write_lock);
    RUN(test_file_lease_does_not_stall);
    RUN(test_file_lease_counts_as_a_reference);
    RUN(test_file_lease_does_not_stall_reading);
    RUN(test_two_removers);
    return CHECK_RESULT;
}
