"""The Python that runs this, and its TensorFlow."""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib import metadata

from tetris import supported
from tetris.cli.checks import Finding, note, ok, warning

# Distributions that bring the package `tensorflow`.
_DISTRIBUTIONS = (
    "tensorflow-cpu",
    "tensorflow",
    "intel-tensorflow",
    "tensorflow-rocm",
    "tf-nightly",
    "tf-nightly-cpu",
    "tensorflow-cpu-aws",
)
_OLDEST_GLIBC = (2, 28)


def tensorflow(at: object) -> Finding:
    """TensorFlow is there, and one that is served. It is not imported: that takes seconds."""
    install = f"{sys.executable} -m pip install '{supported.REQUIREMENT}'"
    if importlib.util.find_spec("tensorflow") is None:
        return note(f"no TensorFlow in {sys.executable}: only who serves with it needs it", install)
    for name in _DISTRIBUTIONS:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if supported.serves(version):
            return ok(f"{name} {version} is served")
        sentence = f"{name} {version} loads without sharing: served are {supported.RANGE}"
        return warning(sentence, install)
    return note(f"a TensorFlow of unknown version is in {sys.executable}")


def python(at: object) -> Finding:
    """This Python and its C library are recent enough."""
    library, version = platform.libc_ver()
    found = f"Python {platform.python_version()}, {library or 'no glibc'} {version}".rstrip()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if library != "glibc" or numbers < _OLDEST_GLIBC:
        return note(f"{found}: wheels are built for glibc 2.28 and later")
    return ok(found)
