/* The fused digest: any chunking, length and alignment gives what the definitions give.
 *
 * An input is a little program. Byte 0 chooses the code path, bytes 1 and 2 the alignment of what is
 * read and what is written, byte 3 the data. Then three bytes each are a step: what to do
 * with how many of the bytes that come next. The data itself is made here: it does not steer the
 * code, and inputs stay small enough to be mutated well. */
#include "digest.h"
#include "file.h"
#include "oracle.h"
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LIMIT ((size_t)272 << 10) /* past READ_STEP, COPY_STEP and STEP of csrc, twice */
#define STEPS 24
#define RESULTS 2 /* the definitions are slow */
#define KINDS 4   /* of data */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

/* One input at work. */
struct run {
    tetris_sum *sum;
    size_t done; /* bytes taken in */
    unsigned read_at, write_at;
    int results;
};

/* What the data may be: each in a file too, and with the CRC32C of each of its beginnings. */
static struct {
    uint8_t data[LIMIT];
    uint32_t crc32c[LIMIT + 1];
    int file;
} kinds[KINDS];

static const uint8_t *data; /* of the kind that this input chose */
static const uint32_t *crc32c;
static int file, directory;
static const off_t start = 4093; /* of the data in the file: no round number */

#define REQUIRE(condition)                                                       \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                             \
        }                                                                        \
    } while (0)

/* n bytes at the end of an allocation, off from any alignment by `shift`: what reads or writes
 * past them is seen. */
struct buffer {
    uint8_t *memory, *at;
};

static struct buffer buffer(size_t n, unsigned shift)
{
    struct buffer made = {malloc(shift + n), NULL};

    REQUIRE(made.memory);
    made.at = made.memory + shift;
    return made;
}

static struct buffer offered(const struct run *run, size_t n)
{
    struct buffer made = buffer(n, run->read_at);

    memcpy(made.at, data + run->done, n);
    return made;
}

static void update(struct run *run, size_t n)
{
    struct buffer from = offered(run, n);

    tetris_sum_update(run->sum, from.at, n);
    free(from.memory);
}

static void copy(struct run *run, size_t n)
{
    struct buffer from = offered(run, n), to = buffer(n, run->write_at);

    tetris_sum_copy(run->sum, to.at, from.at, n);
    REQUIRE(memcmp(to.at, data + run->done, n) == 0);
    free(from.memory);
    free(to.memory);
}

static void read_file(struct run *run, size_t n)
{
    struct buffer to = buffer(n, run->write_at);

    REQUIRE(tetris_sum_pread(run->sum, to.at, file, start + (off_t)run->done, n) == 0);
    REQUIRE(memcmp(to.at, data + run->done, n) == 0);
    free(to.memory);
}

static void skim(struct run *run, size_t n)
{
    REQUIRE(tetris_sum_skim(run->sum, file, start + (off_t)run->done, n) == 0);
}

/* A file that ends within what is asked for, in each way of reading; takes nothing in. */
static void cut_short(struct run *run, size_t n)
{
    const off_t at = start + (off_t)LIMIT - (off_t)(n / 2);
    struct buffer to = buffer(n, run->write_at);
    tetris_sum *sum = tetris_sum_new();
    int same;

    REQUIRE(sum);
    memcpy(to.at, data + LIMIT - n / 2, n / 2);
    REQUIRE(tetris_file_compare(to.at, file, at, n, &same) == (n ? -ENODATA : 0));
    REQUIRE(tetris_sum_pread(sum, to.at, file, at, n) == (n ? -ENODATA : 0));
    REQUIRE(tetris_sum_skim(sum, file, at, n) == (n ? -ENODATA : 0));
    tetris_sum_free(sum);
    free(to.memory);
}

/* Compares the same bytes, then with one changed at a place that the next byte chooses. */
static void compare(struct run *run, size_t n)
{
    struct buffer with = offered(run, n);
    const off_t at = start + (off_t)run->done;
    int same = -1;

    REQUIRE(tetris_file_compare(with.at, file, at, n, &same) == 0 && same == 1);
    if (n) {
        with.at[data[n % LIMIT] % 2 ? n - 1 : data[run->done] * (n - 1) / 255] ^= 1;
        REQUIRE(tetris_file_compare(with.at, file, at, n, &same) == 0 && same == 0);
    }
    free(with.memory);
}

