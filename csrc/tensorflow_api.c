#include "tensorflow_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

struct tetris_tf tetris_tf;

/* Copied and not cast: ISO C knows no conversion from an object pointer to a function pointer. */
static int find(void *library, const char *name, void *field, const char **missing)
{
    void *symbol = dlsym(library, name);

    if (!symbol) {
        *missing = name;
        return -ENOSYS;
    }
    memcpy(field, &symbol, sizeof symbol);
    return 0;
}

int tetris_tf_bind(const char *library, const char **missing)
{
    struct tetris_tf found;
    int error = 0;
    void *handle = dlopen(library, RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);

    if (!handle)
        return -ENOENT;
#define FIND(result, name, parameters)                                                             \
    if (!error)                                                                                    \
        error = find(handle, #name, &found.name, missing);
    TETRIS_TF_FUNCTIONS(FIND)
#undef FIND
    if (!error)
        tetris_tf = found;
    /* The kernel we register lives as long as the process, so the library must: keep the handle. */
    if (error)
        dlclose(handle);
    return error;
}

TF_TString *tetris_tf_string(void *data, int64_t index)
{
    return (void *)((char *)data + (size_t)index * TETRIS_TF_STRING_SIZE);
}

void tetris_tf_set_string(void *data, int64_t index, const char *text, size_t n)
{
    tetris_tf.TF_StringCopy(tetris_tf_string(data, index), text, n);
}
