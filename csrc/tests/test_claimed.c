/* segment.h: a reader that meets a claim waits for its outcome, and no longer than it must. */
#include "segment_case.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

static int claim_one(const char *name)
{
    int fd = -1;

    CHECK_EQUAL(tetris_segment_claim(dir, name, &fd), 0);
    return fd;
}

/* Maps "a" and returns the error, or the value of its bytes. What it maps is what is named "a", and
 * stays so for as long: no remover gets it. */
static int look(void)
{
    void *map = NULL;
    int value, error = tetris_segment_map(dir, "a", SIZE, TETRIS_MAP_SHARED, &map);

    if (error)
        return error;
    value = *(uint8_t *)map;
    CHECK_EQUAL(referenced("a"), 1);
    CHECK_EQUAL(tetris_unmap(map, SIZE), 0);
    return value;
}

/* How often this thread has slept so far: what "at once" means without a clock. */
static long sleeps(void)
{
    struct rusage usage;

    CHECK_EQUAL(getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_nvcsw;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void wait_ms(long ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&left, &left) && errno == EINTR)
        continue;
}

static void *keep(void *claimed)
{
    wait_ms(50);
    close(*(int *)claimed);
    return NULL;
}

static void test_what_is_kept_is_mapped(void)
{
    pthread_t remover;
    int claimed;

    make("a", 1);
    claimed = claim_one("a");
    CHECK_EQUAL(pthread_create(&remover, NULL, keep, &claimed), 0);
    CHECK_EQUAL(look(), 1);
    pthread_join(remover, NULL);
}

static void *replace(void *unused)
{
    wait_ms(50);
    CHECK_EQUAL(unlinkat(dir, "a", 0), 0);
    CHECK_EQUAL(renameat(dir, "next", dir, "a"), 0);
    return unused;
}

static void *take_away(void *unused)
{
    wait_ms(50);
    CHECK_EQUAL(unlinkat(dir, "a", 0), 0);
    return unused;
}

/* What `remover` does to "a" decides, and not when it lets go: its claim is held to the end. */
static int look_during(void *(*remover)(void *))
{
    int claimed, found;
    long before;
    pthread_t thread;

    make("a", 1);
    make("next", 2);
    claimed = claim_one("a");
    CHECK_EQUAL(pthread_create(&thread, NULL, remover, NULL), 0);
    found = look();
    pthread_join(thread, NULL);
    before = sleeps();
    CHECK_EQUAL(look(), found); /* and again, without waiting */
    CHECK(sleeps() - before < 10);
    close(claimed);
    return found;
}

static void test_what_is_unlinked_is_gone_at_once(void)
{
    CHECK_EQUAL(look_during(take_away), -ENOENT);
}

static void test_a_new_segment_of_the_name_is_found(void)
{
    CHECK_EQUAL(look_during(replace), 2);
}

static void no_handling(int signal)
{
    (void)signal;
}

/* Interrupted all the while, too: neither forever nor too short. */
static void test_a_claim_for_ever_is_given_up_on(void)
{
    const struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    const struct sigaction interrupt = {.sa_handler = no_handling}; /* no SA_RESTART */
    double start;
    int claimed;

    make("a", 1);
    claimed = claim_one("a");
    CHECK_EQUAL(sigaction(SIGALRM, &interrupt, NULL), 0);
    start = seconds();
    CHECK_EQUAL(setitimer(ITIMER_REAL, &often, NULL), 0);
    CHECK_EQUAL(look(), -ENOENT);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK(seconds() - start > 0.8);
    CHECK_EQUAL(referenced("a"), 0); /* a claim is no reference */
    close(claimed);
    CHECK_EQUAL(look(), 1);
}

static int stop; /* what a thread that does something over and over looks at */

static void *claim_and_keep(void *unused)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        int fd;

        if (tetris_segment_claim(dir, "a", &fd) == 0)
            close(fd);
    }
    return unused;
}

/* As a remover and a publisher after it, but with no moment between them. */
static void *claim_and_replace(void *unused)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        int fd;

        make("next", 1);
        while (tetris_segment_claim(dir, "a", &fd))
            continue;
        CHECK_EQUAL(renameat(dir, "next", dir, "a"), 0);
        close(fd);
    }
    return unused;
}

/* Maps "a" over and over while `remover` does its work: it is there at any moment. */
static void look_all_the_while(void *(*remover)(void *))
{
    pthread_t thread;

    make("a", 1);
    CHECK_EQUAL(pthread_create(&thread, NULL, remover, NULL), 0);
    for (int i = 0; i < 5000; i++)
        CHECK_EQUAL(look(), 1);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}

static void test_claims_that_end_well_are_not_noticed(void)
{
    look_all_the_while(claim_and_keep);
}

static void test_neither_are_new_segments_of_the_name(void)
{
    look_all_the_while(claim_and_replace);
}

int main(void)
{
    RUN(test_what_is_kept_is_mapped);
    RUN(test_what_is_unlinked_is_gone_at_once);
    RUN(test_a_new_segment_of_the_name_is_found);
    RUN(test_a_claim_for_ever_is_given_up_on);
    RUN(test_claims_that_end_well_are_not_noticed);
    RUN(test_neither_are_new_segments_of_the_name);
    return CHECK_RESULT;
}
