/* Which code computes checksums on this CPU. */
#ifndef TETRIS_DIGEST_PATH_H
#define TETRIS_DIGEST_PATH_H

#include "blake3.h"

/* The kernel in use: the fastest that runs here unless tetris_digest_select said otherwise. */
const struct blake3_kernel *digest_path(void);

#endif
