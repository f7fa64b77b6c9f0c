#include "tensorflow_large.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST_THREADS = 8 }; /* the stock kernel's number */

struct task {
    int want;
    TF_Tensor *tensor;
    TF_Status *status;
};

struct tetris_large {
    const struct tetris_request *request;
    struct task *tasks;
    int count;
    atomic_int next; /* task that nobody has taken yet */
    pthread_t threads[MOST_THREADS];
    int running;
};

/* A reader is for one thread, so each opens its own. */
static void *work(void *arg)
{
    tetris_large *large = arg;
    TF_CheckpointReader *reader = NULL;
    int number;

    while ((number = atomic_fetch_add(&large->next, 1)) < large->count) {
        struct task *task = &large->tasks[number];

        if (!reader)
            reader = tetris_tf.TF_NewCheckpointReader(large->request->prefix.at, task->status);
        if (reader)
            task->tensor = tetris_tf.TF_CheckpointReaderGetTensor(
                reader, large->request->wants[task->want].name.at, task->status);
    }
    if (reader)
        tetris_tf.TF_DeleteCheckpointReader(reader);
    return NULL;
}

static void free_large(tetris_large *large)
{
    for (int i = 0; i < large->count; i++) {
        if (large->tasks[i].tensor)
            tetris_tf.TF_DeleteTensor(large->tasks[i].tensor);
        tetris_tf.TF_DeleteStatus(large->tasks[i].status);
    }
    free(large->tasks);
    free(large);
}

tetris_large *tetris_large_start(const struct tetris_request *request, const bool *is_large)
{
    tetris_large *large = calloc(1, sizeof *large);

    if (!large)
        return NULL;
    large->request = request;
    large->tasks = calloc((size_t)request->count, sizeof *large->tasks);
    for (int i = 0; large->tasks && i < request->count; i++)
        if (is_large[i])
            large->tasks[large->count++] =
                (struct task){.want = i, .status = tetris_tf.TF_NewStatus()};
    while (large->running < large->count && large->running < MOST_THREADS &&
           !pthread_create(&large->threads[large->running], NULL, work, large))
        large->running++;
    if (large->running)
        return large;
    free_large(large);
    return NULL;
}

bool tetris_large_finish(tetris_large *large, struct tetris_request *request, bool drop)
{
    bool good = !drop;

    for (int i = 0; i < large->running; i++)
        pthread_join(large->threads[i], NULL);
    for (int i = 0; i < large->count && good; i++) {
        struct task *task = &large->tasks[i];

        if (task->tensor) {
            good = tetris_request_set(request, &request->wants[task->want], task->tensor);
            task->tensor = NULL;
        } else {
            good = tetris_request_fail(request, tetris_tf.TF_GetCode(task->status), "%s",
                                       tetris_tf.TF_Message(task->status));
        }
    }
    free_large(large);
    return good;
}
