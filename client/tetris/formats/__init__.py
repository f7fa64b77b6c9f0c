"""Checkpoints without TensorFlow: which tensors a model has, and where their bytes are.

``locate`` finds a model's files and its fingerprint, ``CheckpointFiles.bundle`` lists the tensors,
``CheckpointFiles.open_shard`` gives a descriptor to read them from. Neither TensorFlow nor numpy is
imported: the daemon uses this too.
"""

from tetris.formats.bundle import Bundle, Entry, Slice, decode_strings, parse_index
from tetris.formats.directory import Directory, PlainDirectory
from tetris.formats.dtypes import DType
from tetris.formats.model import CheckpointFiles, locate, locate_prefix
from tetris.formats.slices import slice_runs

__all__ = [
    "locate",
    "locate_prefix",
    "CheckpointFiles",
    "Bundle",
    "Entry",
    "Slice",
    "DType",
    "parse_index",
    "decode_strings",
    "slice_runs",
    "Directory",
    "PlainDirectory",
]
