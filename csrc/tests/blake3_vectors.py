"""Print blake3_vectors.h; needs the official ``blake3`` package."""

import blake3

LENGTHS = (
    *range(9), 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2048, 2049, 3072, 3073, 4096, 4097, 5120,
    5121, 6144, 6145, 7168, 7169, 8192, 8193, 16384, 31744, 102400,
)  # fmt: skip

HEAD = """\
/* The lengths of the official test_vectors.json, whose inputs are the bytes i % 251, and the first 32
 * bytes of each hash. Written by blake3_vectors.py with the official package. */
struct blake3_vector {
    size_t n;
    const char *hex;
};

static const struct blake3_vector blake3_vectors[] = {"""


def main() -> None:
    """Print the table."""
    print(HEAD)
    for n in LENGTHS:
        print(f'    {{{n}, "{blake3.blake3(bytes(i % 251 for i in range(n))).hexdigest()}"}},')
    print("};")


if __name__ == "__main__":
    main()
