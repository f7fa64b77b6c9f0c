"""What cffi builds from csrc/cffi.cdef.txt; imported by ``tetris.shm`` alone."""

from typing import Any

ffi: Any
lib: Any