/* The life of a segment of the first n bytes: half copied, half read from the file. */
static void segment(struct run *run, size_t n)
{
    uint8_t got[TETRIS_DIGEST_SIZE], want[TETRIS_DIGEST_SIZE];
    tetris_sum *sum = tetris_sum_new();
    uint32_t crc;
    void *map = NULL;
    int held = 0, claim = -1;
    const size_t half = n / 2;

    (void)run;
    if (n == 0) { /* empty tensors have no segment */
        tetris_sum_free(sum);
        REQUIRE(tetris_segment_reserve(directory, ".draft", 0, &map) < 0);
        return;
    }
    REQUIRE(sum && tetris_segment_reserve(directory, ".draft", n, &map) == 0);
    tetris_sum_copy(sum, map, data, half);
    REQUIRE(tetris_sum_pread(sum, (uint8_t *)map + half, file,
                             start + (off_t)half, n - half) == 0);
    tetris_sum_result(sum, got, &crc);
    oracle_blake3(data, n, want);
    REQUIRE(memcmp(got, want, sizeof got) == 0 && crc == crc32c[n]);
    tetris_sum_free(sum);
    REQUIRE(tetris_unmap(map, n) == 0);
    REQUIRE(tetris_segment_seal(directory, ".draft", "segment") == 0);
    REQUIRE(tetris_segment_map(directory, "segment", n + 1, TETRIS_MAP_SHARED, &map) == -EBADMSG);
    REQUIRE(tetris_segment_map(directory, "segment", n, n & 1, &map) == 0);
    REQUIRE(memcmp(map, data, n) == 0);
    REQUIRE(tetris_segment_probe(directory, "segment", &held) == 0 && held);
    REQUIRE(tetris_segment_claim(directory, "segment", &claim) == -EBUSY);
    REQUIRE(tetris_unmap(map, n) == 0);
    REQUIRE(tetris_segment_claim(directory, "segment", &claim) == 0);
    REQUIRE(tetris_segment_probe(directory, "segment", &held) == 0 && !held);
    REQUIRE(unlinkat(directory, "segment", 0) == 0);
    REQUIRE(tetris_segment_map(directory, "segment", n, TETRIS_MAP_SHARED, &map) == -ENOENT);
    REQUIRE(close(claim) == 0);
}

/* Looks at the sums in mid-stream: it must not disturb them. */
static void result(struct run *run)
{
    uint8_t got[TETRIS_DIGEST_SIZE], want[TETRIS_DIGEST_SIZE], whole[TETRIS_DIGEST_SIZE];
    struct buffer all;
    uint32_t crc;

    if (run->results++ == RESULTS)
        return;
    all = buffer(run->done, run->read_at);
    memcpy(all.at, data, run->done);
    tetris_sum_result(run->sum, got, &crc);
    tetris_digest(all.at, run->done, whole);
    oracle_blake3(data, run->done, want);
    REQUIRE(memcmp(got, want, sizeof got) == 0);
    REQUIRE(memcmp(whole, want, sizeof whole) == 0);
    REQUIRE(crc == crc32c[run->done] && tetris_crc32c(0, all.at, run->done) == crc);
    free(all.memory);
}

static void choose_path(unsigned index)
{
    static const char *paths[8], *chosen;
    static unsigned count;

    if (count == 0)
        while ((paths[count] = tetris_digest_path(count)))
            count++;
    index %= count;
    if (chosen != paths[index]) /* it checks the path against the portable one, which takes long */
        REQUIRE(tetris_digest_select(chosen = paths[index]) == 0);
}

/* Sizes as they matter: any small one, and around multiples of a chunk and of 32 of them. */
static size_t size_of(const uint8_t step[3])
{
    static const size_t unit[4] = {256, 1024, 32 * 1024, 64};
    size_t n = step[2] % (step[0] & 8 ? 9 : 40) * unit[step[0] >> 4 & 3];

    return step[0] & 64 && n >= step[1] ? n - step[1] : n + step[1];
}

static void take_step(struct run *run, const uint8_t step[3])
{
    static void (*const takes[])(struct run *, size_t) = {update, copy, read_file, skim};
    static void (*const looks[])(struct run *, size_t) = {cut_short, compare, segment};
    const size_t size = size_of(step), left = LIMIT - run->done;
    const size_t n = size < left ? size : left;

    switch (step[0] & 7) {
    case 7:
        if (step[0] & 128)
            choose_path(step[1]); /* in mid-stream: a tree may be built by several kernels */
        else
            result(run);
        break;
    case 4: case 5: case 6:
        looks[(step[0] & 7) - 4](run, n);
        break;
    default:
        takes[step[0] & 3](run, n);
        run->done += n;
    }
}

static void make_kind(int kind)
{
    uint8_t *to = kinds[kind].data;
    uint64_t x = 0x9e3779b97f4a7c15u;

    memset(to, kind ? 0xff : 0, LIMIT);
    for (size_t i = 0; kind > 1 && i < LIMIT; i += sizeof x) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(to + i, &x, sizeof x);
    }
    for (size_t i = 0; i < LIMIT; i++)
        kinds[kind].crc32c[i + 1] = oracle_crc32c(kinds[kind].crc32c[i], to + i, 1);
    kinds[kind].file = memfd_create("source", MFD_CLOEXEC);
    REQUIRE(pwrite(kinds[kind].file, to, LIMIT, start) == (ssize_t)LIMIT);
}

static void choose_kind(unsigned kind)
{
    data = kinds[kind].data;
    crc32c = kinds[kind].crc32c;
    file = kinds[kind].file;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *where = getenv("TETRIS_FUZZ_MEMORY"); /* a directory on a tmpfs */

    (void)argc, (void)argv;
    for (int kind = 0; kind < KINDS; kind++)
        make_kind(kind);
    directory = open(where ? where : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(directory >= 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
    struct run run = {tetris_sum_new(), 0, 0, 0, 0};

    REQUIRE(run.sum);
    choose_kind(n >= 4 ? input[3] % KINDS : 0);
    if (n >= 4) {
        choose_path(input[0]);
        run.read_at = input[1] & 63;
        run.write_at = input[2] & 63;
        input += 4, n -= 4;
        for (int step = 0; n >= 3 && step < STEPS; step++, input += 3, n -= 3)
            take_step(&run, input);
    }
    run.results = 0;
    result(&run);
    tetris_sum_free(run.sum);
    return 0;
}
