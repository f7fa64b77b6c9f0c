/* Reading large tensors side by side, as the stock kernel does: faulting in the memory and checking
 * the bytes keep a core busy for longer than the page cache takes to deliver them. */
#ifndef TETRIS_TENSORFLOW_LARGE_H
#define TETRIS_TENSORFLOW_LARGE_H

#include "tensorflow_request.h"

typedef struct tetris_large tetris_large;

/* Starts to read those whole tensors that `is_large` marks, one mark per want. NULL: no memory or no
 * thread for it; nothing was started. */
tetris_large *tetris_large_start(const struct tetris_request *request, const bool *is_large);

/* Waits for them and sets their outputs; false with the request's status set to the first failure
 * in the order of the wants. With `drop`, sets nothing. Frees `large`. */
bool tetris_large_finish(tetris_large *large, struct tetris_request *request, bool drop);

#endif
