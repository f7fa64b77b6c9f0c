#include "check.h"
#include "tensorflow_slice.h"

#include <errno.h>
#include <string.h>

static struct tetris_slice slice;
static char why[256];

static int parse(const char *text)
{
    return tetris_slice_parse(text, strlen(text), &slice, why, sizeof why);
}

static void a_box_is_read_with_its_shape(void)
{
    CHECK_EQUAL(parse("4 10 0,2:-"), 0);
    CHECK_EQUAL(slice.ndims, 2);
    CHECK_EQUAL(slice.shape[0], 4);
    CHECK_EQUAL(slice.start[0], 0);
    CHECK_EQUAL(slice.length[0], 2);
    CHECK_EQUAL(slice.asked[0], 2);
    CHECK_EQUAL(slice.length[1], 10);
    CHECK_EQUAL(slice.asked[1], TETRIS_WHOLE);
    CHECK_EQUAL(tetris_slice_elements(&slice), 20);
    CHECK(!tetris_slice_is_full(&slice));
    CHECK_EQUAL(parse("4 10 0,4:-"), 0);
    CHECK(tetris_slice_is_full(&slice));
    CHECK_EQUAL(parse("0 3 -:0,3"), 0);
    CHECK_EQUAL(tetris_slice_elements(&slice), 0);
    CHECK_EQUAL(parse("4 ::0,2:"), 0); /* empty extents are skipped, as TensorFlow does */
}

static void what_is_no_box_says_why(void)
{
    static const char *const malformed[] = {
        "x",        "4",        "0,2",       "4 10 0,2:3",   "4 10 0,2:-1,3", "4 10 0,0:-",
        "4 a 0,2",  "4  0,2",   "-4 0,2",    "4 0,2 ",       "4 1,2,3",       "4 0,9999999999999999999",
        " ",        "4 0x1,2",  "4 9223372036854775807,9223372036854775807",
    };

    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        why[0] = '\0';
        CHECK_EQUAL(parse(malformed[i]), -EINVAL);
        CHECK(why[0]);
    }
    CHECK_EQUAL(parse("4 10 0,2"), -ERANGE);
    CHECK_EQUAL(parse("4 10 0,5:-"), -ERANGE);
    CHECK_EQUAL(parse("4 10 3,2:-"), -ERANGE);
}

static void too_many_axes_are_refused(void)
{
    char text[4 * (TETRIS_MAX_DIMS + 1) + 1] = "";

    for (int d = 0; d <= TETRIS_MAX_DIMS; d++)
        strcat(text, "1 ");
    for (int d = 0; d <= TETRIS_MAX_DIMS; d++)
        strcat(text, "-:");
    CHECK_EQUAL(parse(text), -EINVAL);
}

static void contiguous_boxes_are_found(void)
{
    int64_t offset;

    CHECK_EQUAL(parse("4 10 1,2:-"), 0);
    CHECK(tetris_slice_is_contiguous(&slice, &offset));
    CHECK_EQUAL(offset, 10);
    CHECK_EQUAL(parse("4 10 2,1:3,4"), 0);
    CHECK(tetris_slice_is_contiguous(&slice, &offset));
    CHECK_EQUAL(offset, 23);
    CHECK_EQUAL(parse("4 10 1,2:0,9"), 0);
    CHECK(!tetris_slice_is_contiguous(&slice, &offset));
}

/* Every box of a 3 x 4 x 5 tensor, against three plain loops. */
static void copies_equal_plain_loops(void)
{
    uint16_t whole[60], box[60], want[60];
    int s[3], n[3];

    for (int i = 0; i < 60; i++)
        whole[i] = (uint16_t)(i * 7 + 1);
    for (int code = 0; code < 3 * 4 * 5 * 3 * 4 * 5; code++) {
        int rest = code, sizes[] = {3, 4, 5}, count = 0;
        char text[64];

        for (int d = 0; d < 3; d++) {
            s[d] = rest % sizes[d];
            rest /= sizes[d];
        }
        for (int d = 0; d < 3; d++) {
            n[d] = 1 + rest % sizes[d];
            rest /= sizes[d];
        }
        snprintf(text, sizeof text, "3 4 5 %d,%d:%d,%d:%d,%d", s[0], n[0], s[1], n[1], s[2], n[2]);
        if (parse(text))
            continue; /* out of the tensor */
        for (int i = 0; i < n[0]; i++)
            for (int j = 0; j < n[1]; j++)
                for (int k = 0; k < n[2]; k++)
                    want[count++] = whole[((s[0] + i) * 4 + s[1] + j) * 5 + s[2] + k];
        CHECK_EQUAL(tetris_slice_elements(&slice), count);
        memset(box, 0, sizeof box);
        tetris_slice_copy(&slice, sizeof *whole, whole, box);
        CHECK(!memcmp(box, want, (size_t)count * sizeof *want));
        CHECK(count == 60 || box[count] == 0);
    }
}

int main(void)
{
    a_box_is_read_with_its_shape();
    what_is_no_box_says_why();
    too_many_axes_are_refused();
    contiguous_boxes_are_found();
    copies_equal_plain_loops();
    return CHECK_RESULT;
}
