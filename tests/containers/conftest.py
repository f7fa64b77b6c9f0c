"""A real podman, its images, and containers that have a tenant's view in one read-only mount."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.daemon import Daemon, wait_until
from support.podman import Podman, engine, missing

DEPLOY = Path(__file__).parents[2] / "deploy" / "containers"
GROUP = 65532  # of the images' users
MOUNT = "/run/tetris/default"


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    if why := missing():
        pytest.skip(why)
    with engine() as made:
        yield made


@pytest.fixture(scope="session")
def image(podman) -> Callable[[str], str]:
    """The name of an image, built the first time that it is asked for."""

    def build(name: str) -> str:
        if podman("image", "exists", name, check=False).returncode:
            subprocess.run([DEPLOY / "images", name], check=True, env=podman.environment)
        return name

    return build


@pytest.fixture
def daemon(memory, tmp_path) -> Iterator[Daemon]:
    """A daemon on the host whose tenant is for the group of the images' users."""
    (tmp_path / "models").mkdir()
    flags = (f"--model-root={tmp_path / 'models'}", f"--group={GROUP}", "--scrub-rate=0")
    with Daemon(tmp_path, *flags, root=memory / "root") as running:
        yield running


@pytest.fixture
def view(daemon) -> Path:
    return daemon.root / "tenants" / "default"


class Box:
    """A running container."""

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman = podman
        self.id = name

    def log(self) -> str:
        done = self.podman("logs", self.id)
        return done.stdout + done.stderr

    def state(self) -> dict:
        return self.podman.inspect(self.id)["State"]

    def says(self, words: str) -> str:
        """Wait for a line with these words."""
        wait_until(lambda: words in self.log() or self.ended(), 120, f"{words!r}")
        line = next((line for line in self.log().splitlines() if words in line), None)
        assert line, self.log()
        return line

    def ended(self) -> bool:
        return not self.state()["Pid"]

    def kill(self, signal: str = "KILL") -> None:
        self.podman("kill", f"--signal={signal}", self.id)

    def runs(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run ``code`` in it, next to what is there."""
        return self.podman("exec", self.id, "python", "-c", code, *arguments, check=False)


class Boxes:
    """Starts containers, and removes them at the end of the test."""

    def __init__(self, podman: Podman, stack: ExitStack, image: Callable[[str], str]) -> None:
        self._podman = podman
        self._stack = stack
        self._image = image

    def start(self, image: str, *command: object, options: tuple[object, ...] = ()) -> Box:
        always = ("--detach", "--pull=never", "--network=none", "--read-only")
        done = self._podman("run", *always, *options, self._image(image), *command)
        box = Box(self._podman, done.stdout.strip())
        self._stack.callback(self._podman, "rm", "--force", "--time=0", box.id, check=False)
        return box

    def python(
        self, code: str, *arguments: object, mount: Path | None, options: tuple[object, ...] = ()
    ) -> Box:
        """Python without TensorFlow, with ``mount`` where a client looks for the daemon."""
        mounts = (f"--volume={mount}:{MOUNT}:ro",) if mount else ()
        run = ("--entrypoint=python", *mounts, *options)
        return self.start("small", "-c", code, *arguments, options=run)


@pytest.fixture
def boxes(podman, image) -> Iterator[Boxes]:
    with ExitStack() as stack:
        yield Boxes(podman, stack, image)


@pytest.fixture(scope="session")
def convolution(tmp_path_factory) -> Path:
    """A small SavedModel that answers what deploy/containers/classify.py asks."""
    path = tmp_path_factory.mktemp("tf") / "models" / "convolution" / "1"
    code = """
import sys, tensorflow as tf
class Model(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(tf.random.stateless_normal((7, 7, 3, 512), (1, 2)))
    @tf.function(input_signature=[tf.TensorSpec((None, 224, 224, 3), tf.float32)])
    def serve(self, images):
        return {"answer": tf.reduce_mean(tf.nn.conv2d(images, self.kernel, 7, "VALID"), (1, 2))}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures={"serving_default": model.serve})
"""
    subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True)
    return path
