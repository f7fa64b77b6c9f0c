"""Names that no header, no text and no file system takes: each is one sentence of its own error."""

from __future__ import annotations

import pytest

from tetris import errors
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb


def call(daemon, method, request):
    return Rpc(daemon.socket).call(method, request)


def test_a_long_name_does_not_change_the_error_of_a_call(daemon):
    """gRPC carries a message as a header, and ends the call differently when that is too long."""
    with pytest.raises(errors.InvalidModelError, match="give an absolute one"):
        call(daemon, "PublishPath", pb.PublishPathRequest(path="\x01" * 200))
    claim = pb.TensorClaim(name="\x01" * 4000, dtype="uint8", shape=[9], nbytes=9)
    header = pb.PublishHeader(fingerprint=bytes(32), name="m", tensors=[claim])
    with pytest.raises(errors.InvalidModelError, match="the stream ended after 0 of 9 bytes"):
        call(daemon, "Publish", iter([pb.PublishRequest(header=header)]))


def test_a_lease_whose_name_no_file_has_is_refused(daemon):
    with pytest.raises(errors.TetrisError) as caught:
        call(daemon, "Release", pb.ReleaseRequest(lease="a" * 300))
    assert isinstance(caught.value, (errors.InvalidModelError, errors.NotFoundError))


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 2100 + "a"], ids=["component", "path"])
def test_a_path_that_no_file_system_takes_is_refused(daemon, tmp_path, name):
    with pytest.raises((errors.InvalidModelError, errors.NotAllowedError)):
        call(daemon, "PublishPath", pb.PublishPathRequest(path=f"{tmp_path}/models/{name}"))


def test_links_in_a_circle_are_refused(daemon, tmp_path):
    (tmp_path / "models" / "a").symlink_to("b")
    (tmp_path / "models" / "b").symlink_to("a")
    with pytest.raises(errors.NotAllowedError, match="circle"):
        call(daemon, "PublishPath", pb.PublishPathRequest(path=f"{tmp_path}/models/a"))


def test_a_checkpoint_file_that_names_bytes_which_are_no_text_is_one_sentence(daemon, tmp_path):
    model = tmp_path / "models" / "m"
    model.mkdir()
    (model / "checkpoint").write_bytes(b'model_checkpoint_path: "a\\377b"\n')
    with pytest.raises(errors.NotFoundError, match="checkpoint names"):
        call(daemon, "PublishPath", pb.PublishPathRequest(path=str(model)))
    assert "Traceback" not in daemon.log
