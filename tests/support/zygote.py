"""A process that has imported everything and forks at command: a start without the imports.

It makes no gRPC object itself, so each of its children may use gRPC as if it were the first. It is
the parent of all it forks, also of what their parents left behind, and none of them outlives it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LONGEST = 1 << 17  # of a message
_TESTS = Path(__file__).parents[1]


class Child:
    """A process that a zygote forked.

    Attributes:
        pid: of the process.
        status: as :func:`os.waitstatus_to_exitcode` gives it; None while it runs.
    """

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid
        self.status: int | None = None

    def poll(self) -> int | None:
        """The status, if it has ended."""
        self._zygote.listen(0)
        return self.status

    def wait(self, seconds: float = 30.0) -> int:
        """The status, once it has ended."""
        deadline = time.monotonic() + seconds
        while self.status is None:
            left = deadline - time.monotonic()
            assert left > 0, f"process {self.pid} did not end within {seconds} s"
            self._zygote.listen(left)
        return self.status

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Send it a signal; nobody else can get it, for a child is reaped by who sends it."""
        self._zygote.ask(kill=self.pid, signal=how)


class Zygote:
    """A zygote, seen from the process that commands it. A context manager; one thread's."""

    def __init__(self, *modules: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = f"{_TESTS}:{os.environ.get('PYTHONPATH', '')}"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.zygote", str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is for its commander to hand on
                preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
                env={**os.environ, "PYTHONPATH": path.rstrip(":")},
            )
        self._channel = ours
        self._started: Child | None = None
        self.children: dict[int, Child] = {}

    def fork(self, target: str, *arguments: Any, **more: Any) -> Child:
        """Run ``"module:function"`` with these arguments in a new process.

        Args:
            target: what to call; its result is the exit status.
            arguments: for it; JSON takes them.
            more: ``log``, a file for its output; ``marks``, the file of its marks; ``limits``,
                limits by the name of a resource; ``interruptible``, whether SIGUSR2 interrupts
                its system calls.
        """
        self._started = None
        self.ask(target=target, arguments=arguments, **more)
        while self._started is None:
            self.listen(30)
        return self._started

    def ask(self, **message: Any) -> None:
        """Send a command."""
        self._channel.send(json.dumps(message).encode())

    def descendants(self) -> int:
        """How many it is the parent of now: what it forked, and what those left behind."""
        return len(_children(self._process.pid))

    def listen(self, seconds: float) -> bool:
        """Take in what the zygote has to say; wait as long for it to say something."""
        heard = False
        while select.select([self._channel], [], [], 0 if heard else seconds)[0]:
            text = self._channel.recv(_LONGEST)
            assert text, "the zygote has ended"
            self._take(json.loads(text))
            heard = True
        return heard

    def _take(self, message: dict[str, int]) -> None:
        if "started" in message:
            self._started = Child(self, message["started"])
            self.children[self._started.pid] = self._started
        elif message["ended"] in self.children:
            self.children.pop(message["ended"]).status = message["status"]

    def close(self) -> None:
        """End it, and whatever it has forked."""
        self._channel.close()
        self._process.wait(30)

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# In the zygote.


def main(channel_fd: int, *modules: str) -> None:
    """Import ``modules``, and fork at command until the commander is gone."""
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or the first collection of each child would copy every page
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until a child that wants it is ready for it
    with socket.socket(fileno=channel_fd) as channel, wake, woken:
        while True:
            ready, _, _ = select.select([channel, wake], [], [])
            if wake in ready:
                wake.recv(4096)
                _reap(channel)
            if channel in ready and not _obey(channel, (channel, wake, woken)):
                break
        signal.set_wakeup_fd(-1)
    _end_all()


def _obey(channel: socket.socket, ours: Iterable[socket.socket]) -> bool:
    try:
        text = channel.recv(_LONGEST)
    except ConnectionResetError:
        return False
    if not text:
        return False
    message = json.loads(text)
    if "kill" in message:
        if message["kill"] in _children(os.getpid()):
            os.kill(message["kill"], message["signal"])
        return True
    zygote, pid = os.getpid(), os.fork()
    if not pid:
        signal.set_wakeup_fd(-1)
        for end in ours:
            end.close()
        _child(zygote, message)
    channel.send(json.dumps({"started": pid}).encode())
    return True


def _reap(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        ended = {"ended": pid, "status": os.waitstatus_to_exitcode(status)}
        try:
            channel.send(json.dumps(ended).encode())
        except BrokenPipeError:
            return


def _children(pid: int) -> set[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(pid) for pid in listed.split()}


def _end_all() -> None:
    while children := _children(os.getpid()):
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


def _child(zygote: int, message: dict[str, Any]) -> None:
    """Be the process that was asked for, to its end."""
    status = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != zygote:
            return
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _dress(**{k: v for k, v in message.items() if k not in ("target", "arguments")})
        module, _, function = message["target"].partition(":")
        status = getattr(importlib.import_module(module), function)(*message["arguments"]) or 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _dress(
    log: str | None = None,
    marks: str | None = None,
    limits: dict[str, int] | None = None,
    interruptible: bool = False,
) -> None:
    if log:
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)
    faulthandler.register(signal.SIGUSR1, sys.stderr.fileno())  # to say what it is doing
    if marks:
        from support.marks import Marks, install

        install(Marks(Path(marks)))
    if interruptible:
        signal.signal(signal.SIGUSR2, lambda *_: None)
        signal.siginterrupt(signal.SIGUSR2, True)
    for name, most in (limits or {}).items():
        resource.setrlimit(getattr(resource, name), (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
