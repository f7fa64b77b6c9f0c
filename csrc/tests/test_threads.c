/* What several threads of a process do at once, for the sanitizers to watch too (`make tsan`). */
#include "digest.h"
#include "segment_case.h"

#include <pthread.h>

enum { THREADS = 8 };

/* Runs work(i) for every i below count at once, each in a thread, and waits for all of them. */
static void at_once(void *(*work)(void *), size_t count)
{
    pthread_t threads[THREADS];

    for (uintptr_t i = 0; i < count; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* Waits until `count` threads have come here. */
static void meet(int count)
{
    static int come;

    __atomic_fetch_add(&come, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&come, __ATOMIC_SEQ_CST) < count)
        continue;
}

static uint8_t input[100000];
static uint8_t digests[THREADS][TETRIS_DIGEST_SIZE];
static uint32_t crcs[THREADS];

static void *first_use(void *number)
{
    const size_t i = (uintptr_t)number;

    meet(THREADS);
    tetris_digest(input, sizeof input, digests[i]);
    crcs[i] = tetris_crc32c(0, input, sizeof input);
    return NULL;
}

/* Every test is a process of its own, so this is really the first. */
static void test_the_first_use_of_a_digest(void)
{
    uint8_t expected[TETRIS_DIGEST_SIZE];

    for (size_t i = 0; i < sizeof input; i++)
        input[i] = (uint8_t)(i * i >> 5);
    at_once(first_use, THREADS);
    CHECK_EQUAL(tetris_digest_select("portable"), 0);
    tetris_digest(input, sizeof input, expected);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(memcmp(digests[i], expected, sizeof expected) == 0);
        CHECK_EQUAL(crcs[i], tetris_crc32c(0, input, sizeof input));
    }
}

static uint8_t *draft;
static const size_t draft_size = (size_t)24 << 20;

static void *populate(void *unused)
{
    CHECK_EQUAL(tetris_populate(draft, draft_size), 0);
    return unused;
}

/* The daemon makes the pages of a large draft present while it fills them. */
static void test_populating_while_filling(void)
{
    uint8_t *bytes = malloc(draft_size), filled[TETRIS_DIGEST_SIZE], stored[TETRIS_DIGEST_SIZE];
    tetris_sum *sum = tetris_sum_new();
    pthread_t helper;
    uint32_t crc;
    void *map;

    for (size_t i = 0; i < draft_size; i++)
        bytes[i] = (uint8_t)(i >> 12 ^ i);
    CHECK_EQUAL(tetris_segment_reserve(dir, ".draft", draft_size, &map), 0);
    draft = map;
    CHECK_EQUAL(pthread_create(&helper, NULL, populate, NULL), 0);
    tetris_sum_copy(sum, draft, bytes, draft_size);
    tetris_sum_result(sum, filled, &crc);
    pthread_join(helper, NULL);
    CHECK_EQUAL(tetris_unmap(draft, draft_size), 0);
    CHECK_EQUAL(tetris_segment_seal(dir, ".draft", "a"), 0);
    CHECK_EQUAL(tetris_segment_map(dir, "a", draft_size, TETRIS_MAP_SHARED, &map), 0);
    tetris_digest(map, draft_size, stored);
    CHECK(memcmp(filled, stored, sizeof stored) == 0);
    CHECK(memcmp(map, bytes, draft_size) == 0);
    CHECK_EQUAL(tetris_unmap(map, draft_size), 0);
    tetris_sum_free(sum);
    free(bytes);
}

enum { ENOUGH = 100 };
static int sealed, mapped, removed; /* how often */

static void count(int *what)
{
    __atomic_fetch_add(what, 1, __ATOMIC_RELAXED);
}

/* For who can do nothing now: the others need the CPU. */
static void rest(void)
{
    usleep(20);
}

static int enough(void)
{
    return __atomic_load_n(&sealed, __ATOMIC_RELAXED) >= ENOUGH
        && __atomic_load_n(&mapped, __ATOMIC_RELAXED) >= ENOUGH
        && __atomic_load_n(&removed, __ATOMIC_RELAXED) >= ENOUGH;
}

/* Fills a draft and makes it "a"; another that is "a" already is as good. */
static void *publish(void *number)
{
    const char hidden[] = {'.', (char)('0' + (uintptr_t)number), '\0'};

    while (!enough()) {
        void *map;
        int error;

        CHECK_EQUAL(tetris_segment_reserve(dir, hidden, SIZE, &map), 0);
        memset(map, 7, SIZE);
        CHECK_EQUAL(tetris_unmap(map, SIZE), 0);
        error = tetris_segment_seal(dir, hidden, "a");
        if (error) {
            CHECK_EQUAL(error == -EEXIST ? unlinkat(dir, hidden, 0) : error, 0);
            rest();
        } else {
            count(&sealed);
        }
    }
    return NULL;
}

/* What is mapped has all of its bytes, and its name, which no remover takes. */
static void *read_it(void *unused)
{
    static const uint8_t whole[SIZE];

    while (!enough()) {
        void *map;
        uint8_t bytes[SIZE];
        int error = tetris_segment_map(dir, "a", SIZE, TETRIS_MAP_SHARED, &map);

        if (error) {
            CHECK_EQUAL(error, -ENOENT);
            rest();
            continue;
        }
        for (size_t b = 0; b < SIZE; b++)
            bytes[b] = ((uint8_t *)map)[b] ^ 7;
        CHECK(memcmp(bytes, whole, SIZE) == 0);
        CHECK_EQUAL(referenced("a"), 1);
        CHECK_EQUAL(tetris_unmap(map, SIZE), 0);
        count(&mapped);
    }
    return unused;
}

/* No faster than it is read: a reader would hardly ever be in time. */
static int too_early(void)
{
    return __atomic_load_n(&mapped, __ATOMIC_RELAXED) <= __atomic_load_n(&removed, __ATOMIC_RELAXED);
}

static void *remove_it(void *unused)
{
    while (!enough()) {
        int fd, error = too_early() ? -EBUSY : tetris_segment_claim(dir, "a", &fd);

        if (error) {
            CHECK(error == -EBUSY || error == -ENOENT);
            rest();
            continue;
        }
        CHECK_EQUAL(unlinkat(dir, "a", 0), 0);
        close(fd);
        count(&removed);
    }
    return unused;
}

static void *publish_read_or_remove(void *number)
{
    static void *(*const works[])(void *) = {publish, read_it, remove_it};

    return works[(uintptr_t)number % 3](number);
}

static void test_publishing_reading_and_removing(void)
{
    alarm(100); /* none of them comes to a stop */
    at_once(publish_read_or_remove, 6);
    CHECK_EQUAL(sealed - removed, faccessat(dir, "a", F_OK, 0) == 0); /* none lost, none twice */
}

int main(void)
{
    RUN(test_the_first_use_of_a_digest);
    RUN(test_populating_while_filling);
    RUN(test_publishing_reading_and_removing);
    return CHECK_RESULT;
}
