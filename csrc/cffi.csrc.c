#include "digest.h"
#include "dlpack.h"
#include "file.h"
#include "segment.h"
#include "tensorflow_restore.h"

/* The destructor of a capsule, in C because it runs at interpreter exit too; here because cffi has
 * included Python.h. A consumer renames the capsule it takes: one with our name has none. */
static void tetris_capsule_drop(void *capsule)
{
    for (int versioned = 0; versioned <= 1; versioned++) {
        const char *name = tetris_dlpack_name(versioned);

        if (PyCapsule_IsValid(capsule, name)) {
            tetris_dlpack_free(PyCapsule_GetPointer(capsule, name));
            return;
        }
    }
}
