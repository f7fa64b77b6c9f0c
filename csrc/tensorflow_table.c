#include "tensorflow_table.h"

#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tetris_table {
    /* Shared, under `registry.lock` */
    size_t count;
    tetris_table *next;

    /* Constant once published */
    uint8_t fingerprint[TETRIS_FINGERPRINT_SIZE];
    char *view;
    pid_t owner;
    struct tetris_entry *entries; /* by name */
    size_t used, room;
    void *lease;
    size_t lease_size;
};

static struct {
    pthread_mutex_t lock;
    tetris_table *first;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void lock_registry(void)
{
    pthread_mutex_lock(&registry.lock);
}

static void unlock_registry(void)
{
    pthread_mutex_unlock(&registry.lock);
}

/* A fork copies the lock as it is; held by a thread that does not exist in the child, it would
 * never be free again. At the start, since whoever looks for a table takes it before there is one. */
__attribute__((constructor)) static void survive_fork(void)
{
    pthread_atfork(lock_registry, unlock_registry, unlock_registry);
}

int tetris_table_new(const uint8_t *fingerprint, const char *view, tetris_table **table)
{
    tetris_table *made = calloc(1, sizeof *made);

    if (!made)
        return -ENOMEM;
    made->view = strdup(view);
    if (!made->view) {
        free(made);
        return -ENOMEM;
    }
    memcpy(made->fingerprint, fingerprint, sizeof made->fingerprint);
    made->owner = getpid();
    made->count = 1;
    *table = made;
    return 0;
}

static int make_room(tetris_table *table)
{
    size_t room = table->room ? 2 * table->room : 64;
    struct tetris_entry *entries;

    if (table->used < table->room)
        return 0;
    entries = realloc(table->entries, room * sizeof *entries);
    if (!entries)
        return -ENOMEM;
    table->entries = entries;
    table->room = room;
    return 0;
}

static void free_entry(struct tetris_entry *entry)
{
    free(entry->name);
    free(entry->file);
    free(entry->dims);
}

int tetris_table_add(tetris_table *table, const char *name, size_t name_size, int dtype,
                     const int64_t *dims, int ndims, const char *file, size_t nbytes)
{
    struct tetris_entry entry = {
        .name_size = name_size, .dtype = dtype, .ndims = ndims, .nbytes = nbytes};

    for (int d = 0; d < ndims; d++)
        if (dims[d] < 0)
            return -EINVAL;
    entry.name = malloc(name_size + 1);
    entry.file = strdup(file);
    entry.dims = malloc((size_t)ndims * sizeof *dims + 1);
    if (!entry.name || !entry.file || !entry.dims || make_room(table)) {
        free_entry(&entry);
        return -ENOMEM;
    }
    memcpy(entry.name, name, name_size);
    entry.name[name_size] = '\0';
    if (ndims)
        memcpy(entry.dims, dims, (size_t)ndims * sizeof *dims);
    table->entries[table->used++] = entry;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct tetris_entry *left = a, *right = b;
    size_t shared = left->name_size < right->name_size ? left->name_size : right->name_size;
    int order = memcmp(left->name, right->name, shared);

    if (order)
        return order;
    return (left->name_size > right->name_size) - (left->name_size < right->name_size);
}

static int sort_entries(tetris_table *table)
{
    if (table->used)
        qsort(table->entries, table->used, sizeof *table->entries, compare);
    for (size_t i = 1; i < table->used; i++)
        if (!compare(&table->entries[i - 1], &table->entries[i]))
            return -EEXIST;
    return 0;
}

static int take_lease(tetris_table *table, const char *lease)
{
    struct stat st;
    int view;
    int error = tetris_table_open_view(table, &view);

    if (error)
        return error;
    if (fstatat(view, lease, &st, AT_SYMLINK_NOFOLLOW))
        error = -errno;
    else
        error = tetris_segment_map(view, lease, (size_t)st.st_size, TETRIS_MAP_SHARED,
                                   &table->lease);
    if (!error)
        table->lease_size = (size_t)st.st_size;
    close(view);
    return error;
}

int tetris_table_publish(tetris_table *table, const char *lease)
{
    int error = sort_entries(table);

    if (!error && lease)
        error = take_lease(table, lease);
    if (error)
        return error;
    lock_registry();
    table->next = registry.first;
    registry.first = table;
    unlock_registry();
    return 0;
}

tetris_table *tetris_table_find(const uint8_t *fingerprint)
{
    tetris_table *table;
    pid_t self = getpid();

    lock_registry();
    for (table = registry.first; table; table = table->next)
        if (table->owner == self &&
            !memcmp(table->fingerprint, fingerprint, sizeof table->fingerprint))
            break;
    if (table)
        table->count++;
    unlock_registry();
    return table;
}

void tetris_table_ref(tetris_table *table)
{
    lock_registry();
    table->count++;
    unlock_registry();
}

static void free_table(tetris_table *table)
{
    if (table->lease)
        tetris_unmap(table->lease, table->lease_size);
    for (size_t i = 0; i < table->used; i++)
        free_entry(&table->entries[i]);
    free(table->entries);
    free(table->view);
    free(table);
}

void tetris_table_unref(tetris_table *table)
{
    tetris_table **link;
    size_t left;

    lock_registry();
    left = --table->count;
    for (link = &registry.first; !left && *link; link = &(*link)->next)
        if (*link == table) {
            *link = table->next;
            break;
        }
    unlock_registry();
    if (!left)
        free_table(table);
}

const uint8_t *tetris_table_fingerprint(const tetris_table *table)
{
    return table->fingerprint;
}

const struct tetris_entry *tetris_table_lookup(const tetris_table *table, const char *name,
                                               size_t name_size)
{
    /* Only compared, never written through. */
    struct tetris_entry key = {.name = (char *)(uintptr_t)name, .name_size = name_size};

    if (!table->used)
        return NULL;
    return bsearch(&key, table->entries, table->used, sizeof key, compare);
}

int tetris_table_open_view(const tetris_table *table, int *fd)
{
    *fd = open(table->view, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? -errno : 0;
}
