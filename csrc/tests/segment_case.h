/* What the tests of segments share: a directory of its own on a tmpfs for each of them. */
#ifndef TETRIS_TESTS_SEGMENT_CASE_H
#define TETRIS_TESTS_SEGMENT_CASE_H

#include "check.h"
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE ((size_t)3 * 4096)
#define RUN(test) run(test, #test)

static int dir; /* a fresh directory for every test */

/* Makes segment `name`, every byte being `value`. */
static inline void make(const char *name, int value)
{
    void *map = NULL;

    CHECK_EQUAL(tetris_segment_reserve(dir, ".hidden", SIZE, &map), 0);
    memset(map, value, SIZE);
    CHECK_EQUAL(tetris_unmap(map, SIZE), 0);
    CHECK_EQUAL(tetris_segment_seal(dir, ".hidden", name), 0);
}

static inline uint8_t *map_one(const char *name, int mode)
{
    void *map = NULL;

    CHECK_EQUAL(tetris_segment_map(dir, name, SIZE, mode, &map), 0);
    return map;
}

static inline int referenced(const char *name)
{
    int answer = -1;

    CHECK_EQUAL(tetris_segment_probe(dir, name, &answer), 0);
    return answer;
}

/* Runs a test in a directory of its own on the tmpfs, in a child: a crash fails one test, and the
 * directory goes in any case. */
static void run(void (*test)(void), const char *name)
{
    char path[] = "/dev/shm/tetris-test-XXXXXX", command[64];
    int status = -1;
    pid_t child;

    CHECK(mkdtemp(path) != NULL);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        check_failures = 0; /* of the tests before */
        test();
        _exit(CHECK_RESULT);
    }
    waitpid(child, &status, 0);
    printf("%s: %s\n", name, status == 0 ? "ok" : "FAILED");
    CHECK_EQUAL(status, 0);
    snprintf(command, sizeof command, "rm -rf %s", path);
    CHECK_EQUAL(system(command), 0);
}

#endif
