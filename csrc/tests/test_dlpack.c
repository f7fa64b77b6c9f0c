/* dlpack.h: an exported tensor reads the same bytes and is a reference of its own. */
#include "dlpack.h"
#include "segment_case.h"

#include <sys/mman.h>

/* The segment holds int32 0, 1, 2 … */
static int32_t *map_numbers(int mode)
{
    void *map = NULL;

    CHECK_EQUAL(tetris_segment_reserve(dir, ".hidden", SIZE, &map), 0);
    for (int32_t i = 0; i < (int32_t)(SIZE / 4); i++)
        ((int32_t *)map)[i] = i;
    CHECK_EQUAL(tetris_unmap(map, SIZE), 0);
    CHECK_EQUAL(tetris_segment_seal(dir, ".hidden", "a"), 0);
    return (int32_t *)map_one("a", mode);
}

static struct tetris_dl_array describe(void *data, int ndim, const int64_t *shape,
                                       const int64_t *strides)
{
    return (struct tetris_dl_array){data, ndim, shape, strides, .code = 0, .bits = 32};
}

/* Exports the array and unmaps where it came from: what is read then is the tensor's own. */
static struct tetris_dl_managed *export_alone(const struct tetris_dl_array *array, int32_t *map)
{
    void *managed = NULL;

    CHECK_EQUAL(tetris_dlpack_export(array, 0, &managed), 0);
    CHECK_EQUAL(tetris_unmap(map, SIZE), 0);
    return managed;
}

static void let_go(struct tetris_dl_managed *managed)
{
    managed->deleter(managed);
    CHECK_EQUAL(referenced("a"), 0);
}

static void test_it_is_a_reference(void)
{
    int32_t *map = map_numbers(TETRIS_MAP_SHARED);
    int64_t shape[] = {2, SIZE / 8}, strides[] = {SIZE / 2, 4};
    struct tetris_dl_array array = describe(map, 2, shape, strides);
    struct tetris_dl_managed *managed = export_alone(&array, map);
    const int32_t *data = managed->tensor.data;

    CHECK_EQUAL(referenced("a"), 1);
    CHECK_EQUAL(tetris_segment_claim(dir, "a", &(int){0}), -EBUSY);
    CHECK_EQUAL(managed->tensor.ndim, 2);
    CHECK_EQUAL(managed->tensor.shape[1], SIZE / 8);
    CHECK_EQUAL(managed->tensor.strides[0], SIZE / 8);
    CHECK_EQUAL(managed->tensor.strides[1], 1);
    CHECK_EQUAL(managed->tensor.dtype.bits, 32);
    CHECK_EQUAL(managed->tensor.dtype.lanes, 1);
    CHECK_EQUAL(data[0], 0);
    CHECK_EQUAL(data[SIZE / 4 - 1], SIZE / 4 - 1);
    let_go(managed);
}

/* Backwards by 2 from the last element to one on the first page, each of them three times. */
static void test_strides_of_every_sign(void)
{
    int32_t *map = map_numbers(TETRIS_MAP_SHARED);
    int64_t last = SIZE / 4 - 1, n = last / 2, shape[] = {n, 3}, strides[] = {-8, 0};
    struct tetris_dl_array array = describe(map + last, 2, shape, strides);
    struct tetris_dl_managed *managed = export_alone(&array, map);
    const int32_t *data = managed->tensor.data;

    CHECK_EQUAL(managed->tensor.strides[0], -2);
    CHECK_EQUAL(managed->tensor.strides[1], 0);
    CHECK_EQUAL(data[0], last);
    CHECK_EQUAL(data[-2 * (n - 1)], last - 2 * (n - 1));
    let_go(managed);
}

/* One element holds one page. */
static void test_a_scalar_in_the_middle(void)
{
    int32_t *map = map_numbers(TETRIS_MAP_SHARED);
    struct tetris_dl_array array = describe(map + 1500, 0, NULL, NULL);
    struct tetris_dl_managed *managed = export_alone(&array, map);

    CHECK_EQUAL(managed->tensor.ndim, 0);
    CHECK_EQUAL(*(int32_t *)managed->tensor.data, 1500);
    let_go(managed);
}

static void test_empty_has_no_mapping(void)
{
    int32_t *map = map_numbers(TETRIS_MAP_SHARED);
    int64_t shape[] = {3, 0}, strides[] = {4, 4};
    struct tetris_dl_array array = describe(map, 2, shape, strides);
    struct tetris_dl_managed *managed = export_alone(&array, map);

    CHECK_EQUAL(referenced("a"), 0);
    CHECK(managed->tensor.data == NULL);
    CHECK_EQUAL(managed->tensor.shape[0], 3);
    CHECK_EQUAL(managed->tensor.shape[1], 0);
    let_go(managed);
}

static void test_versioned_says_read_only(void)
{
    int32_t *map = map_numbers(TETRIS_MAP_SHARED);
    int64_t shape[] = {SIZE / 4}, strides[] = {4};
    struct tetris_dl_array array = describe(map, 1, shape, strides);
    struct tetris_dl_versioned *versioned;
    void *managed = NULL;

    CHECK_EQUAL(tetris_dlpack_export(&array, 1, &managed), 0);
    versioned = managed;
    CHECK_EQUAL(versioned->version.major, 1);
    CHECK_EQUAL(versioned->flags, TETRIS_DL_READ_ONLY);
    CHECK_EQUAL(((int32_t *)versioned->tensor.data)[7], 7);
    CHECK_EQUAL(mprotect(versioned->tensor.data, SIZE, PROT_READ | PROT_WRITE), -1);
    versioned->deleter(versioned);
    CHECK_EQUAL(referenced("a"), 1);
    tetris_unmap(map, SIZE);
    CHECK_EQUAL(referenced("a"), 0);
}

static void test_private_memory_is_refused(void)
{
    int32_t *map = map_numbers(TETRIS_MAP_PRIVATE);
    int64_t shape[] = {SIZE / 4}, strides[] = {4};
    struct tetris_dl_array array = describe(map, 1, shape, strides);
    void *managed = NULL;

    CHECK_EQUAL(tetris_dlpack_export(&array, 0, &managed), -EINVAL);
    CHECK(managed == NULL);
    tetris_unmap(map, SIZE);
    CHECK_EQUAL(referenced("a"), 0);
}

int main(void)
{
    RUN(test_it_is_a_reference);
    RUN(test_strides_of_every_sign);
    RUN(test_a_scalar_in_the_middle);
    RUN(test_empty_has_no_mapping);
    RUN(test_versioned_says_read_only);
    RUN(test_private_memory_is_refused);
    return CHECK_RESULT;
}
