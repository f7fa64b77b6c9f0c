/* All the framework the C tests need: a failed check says where, and the test goes on. */
#ifndef TETRIS_TESTS_CHECK_H
#define TETRIS_TESTS_CHECK_H

#include <stdio.h>

static int check_failures;

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, __func__, #condition); \
            __atomic_fetch_add(&check_failures, 1, __ATOMIC_RELAXED);               \
        }                                                                           \
    } while (0)

/* Both sides as long long, printed when they differ: for sizes, counts and -errno. */
#define CHECK_EQUAL(got, want)                                                      \
    do {                                                                            \
        long long got_ = (long long)(got), want_ = (long long)(want);               \
        if (got_ != want_) {                                                        \
            fprintf(stderr, "%s:%d: %s: %s is %lld and not %lld\n", __FILE__, __LINE__, __func__, \
                    #got, got_, want_);                                             \
            __atomic_fetch_add(&check_failures, 1, __ATOMIC_RELAXED);               \
        }                                                                           \
    } while (0)

/* What main returns. */
#define CHECK_RESULT (check_failures ? 1 : 0)

#endif
