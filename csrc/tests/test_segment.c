/* segment.h: what a segment promises to who makes it and who maps it. */
#include "segment_case.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>

/* Runs work in a forked child and returns its wait status. */
static int in_child(void (*work)(void *), void *argument)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        work(argument);
        _exit(check_failures ? 1 : 0);
    }
    waitpid(child, &status, 0);
    return status;
}

static void test_reserve_and_seal(void)
{
    struct stat st;
    void *map = NULL;

    CHECK_EQUAL(tetris_segment_reserve(dir, ".hidden", SIZE, &map), 0);
    CHECK_EQUAL(fstatat(dir, ".hidden", &st, 0), 0);
    CHECK_EQUAL(st.st_size, SIZE);
    CHECK(st.st_blocks * 512 >= (off_t)SIZE); /* room, not a hole */
    CHECK_EQUAL(tetris_segment_reserve(dir, ".hidden", SIZE, &map), -EEXIST);
    memset(map, 7, SIZE);
    tetris_unmap(map, SIZE);
    CHECK_EQUAL(tetris_segment_seal(dir, ".hidden", "a"), 0);
    CHECK_EQUAL(fstatat(dir, ".hidden", &st, 0), -1);
    CHECK_EQUAL(fstatat(dir, "a", &st, 0), 0);
    CHECK_EQUAL(st.st_mode & 07777, 0444);
}

static void test_seal_never_replaces(void)
{
    uint8_t *map;
    void *hidden = NULL;

    make("a", 1);
    CHECK_EQUAL(tetris_segment_reserve(dir, ".second", SIZE, &hidden), 0);
    memset(hidden, 2, SIZE);
    tetris_unmap(hidden, SIZE);
    CHECK_EQUAL(tetris_segment_seal(dir, ".second", "a"), -EEXIST);
    CHECK_EQUAL(faccessat(dir, ".second", F_OK, 0), 0);
    map = map_one("a", TETRIS_MAP_SHARED);
    CHECK_EQUAL(map[SIZE - 1], 1);
    tetris_unmap(map, SIZE);
    CHECK_EQUAL(tetris_segment_seal(dir, ".nothing", "b"), -ENOENT);
}

/* A full tmpfs is an error of reserve, and nothing is left of it. Mounting one takes root. */
static void test_reserve_without_room(void)
{
    struct stat st;
    void *map = NULL;
    int small;

    CHECK_EQUAL(mkdirat(dir, "small", 0700), 0);
    CHECK_EQUAL(fchdir(dir), 0);
    if (mount("tetris", "small", "tmpfs", 0, "size=64k")) {
        fprintf(stderr, "skipped: reserve without room (mount: %s)\n", strerror(errno));
        return;
    }
    small = openat(dir, "small", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQUAL(umount2("small", MNT_DETACH), 0); /* it goes with the last descriptor */
    CHECK_EQUAL(tetris_segment_reserve(small, ".hidden", 1 << 20, &map), -ENOSPC);
    CHECK(map == NULL);
    CHECK_EQUAL(fstatat(small, ".hidden", &st, 0), -1);
    CHECK_EQUAL(tetris_segment_reserve(small, ".hidden", 32768, &map), 0);
    tetris_unmap(map, 32768);
    close(small);
}

static void test_map_refuses(void)
{
    void *map = NULL;

    make("a", 1);
    CHECK_EQUAL(tetris_segment_map(dir, "b", SIZE, TETRIS_MAP_SHARED, &map), -ENOENT);
    CHECK_EQUAL(tetris_segment_map(dir, "a", SIZE + 1, TETRIS_MAP_SHARED, &map), -EBADMSG);
    CHECK_EQUAL(tetris_segment_map(dir, "a", SIZE - 1, TETRIS_MAP_PRIVATE, &map), -EBADMSG);
    CHECK_EQUAL(mkdirat(dir, "d", 0700), 0);
    CHECK(tetris_segment_map(dir, "d", SIZE, TETRIS_MAP_SHARED, &map) < 0);
    CHECK_EQUAL(mkfifoat(dir, "f", 0600), 0);
    CHECK_EQUAL(mknodat(dir, "s", S_IFSOCK | 0600, 0), 0);
    CHECK(tetris_segment_map(dir, "f", SIZE, TETRIS_MAP_SHARED, &map) < 0); /* and does not wait */
    CHECK_EQUAL(symlinkat("a", dir, "l"), 0);
    CHECK_EQUAL(tetris_segment_map(dir, "l", SIZE, TETRIS_MAP_SHARED, &map), -ELOOP);
    CHECK(map == NULL);
    CHECK_EQUAL(referenced("a"), 0); /* a refusal holds nothing */
}

static void test_private_writes_stay(void)
{
    uint8_t *mine, *other;

    make("a", 1);
    mine = map_one("a", TETRIS_MAP_PRIVATE);
    other = map_one("a", TETRIS_MAP_SHARED);
    memset(mine, 9, SIZE);
    CHECK_EQUAL(other[0], 1);
    CHECK_EQUAL(other[SIZE - 1], 1);
    tetris_unmap(other, SIZE);
    other = map_one("a", TETRIS_MAP_PRIVATE);
    CHECK_EQUAL(other[0], 1);
    CHECK_EQUAL(referenced("a"), 1);
    tetris_unmap(mine, SIZE);
    tetris_unmap(other, SIZE);
}

static void write_to(void *map)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would report it as a finding */
    *(volatile uint8_t *)map = 9;
}

