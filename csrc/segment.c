#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* headers older than the kernel */
#endif

/* How long a reader waits for a remover that may yet let go: about a second in all. */
enum { PAUSE_NS = 1000000, PAUSES = 1000 };

/* Closes fd, keeping the error that made us give up. */
static int close_after(int fd, int error)
{
    close(fd);
    return error;
}

/* fallocate and not ftruncate: a full tmpfs is an error here and not a SIGBUS at the first write.
 * A kernel before 6.11 gives all of it back when a signal comes: with a timer that is faster than it
 * this would never end, so signals wait. */
static int make_room(int fd, size_t n)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    do {
        error = fallocate(fd, 0, 0, (off_t)n) ? -errno : 0;
    } while (error == -EINTR); /* glibc's own signals cannot wait */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int tetris_segment_reserve(int dirfd, const char *hidden, size_t n, void **addr)
{
    void *map = MAP_FAILED;
    int error;
    int fd = openat(dirfd, hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -errno;
    error = make_room(fd, n);
    if (!error) {
        map = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = map == MAP_FAILED ? -errno : 0;
    }
    if (error) {
        unlinkat(dirfd, hidden, 0);
        return close_after(fd, error);
    }
    close(fd);
    *addr = map;
    return 0;
}

int tetris_segment_seal(int dirfd, const char *hidden, const char *name)
{
    if (fchmodat(dirfd, hidden, 0444, 0))
        return -errno;
    if (renameat2(dirfd, hidden, dirfd, name, RENAME_NOREPLACE))
        return -errno;
    return 0;
}

/* -EBUSY: somebody else's lock is in the way. */
static int lock(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

    if (!fcntl(fd, F_OFD_SETLK, &lock))
        return 0;
    return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

/* The reference protocol: lock first, then see whether the file still has a name. A remover holds
 * the write lock while it unlinks, so either the lock is refused or the link count tells. */
static int take_reference(int fd, size_t n)
{
    struct stat st;
    int error = lock(fd, F_RDLCK);

    if (error)
        return error;
    if (fstat(fd, &st))
        return -errno;
    if (st.st_nlink == 0)
        return -EBUSY; /* as refused: the name may be a new segment's by now */
    return S_ISREG(st.st_mode) && (size_t)st.st_size == n ? 0 : -EBADMSG;
}

/* Opens `name` and takes a reference with the descriptor. */
static int open_reference(int dirfd, const char *name, size_t n)
{
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int error;

    if (fd < 0)
        return -errno;
    error = take_reference(fd, n);
    return error ? close_after(fd, error) : fd;
}

static void rest(void)
{
    struct timespec left = {.tv_nsec = PAUSE_NS};

    while (nanosleep(&left, &left) && errno == EINTR)
        continue;
}

/* Who holds the write lock may yet decide to keep the segment, which takes a moment only: a refusal
 * does not mean that it is gone. Each try opens anew, since meanwhile the name may have gone, or be
 * another segment's. */
static int open_reference_patiently(int dirfd, const char *name, size_t n)
{
    int fd = open_reference(dirfd, name, n);

    for (int tries = 0; fd == -EBUSY && tries < PAUSES; tries++) {
        rest();
        fd = open_reference(dirfd, name, n);
    }
    return fd == -EBUSY ? -ENOENT : fd;
}

int tetris_segment_map(int dirfd, const char *name, size_t n, int mode, void **addr)
{
    void *map;
    int prot = mode == TETRIS_MAP_PRIVATE ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags = mode == TETRIS_MAP_PRIVATE ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED;
    int fd = open_reference_patiently(dirfd, name, n);

    if (fd < 0)
        return fd;
    map = mmap(NULL, n, prot, flags, fd, 0);
    if (map == MAP_FAILED)
        return close_after(fd, -errno);
    close(fd);
    *addr = map;
    return 0;
}

int tetris_unmap(void *addr, size_t n)
{
    return munmap(addr, n) ? -errno : 0;
}

int tetris_populate(void *addr, size_t n)
{
    return madvise(addr, n, MADV_POPULATE_WRITE) ? -errno : 0;
}

int tetris_segment_probe(int dirfd, const char *name, int *referenced)
{
    struct flock query = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int error = 0;
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0 && errno == EAGAIN) { /* a file lease (F_SETLEASE): who has one has the file open */
        *referenced = 1;
        return 0;
    }
    if (fd < 0)
        return -errno;
    if (fcntl(fd, F_OFD_GETLK, &query))
        error = -errno;
    else
        *referenced = query.l_type == F_RDLCK; /* and not a remover's lock */
    return close_after(fd, error);
}

/* A segment is 0444: an unprivileged daemon makes it owner-writable to open it for a write lock.
 * O_NONBLOCK, because a client's file lease (F_SETLEASE) would stall the open for 45 s. */
static int open_for_claim(int dirfd, const char *name)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    int error;
    int fd = openat(dirfd, name, flags);

    if (fd >= 0 || errno != EACCES)
        return fd >= 0 ? fd : -errno;
    if (fchmodat(dirfd, name, 0644, 0))
        return -errno;
    fd = openat(dirfd, name, flags);
    error = fd < 0 ? -errno : 0;
    if (fchmodat(dirfd, name, 0444, 0) && !error)
        return close_after(fd, -errno);
    return error ? error : fd;
}

int tetris_segment_claim(int dirfd, const char *name, int *fd)
{
    struct stat st;
    int error;
    int claim = open_for_claim(dirfd, name);

    if (claim < 0)
        return claim == -EAGAIN ? -EBUSY : claim;
    error = lock(claim, F_WRLCK);
    if (error)
        return close_after(claim, error);
    /* Another remover may have been here between open and lock, and the name may be a new
     * segment's by now: it is not ours to unlink. */
    if (fstat(claim, &st))
        return close_after(claim, -errno);
    if (st.st_nlink == 0)
        return close_after(claim, -ENOENT);
    *fd = claim;
    return 0;
}

/* The kernel answers EAGAIN when a rename elsewhere made it doubt a "..", which passes, and while a
 * client holds a file lease on the file, which lasts for as long as 45 s. */
static long open_patiently(int dirfd, const char *path, struct open_how *how)
{
    int doubts = 0;
    long result;

    do {
        result = syscall(SYS_openat2, dirfd, path, how, sizeof *how);
    } while (result < 0 && (errno == EINTR || (errno == EAGAIN && doubts++ < 3)));
    return result;
}

int tetris_open_beneath(int dirfd, const char *path, int flags, int *fd)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_CLOEXEC | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    struct stat st;
    long result = open_patiently(dirfd, path, &how);

    if (result < 0)
        return errno == ENXIO || errno == ENODEV ? -EINVAL : -errno; /* a socket; a device */
    if (fstat((int)result, &st))
        return close_after((int)result, -errno);
    if (!S_ISREG(st.st_mode) && !(flags & O_DIRECTORY))
        return close_after((int)result, -EINVAL);
    *fd = (int)result;
    return 0;
}
