/* Reading files by pread, never by mapping: a file that is truncated meanwhile is an error here and
 * not a SIGBUS. */
#ifndef TETRIS_FILE_H
#define TETRIS_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Reads exactly n bytes of fd at offset. -ENODATA when the file ends early. */
int tetris_file_read(int fd, void *to, size_t n, off_t offset);

/* Sets *same to whether the n bytes of fd at offset are those at data. It reads no further than the
 * first difference. -ENODATA when the file ends early. */
int tetris_file_compare(const void *data, int fd, off_t offset, size_t n, int *same);

#endif