static void test_shared_is_read_only(void)
{
    uint8_t *map;
    int status;

    make("a", 1);
    map = map_one("a", TETRIS_MAP_SHARED);
    status = in_child(write_to, map);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK_EQUAL(map[0], 1);
    CHECK_EQUAL(mprotect(map, SIZE, PROT_READ | PROT_WRITE), -1);
    CHECK_EQUAL(errno, EACCES);
    tetris_unmap(map, SIZE);
}

static int open_beneath(const char *path)
{
    int fd = -1, error = tetris_open_beneath(dir, path, O_RDONLY, &fd);

    if (error == 0)
        close(fd);
    return error;
}

static void test_open_beneath(void)
{
    int fd = -1;

    make("a", 1);
    CHECK_EQUAL(mkdirat(dir, "d", 0700), 0);
    CHECK_EQUAL(symlinkat("../a", dir, "d/inside"), 0);
    CHECK_EQUAL(symlinkat("../../etc/hostname", dir, "d/outside"), 0);
    CHECK_EQUAL(symlinkat("/etc/hostname", dir, "d/absolute"), 0);
    CHECK_EQUAL(mkfifoat(dir, "f", 0600), 0);
    CHECK_EQUAL(mknodat(dir, "s", S_IFSOCK | 0600, 0), 0);
    CHECK_EQUAL(open_beneath("a"), 0);
    CHECK_EQUAL(open_beneath("d/inside"), 0);
    CHECK_EQUAL(open_beneath("d/outside"), -EXDEV);
    CHECK_EQUAL(open_beneath("d/absolute"), -EXDEV);
    CHECK_EQUAL(open_beneath("../a"), -EXDEV);
    CHECK_EQUAL(open_beneath("/etc/hostname"), -EXDEV);
    CHECK_EQUAL(open_beneath("d/none"), -ENOENT);
    CHECK_EQUAL(open_beneath("f"), -EINVAL);
    CHECK_EQUAL(open_beneath("s"), -EINVAL);
    CHECK_EQUAL(open_beneath("d"), -EINVAL);
    CHECK_EQUAL(tetris_open_beneath(dir, "d", O_RDONLY | O_DIRECTORY, &fd), 0);
    close(fd);
}

int main(void)
{
    RUN(test_reserve_and_seal);
    RUN(test_seal_never_replaces);
    RUN(test_reserve_without_room);
    RUN(test_map_refuses);
    RUN(test_private_writes_stay);
    RUN(test_shared_is_read_only);
    RUN(test_open_beneath);
    return CHECK_RESULT;
}
