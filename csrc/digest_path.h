/* Which code computes checksums on this CPU. */
#ifndef TETRIS_DIGEST_PATH_H
#define TETRIS_DIGEST_PATH_H

#include "blake3.h"
#include "crc32c.h"

struct digest_path {
    const char *name;
    const struct blake3_kernel *blake3;
    crc32c_run *crc32c;
};

/* The path in use: the fastest one unless tetris_digest_select said otherwise. */
const struct digest_path *digest_path(void);

#endif
