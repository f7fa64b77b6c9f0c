/* Slices of tensors in a V2 checkpoint, where a tensor is stored whole or in slices of its own. */
#ifndef TETRIS_TENSORFLOW_PARTITION_H
#define TETRIS_TENSORFLOW_PARTITION_H

#include "tensorflow_stock.h"

/* Sets the output of every want with a spec that is TETRIS_FROM_CHECKPOINT, names and dtypes being
 * right. First those that are stored as they are asked for: it costs no more than the slice, and it
 * is the only way for dtypes that TensorFlow does not cut. The rest is cut from the whole tensor.
 * False with the request's status set. */
bool tetris_partition_serve(struct tetris_stock *stock, struct tetris_request *request);

#endif
