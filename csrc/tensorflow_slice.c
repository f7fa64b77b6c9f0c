#include "tensorflow_slice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A piece of the text. */
struct piece {
    const char *at;
    const char *end;
};

/* The first piece of *rest up to `separator`, which *rest then starts behind. */
static struct piece split(struct piece *rest, char separator)
{
    struct piece first = *rest;
    const char *found = memchr(rest->at, separator, (size_t)(rest->end - rest->at));

    if (found)
        first.end = found;
    rest->at = found ? found + 1 : rest->end;
    return first;
}

static size_t size(struct piece piece)
{
    return (size_t)(piece.end - piece.at);
}

/* A whole piece as a decimal number. */
static bool number(struct piece piece, int64_t *value)
{
    char digits[24];
    char *end;

    if (!size(piece) || size(piece) >= sizeof digits)
        return false;
    memcpy(digits, piece.at, size(piece));
    digits[size(piece)] = '\0';
    errno = 0;
    *value = strtoll(digits, &end, 10);
    return !errno && !*end && end != digits;
}

static int complain(char *why, size_t why_size, int error, const char *what, struct piece text)
{
    snprintf(why, why_size, "%s: %.*s", what, (int)size(text), text.at);
    return error;
}

/* "START,LENGTH" or "-". Commas may repeat: TensorFlow skips what is empty between them. */
static bool parse_extent(struct piece item, int64_t *start, int64_t *length)
{
    int64_t values[2];
    int count = 0;

    if (size(item) == 1 && *item.at == '-') {
        *start = 0;
        *length = TETRIS_WHOLE;
        return true;
    }
    while (item.at < item.end) {
        struct piece part = split(&item, ',');

        if (size(part) && (count == 2 || !number(part, &values[count++])))
            return false;
    }
    if (count != 2 || values[0] < 0 || values[1] <= 0 || values[0] > INT64_MAX - values[1])
        return false;
    *start = values[0];
    *length = values[1];
    return true;
}

/* Extents between colons, empty ones skipped; returns how many, or -1. */
static int parse_extents(struct piece text, struct tetris_slice *slice)
{
    int count = 0;

    while (text.at < text.end) {
        struct piece item = split(&text, ':');

        if (!size(item))
            continue;
        if (count == TETRIS_MAX_DIMS ||
            !parse_extent(item, &slice->start[count], &slice->asked[count]))
            return -1;
        count++;
    }
    return count;
}

/* Dimensions between single blanks; returns how many, or -1. */
static int parse_shape(struct piece text, struct tetris_slice *slice)
{
    int count = 0;
    bool more = true;

    while (more) {
        struct piece item;

        more = memchr(text.at, ' ', size(text)) != NULL;
        item = split(&text, ' ');
        if (count == TETRIS_MAX_DIMS || !number(item, &slice->shape[count]) ||
            slice->shape[count] < 0)
            return -1;
        count++;
    }
    return count;
}

static int fit(struct tetris_slice *slice)
{
    for (int d = 0; d < slice->ndims; d++) {
        if (slice->asked[d] == TETRIS_WHOLE)
            slice->length[d] = slice->shape[d];
        else if (slice->start[d] + slice->asked[d] <= slice->shape[d])
            slice->length[d] = slice->asked[d];
        else
            return -ERANGE;
    }
    return 0;
}

int tetris_slice_parse(const char *text, size_t n, struct tetris_slice *slice, char *why,
                       size_t why_size)
{
    struct piece all = {text, text + n};
    const char *blank = memrchr(text, ' ', n);
    int extents;

    if (!blank)
        return complain(why, why_size, -EINVAL,
                        "Need least two elements in shape_and_slice specification", all);
    extents = parse_extents((struct piece){blank + 1, all.end}, slice);
    if (extents < 0)
        return complain(why, why_size, -EINVAL,
                        "Expected pairs of a non-negative start and a positive length, or '-', in",
                        all);
    slice->ndims = parse_shape((struct piece){text, blank}, slice);
    if (slice->ndims < 0)
        return complain(why, why_size, -EINVAL, "Non numerical dimension in shape_and_slice", all);
    if (extents != slice->ndims)
        return complain(why, why_size, -ERANGE, "Mismatching ranks of shape and slice", all);
    if (fit(slice))
        return complain(why, why_size, -ERANGE, "Extent out of bounds", all);
    return 0;
}

bool tetris_slice_is_full(const struct tetris_slice *slice)
{
    return !memcmp(slice->length, slice->shape, (size_t)slice->ndims * sizeof *slice->shape);
}

int64_t tetris_slice_elements(const struct tetris_slice *slice)
{
    int64_t elements = 1;

    for (int d = 0; d < slice->ndims; d++)
        elements *= slice->length[d];
    return elements;
}

bool tetris_slice_is_contiguous(const struct tetris_slice *slice, int64_t *offset)
{
    bool cut = false; /* an axis further in is not taken whole */
    int64_t stride = 1;

    *offset = 0;
    for (int d = slice->ndims - 1; d >= 0; d--) {
        if (cut && slice->length[d] != 1)
            return false;
        cut = cut || slice->length[d] != slice->shape[d];
        *offset += slice->start[d] * stride;
        stride *= slice->shape[d];
    }
    return true;
}

void tetris_slice_copy(const struct tetris_slice *slice, size_t itemsize, const void *whole,
                       void *box)
{
    int64_t strides[TETRIS_MAX_DIMS + 1]; /* in bytes */
    int64_t at[TETRIS_MAX_DIMS] = {0};
    const char *from = whole;
    char *to = box;
    int inner = slice->ndims; /* the run goes on over axes from here on */
    size_t run;
    int d;

    if (!tetris_slice_elements(slice))
        return;
    strides[slice->ndims] = (int64_t)itemsize;
    for (d = slice->ndims - 1; d >= 0; d--)
        strides[d] = strides[d + 1] * slice->shape[d];
    while (inner > 0 && slice->length[inner - 1] == slice->shape[inner - 1])
        inner--;
    run = (size_t)strides[inner];
    if (inner > 0)
        run *= (size_t)slice->length[--inner];
    for (d = 0; d < slice->ndims; d++)
        from += slice->start[d] * strides[d + 1];
    do {
        memcpy(to, from, run);
        to += run;
        for (d = inner - 1; d >= 0; d--) {
            from += strides[d + 1];
            if (++at[d] < slice->length[d])
                break;
            from -= at[d] * strides[d + 1];
            at[d] = 0;
        }
    } while (d >= 0);
}

bool tetris_slice_supports(int dtype)
{
    /* float32 float64 int32 uint8 int16 int8 complex64 int64 bool qint8 quint8 qint32 bfloat16
     * complex128 int4 uint4 */
    static const uint64_t supported = 1ull << 1 | 1ull << 2 | 1ull << 3 | 1ull << 4 | 1ull << 5 |
                                      1ull << 6 | 1ull << 8 | 1ull << 9 | 1ull << 10 | 1ull << 11 |
                                      1ull << 12 | 1ull << 13 | 1ull << 14 | 1ull << 18 |
                                      1ull << 29 | 1ull << 30;

    return dtype >= 0 && dtype < 64 && (supported >> dtype & 1);
}
