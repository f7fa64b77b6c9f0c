#include "check.h"
#include "segment.h"
#include "tensorflow_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char view[] = "/tmp/tetris-table-XXXXXX";
static int view_fd;
static const uint8_t fingerprint[TETRIS_FINGERPRINT_SIZE] = {1, 2, 3};

static tetris_table *table_with(const char *const *names, size_t count)
{
    static const int64_t dims[] = {2, 3};
    tetris_table *table;

    CHECK_EQUAL(tetris_table_new(fingerprint, view, &table), 0);
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(tetris_table_add(table, names[i], strlen(names[i]), (int)i + 1, dims, 2, "f", 24),
                    0);
    return table;
}

static int lease_is_held(void)
{
    int held = -1;

    CHECK_EQUAL(tetris_segment_probe(view_fd, "L.lease", &held), 0);
    return held;
}

static void names_are_found(void)
{
    const char *const names[] = {"b", "a/kernel", "", "a", "ab", "\xff\xfe"};
    const size_t count = sizeof names / sizeof *names;
    tetris_table *table = table_with(names, count);

    CHECK_EQUAL(tetris_table_publish(table, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        const struct tetris_entry *entry = tetris_table_lookup(table, names[i], strlen(names[i]));

        CHECK(entry && entry->dtype == (int)i + 1 && entry->dims[1] == 3);
    }
    CHECK(!tetris_table_lookup(table, "a/", 2));
    CHECK(!tetris_table_lookup(table, "a\0b", 3));
    tetris_table_unref(table);
}

static void wrong_tables_are_refused(void)
{
    const char *const twice[] = {"a", "b", "a"};
    const int64_t negative[] = {2, -1};
    tetris_table *table = table_with(twice, 3);

    CHECK_EQUAL(tetris_table_add(table, "n", 1, 1, negative, 2, "f", 8), -EINVAL);
    CHECK_EQUAL(tetris_table_publish(table, NULL), -EEXIST);
    tetris_table_unref(table);
    table = table_with(twice, 2);
    CHECK_EQUAL(tetris_table_publish(table, "gone.lease"), -ENOENT);
    CHECK(!tetris_table_find(fingerprint));
    tetris_table_unref(table);
}

static void a_table_and_its_lease_live_as_long_as_they_are_counted_on(void)
{
    const char *const names[] = {"a"};
    tetris_table *table = table_with(names, 1);

    CHECK_EQUAL(lease_is_held(), 0);
    CHECK_EQUAL(tetris_table_publish(table, "L.lease"), 0);
    CHECK_EQUAL(lease_is_held(), 1);
    CHECK(tetris_table_find(fingerprint) == table);
    tetris_table_ref(table);
    tetris_table_unref(table);
    tetris_table_unref(table);
    CHECK_EQUAL(lease_is_held(), 1);
    tetris_table_unref(table);
    CHECK_EQUAL(lease_is_held(), 0);
    CHECK(!tetris_table_find(fingerprint));
}

static void a_child_does_not_find_its_parents_table(void)
{
    const char *const names[] = {"a"};
    tetris_table *table = table_with(names, 1);
    int status = -1;
    pid_t child;

    CHECK_EQUAL(tetris_table_publish(table, NULL), 0);
    child = fork();
    if (!child)
        _exit(tetris_table_find(fingerprint) ? 1 : 0);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    tetris_table_unref(table);
}

static int stop; /* what threads that do something over and over look at */

static void *find_and_drop(void *unused)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        tetris_table *table = tetris_table_find(fingerprint);

        if (table)
            tetris_table_unref(table);
    }
    return unused;
}

/* A child that finds anything at all, or hangs because the lock came along, fails. */
static void check_that_a_child_finds_nothing(void)
{
    int status = -1;
    pid_t child = fork();

    if (!child) {
        alarm(20);
        _exit(tetris_table_find(fingerprint) ? 1 : 0);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
}

static void forks_are_safe_while_others_find(void)
{
    pthread_t threads[4];

    __atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, find_and_drop, NULL), 0);
    for (int i = 0; i < 50; i++)
        check_that_a_child_finds_nothing();
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void counting_is_safe_among_threads_and_forks(void)
{
    const char *const names[] = {"a"};
    tetris_table *table = table_with(names, 1);

    CHECK_EQUAL(tetris_table_publish(table, NULL), 0);
    forks_are_safe_while_others_find();
    tetris_table_unref(table);
    CHECK(!tetris_table_find(fingerprint));
}

/* Attaches the model anew, as after a release, while others use what they find of it. */
static void *attach_and_release(void *unused)
{
    const char *const names[] = {"b", "a", "c"};

    for (int i = 0; i < 300; i++) {
        tetris_table *table = table_with(names, 3);

        CHECK_EQUAL(tetris_table_publish(table, "L.lease"), 0);
        usleep(50);
        tetris_table_unref(table);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    return unused;
}

/* What a restore does, and the tensors it leaves: the table and its lease are there to the last. */
static void *find_and_use(void *unused)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        tetris_table *table = tetris_table_find(fingerprint);
        const struct tetris_entry *entry;

        if (!table)
            continue;
        tetris_table_ref(table);
        tetris_table_unref(table);
        entry = tetris_table_lookup(table, "c", 1);
        CHECK(entry && entry->dtype == 3 && entry->dims[1] == 3);
        CHECK(memcmp(tetris_table_fingerprint(table), fingerprint, sizeof fingerprint) == 0);
        CHECK_EQUAL(lease_is_held(), 1);
        tetris_table_unref(table);
    }
    return unused;
}

static void attaching_and_restoring_are_safe_among_threads(void)
{
    void *(*const works[])(void *) = {attach_and_release, attach_and_release, find_and_use,
                                      find_and_use};
    pthread_t threads[4];

    __atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, works[i], NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK(!tetris_table_find(fingerprint));
    CHECK_EQUAL(lease_is_held(), 0);
}

int main(void)
{
    void *lease;

    CHECK(mkdtemp(view) != NULL);
    view_fd = open(view, O_RDONLY | O_DIRECTORY);
    CHECK_EQUAL(tetris_segment_reserve(view_fd, "hidden", 1, &lease), 0);
    tetris_unmap(lease, 1);
    CHECK_EQUAL(tetris_segment_seal(view_fd, "hidden", "L.lease"), 0);
    forks_are_safe_while_others_find(); /* before the first table, too */
    names_are_found();
    wrong_tables_are_refused();
    a_table_and_its_lease_live_as_long_as_they_are_counted_on();
    a_child_does_not_find_its_parents_table();
    counting_is_safe_among_threads_and_forks();
    attaching_and_restoring_are_safe_among_threads();
    unlinkat(view_fd, "L.lease", 0);
    rmdir(view);
    return CHECK_RESULT;
}
