/* Segments: one tensor's bytes as a file on a tmpfs, immutable once visible.
 *
 * A reference is an open-file-description read lock that lives with the mapping: it is taken on a
 * descriptor that is closed after mmap, and the kernel drops it when the last mapping of that
 * description goes, by munmap, exit or kill -9. All functions return 0 or -errno. */
#ifndef TETRIS_SEGMENT_H
#define TETRIS_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

/* Creates `hidden` in directory dirfd with room for n > 0 bytes, really allocated, and maps it
 * writable. -ENOSPC leaves nothing behind. */
int tetris_segment_reserve(int dirfd, const char *hidden, size_t n, void **addr);

/* Makes `hidden` read-only and visible as `name`, never replacing: -EEXIST when `name` is there,
 * and `hidden` stays for the caller to unlink. Unmap what reserve mapped before. */
int tetris_segment_seal(int dirfd, const char *hidden, const char *name);

enum tetris_map_mode {
    TETRIS_MAP_SHARED,  /* read-only; a write faults */
    TETRIS_MAP_PRIVATE, /* copy-on-write; a write stays in this process */
};

/* Maps `name`, which must be exactly n > 0 bytes, and takes a reference. While somebody has claimed
 * it, and may yet keep it, this waits, for about a second at most.
 * -ENOENT: gone, or claimed for longer than that. -EBADMSG: not a segment of n bytes. */
int tetris_segment_map(int dirfd, const char *name, size_t n, int mode, void **addr);

int tetris_unmap(void *addr, size_t n);

/* Makes the pages of a writable mapping present, so that another thread need not wait for them.
 * -EINVAL: this kernel (before 5.14) cannot; nothing is lost by that. */
int tetris_populate(void *addr, size_t n);

/* Sets *referenced to whether anybody maps `name`, or holds a file lease on it that keeps even
 * readers out; who has claimed it does not. */
int tetris_segment_probe(int dirfd, const char *name, int *referenced);

/* Takes the write lock for removal: -EBUSY while anybody maps `name`, -ENOENT when another remover
 * was first. Unlink every link of it, then close *fd: no new reference can be taken meanwhile, and
 * none succeeds afterwards. To keep it after all, close *fd: whoever maps it meanwhile waits. */
int tetris_segment_claim(int dirfd, const char *name, int *fd);

/* Opens the regular file `path` (the directory, with O_DIRECTORY) below dirfd, without following
 * a link out of it. -EXDEV: it leads outside; -EINVAL: not a regular file; -EAGAIN: another process
 * holds a file lease on it. */
int tetris_open_beneath(int dirfd, const char *path, int flags, int *fd);

#endif
