/* The tree of BLAKE3, built while the bytes arrive.
 *
 * Neighbours are joined pairwise, level by level, and an odd one at the end moves up as it is:
 * that is the specification's left-full tree. Joining one pair at a time would leave all lanes
 * but one idle, so chaining values are joined a batch at a time: the tree is a binary counter
 * whose digits are batches, and two batches of one level become one of the next. */
#include "blake3.h"

#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Hashes count pairs of chaining values into one each; `out` may be `in`. */
static void join(const struct blake3_kernel *kernel, const uint8_t *in, size_t count, uint8_t *out)
{
    for (size_t now; count > 0; count -= now) {
        now = least(count, kernel->lanes);
        kernel->run(BLAKE3_PARENTS, in, now, 0, 0, NULL, out);
        in += now * 2 * BLAKE3_CV;
        out += now * BLAKE3_CV;
    }
}

/* Joins the 2 * BLAKE3_BATCH loose values into a batch and carries it up. A batch is never the
 * root, so this needs not know whether more bytes follow. */
static void carry(struct blake3 *hash, const struct blake3_kernel *kernel)
{
    uint8_t cvs[2][BLAKE3_BATCH][BLAKE3_CV];
    unsigned level;

    join(kernel, hash->loose_cvs[0], BLAKE3_BATCH, cvs[0][0]);
    for (level = 0; hash->levels >> level & 1; level++) {
        memcpy(cvs[1], cvs[0], sizeof cvs[1]);
        memcpy(cvs[0], hash->digit[level], sizeof cvs[0]);
        join(kernel, cvs[0][0], BLAKE3_BATCH, cvs[0][0]);
    }
    memcpy(hash->digit[level], cvs[0], sizeof cvs[0]);
    /* Digits below `level` were set and are now spent: an increment of the counter. */
    hash->levels++;
    hash->loose = 0;
}

/* Takes whole chunks in: at most what the kernel has lanes, and what there is room for. */
static void add_chunks(struct blake3 *hash, const struct blake3_kernel *kernel, const uint8_t *in,
                       size_t count, ptrdiff_t ahead, uint32_t *crc)
{
    uint32_t crcs[BLAKE3_BATCH];

    kernel->run(BLAKE3_CHUNKS, in, count, hash->chunks, ahead, crc ? crcs : NULL,
                hash->loose_cvs[hash->loose]);
    if (crc)
        *crc = kernel->crc32c->join(*crc, crcs, count);
    hash->chunks += count;
    hash->loose += count;
    if (hash->loose == 2 * BLAKE3_BATCH)
        carry(hash, kernel);
}

void blake3_init(struct blake3 *hash)
{
    memset(hash, 0, offsetof(struct blake3, open_chunk));
}

void blake3_update(struct blake3 *hash, const struct blake3_kernel *kernel, const uint8_t *data,
                   size_t n, ptrdiff_t ahead, uint32_t *crc)
{
    while (n > 0) {
        size_t now;

        if (hash->open == BLAKE3_CHUNK) {
            add_chunks(hash, kernel, hash->open_chunk, 1, 0, NULL);
            hash->open = 0;
        }
        /* Whole chunks need no copy. The first waits for a second: alone it would be the root. */
        if (hash->open == 0 && n >= BLAKE3_CHUNK && (hash->chunks > 0 || n > BLAKE3_CHUNK)) {
            now = least(n / BLAKE3_CHUNK, least(kernel->lanes, 2 * BLAKE3_BATCH - hash->loose));
            add_chunks(hash, kernel, data, now, ahead, crc);
            now *= BLAKE3_CHUNK;
        } else {
            now = least(n, BLAKE3_CHUNK - hash->open);
            memcpy(hash->open_chunk + hash->open, data, now);
            if (crc)
                *crc = kernel->crc32c->update(*crc, data, now);
            hash->open += now;
        }
        data += now;
        n -= now;
    }
}

/* Joins what is there of one level, in place, and returns how many values that leaves. */
static size_t join_level(const struct blake3_kernel *kernel, uint8_t (*cvs)[BLAKE3_CV],
                         size_t count)
{
    size_t pairs = count / 2;

    join(kernel, cvs[0], pairs, cvs[0]);
    if (count % 2)
        memmove(cvs[pairs], cvs[count - 1], BLAKE3_CV);
    return pairs + count % 2;
}

void blake3_result(const struct blake3 *hash, const struct blake3_kernel *kernel,
                   uint8_t out[BLAKE3_CV])
{
    uint8_t cvs[2 * BLAKE3_BATCH][BLAKE3_CV];
    size_t count = hash->loose;
    uint64_t above = hash->levels;

    if (hash->chunks == 0) {
        blake3_one(BLAKE3_CHUNKS, hash->open_chunk, hash->open, 0, BLAKE3_ROOT, out);
        return;
    }
    memcpy(cvs, hash->loose_cvs, count * BLAKE3_CV);
    if (hash->open > 0)
        blake3_one(BLAKE3_CHUNKS, hash->open_chunk, hash->open, hash->chunks, 0, cvs[count++]);
    for (unsigned level = 0; above || count > 2; level++, above >>= 1) {
        count = join_level(kernel, cvs, count);
        if (above & 1) {
            memmove(cvs[BLAKE3_BATCH], cvs[0], count * BLAKE3_CV);
            memcpy(cvs[0], hash->digit[level], sizeof hash->digit[level]);
            count += BLAKE3_BATCH;
        }
    }
    blake3_one(BLAKE3_PARENTS, cvs[0], 2 * BLAKE3_CV, 0, BLAKE3_ROOT, out);
}
