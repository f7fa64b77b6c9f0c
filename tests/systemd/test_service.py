"""The service under a real systemd: whatever happens to it, clients go on."""

from __future__ import annotations

import json
import subprocess

import pytest

from systemd.machine import Machine

CONFIG = "/etc/tetris/tetrisd.toml"
CLIENT = ("/opt/tetris/bin/python", "/client.py")


class Holder:
    """A process of user ``ml`` that holds a model."""

    def __init__(self, machine: Machine, model: str = "/models/one") -> None:
        machine.sh("usermod -aG tetris ml")
        self._process = machine.start(*CLIENT, "hold", model, user="ml")
        try:
            self.sum = self._answer()
        except ValueError:
            self.end()
            raise AssertionError("the client could not attach: see its standard error") from None

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def is_undisturbed(self) -> bool:
        """Whether it still reads the bytes that it read first."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer() == self.sum

    def end(self) -> None:
        """Let it go, and wait for its end."""
        with self._process:
            self._process.communicate(timeout=20)


def shown(machine: Machine, what: str) -> str:
    return machine.sh(f"systemctl show tetrisd --value -p {what}")


def held(machine: Machine) -> list[str]:
    """Models that processes hold, as the daemon knows."""
    return [lease["model"] for lease in json.loads(machine.sh("tetrisctl leases --json"))]


def restarted(machine: Machine, before: str) -> None:
    """Wait until systemd has replaced main process ``before`` by one that is ready."""
    machine.wait_until(
        f"test $(systemctl show tetrisd --value -p MainPID) != {before} && "
        "systemctl is-active tetrisd",
        "the restart",
    )


@pytest.fixture
def holder(machine: Machine):
    holding = Holder(machine)
    yield holding
    holding.end()


def test_the_service_is_ready_and_confined(machine):
    """As its own user, without a capability, under a filter, on a tmpfs of its own."""
    pid = shown(machine, "MainPID")
    status = machine.sh(f"cat /proc/{pid}/status")
    for line in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status
    assert machine.sh(f"stat -c %U /proc/{pid}") == "tetris"
    assert machine.sh("stat -f -c %T /dev/shm/tetris") == "tmpfs"
    assert "huge pages are in effect" in shown(machine, "StatusText")
    assert machine.sh("systemctl --failed -q") == ""


def test_members_of_the_group_share_and_strangers_do_not(machine, holder):
    assert held(machine) == ["one"]
    refused = machine.try_sh(f"{' '.join(CLIENT)} hold /models/one </dev/null", user="stranger")
    assert refused.returncode != 0
    assert "tetrisd.sock" in refused.stderr


def test_a_killed_daemon_is_replaced_and_clients_do_not_notice(machine, holder):
    """Their mappings and leases stay; who attaches meanwhile waits for the gap that is printed."""
    loop = machine.start(*CLIENT, "loop", "/models/one", user="ml")
    assert loop.stdout is not None
    loop.stdout.readline()
    before = shown(machine, "MainPID")
    machine.sh(f"kill -9 {before}")
    restarted(machine, before)
    assert holder.is_undisturbed()
    machine.wait_until("tetrisctl models | grep one", "an answer")
    gap, failed = loop.communicate(timeout=20)[0].split()
    print(f"\ngap seen by a client that attaches in a loop: {gap} s, {failed} tries failed")
    assert held(machine) == ["one"]
    assert shown(machine, "NRestarts") == "1"


def test_a_stopped_daemon_is_replaced_by_the_watchdog(machine, holder):
    _impatient(machine)
    before = shown(machine, "MainPID")
    machine.sh(f"kill -STOP {before}")
    restarted(machine, before)
    assert holder.is_undisturbed()
    assert held(machine) == ["one"]
    assert "Watchdog timeout" in machine.sh("journalctl -u tetrisd -o cat")


def test_a_daemon_whose_work_is_stuck_is_replaced_and_says_where_it_stood(machine, holder):
    """A lock that nobody gives back: it answers some calls still, but its looks do not end."""
    packages = machine.sh("ls -d /opt/tetris/lib/python3*/site-packages")
    machine.put(f"{packages}/planted.py", _STUCK)
    machine.put(f"{packages}/planted.pth", "import planted\n")
    _impatient(machine)
    before = shown(machine, "MainPID")
    machine.sh("touch /run/tetris/stick && chown tetris /run/tetris/stick")
    restarted(machine, before)
    assert holder.is_undisturbed()
    assert held(machine) == ["one"]
    said = machine.sh("journalctl -u tetrisd -o cat")
    assert "Watchdog timeout" in said
    assert "keeper.py" in said


_STUCK = """
import gc, os, signal, threading, time
def stick():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while not os.path.exists("/run/tetris/stick"):
        time.sleep(0.05)
    os.unlink("/run/tetris/stick")
    for found in gc.get_objects():
        if type(found).__name__ == "Leases":
            found._mutex.acquire()
threading.Thread(target=stick, daemon=True).start()
"""


def _impatient(machine: Machine) -> None:
    """The same service with a watchdog of two seconds, and not of twenty."""
    _drop_in(machine, "WatchdogSec=2s")


def _drop_in(machine: Machine, line: str) -> None:
    machine.sh("mkdir -p /etc/systemd/system/tetrisd.service.d")
    machine.put("/etc/systemd/system/tetrisd.service.d/test.conf", f"[Service]\n{line}\n")
    machine.sh("systemctl daemon-reload && systemctl restart tetrisd")


def test_a_reload_applies_a_quota(machine, holder):
    machine.sh(f"""echo 'quota = "3GiB"' >>{CONFIG} && systemctl reload tetrisd""")
    assert json.loads(machine.sh("tetrisctl tenants --json"))[0]["bytes_quota"] == 3 << 30
    assert shown(machine, "NRestarts") == "0"
    assert holder.is_undisturbed()


def test_a_reload_of_broken_settings_fails_and_the_daemon_goes_on(machine):
    pid = shown(machine, "MainPID")
    machine.sh(f"echo 'quota = \"much\"' >>{CONFIG}")
    assert machine.try_sh("systemctl reload tetrisd").returncode != 0
    assert "'much' is no bytes" in machine.sh("journalctl -u tetrisd -o cat")
    assert shown(machine, "ActiveState") == "active"
    assert machine.sh("tetrisctl models --json") == "[]"
    assert shown(machine, "MainPID") == pid


def test_a_start_with_broken_settings_fails_at_once(machine):
    """And is not tried again: the file would be as wrong then."""
    machine.sh(f"echo nonsense >>{CONFIG}")
    assert machine.try_sh("systemctl restart tetrisd").returncode != 0
    assert shown(machine, "NRestarts") == "0"
    assert "tetrisd.toml" in machine.sh("journalctl -u tetrisd -t tetrisd -o cat -n 2")


def test_clients_outlive_a_stop_and_the_next_daemon_adopts_them(machine, holder):
    machine.sh("systemctl stop tetrisd")
    assert holder.is_undisturbed()
    machine.sh("systemctl start tetrisd")
    assert held(machine) == ["one"]
    assert holder.is_undisturbed()


def test_what_a_container_mounts_is_good_after_a_restart(machine):
    """The directory of a socket is the same one, also after the daemon was stopped for a while."""
    machine.sh("mkdir /mnt/socket && mount --bind /run/tetris/default /mnt/socket")
    inode = machine.sh("stat -c %i /run/tetris /run/tetris/default")
    machine.sh("systemctl stop tetrisd && systemctl start tetrisd")
    assert machine.sh("stat -c %i /run/tetris /run/tetris/default") == inode
    assert machine.sh("tetrisctl --socket /mnt/socket/tetrisd.sock models --json") == "[]"


def test_after_a_reboot_the_service_is_ready_and_empty(machine):
    Holder(machine).end()
    assert json.loads(machine.sh("tetrisctl models --json"))
    machine.reboot()
    machine.wait_until("systemctl is-active tetrisd", "the start")
    assert machine.sh("tetrisctl models --json") == "[]"
    Holder(machine).end()


_PUBLISH_BY_PATH = """
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb
asked = pb.PublishPathRequest(path="/models/one/variables/variables")
print(Rpc().call("PublishPath", asked).manifest.name)
"""


def test_the_daemon_reads_models_itself_where_it_may(machine):
    _give_model_root(machine)
    assert _publish_by_path(machine).stdout == "one\n"


def test_a_model_is_sent_where_the_daemon_cannot_open_it_safely(machine):
    """As with a kernel before 5.6, which has no openat2; systemd can take it away."""
    _drop_in(machine, "RestrictSUIDSGID=yes")
    _give_model_root(machine)
    assert "there is no openat2" in _publish_by_path(machine).stderr
    Holder(machine).end()


def _publish_by_path(machine: Machine) -> subprocess.CompletedProcess[str]:
    machine.put("/tmp/publish.py", _PUBLISH_BY_PATH)
    return machine.try_sh("/opt/tetris/bin/python /tmp/publish.py")


def _give_model_root(machine: Machine) -> None:
    machine.sh(f"""echo 'model_root = ["/models"]' >>{CONFIG} && systemctl reload tetrisd""")


def test_a_tenant_of_another_group_gets_its_socket(machine):
    """Also in the sandbox, which forbids most calls that change an owner."""
    machine.sh("groupadd blue && usermod -aG blue tetris && usermod -aG blue ml")
    machine.put(
        CONFIG, '[tenants.blue]\nsocket = "/run/tetris/blue/tetrisd.sock"\ngroup = "blue"\n'
    )
    machine.sh("systemctl restart tetrisd")
    assert machine.sh("stat -c %G:%a /run/tetris/blue") == "blue:750"
    assert machine.sh("stat -c %G /dev/shm/tetris/tenants/blue") == "blue"
    asked = "tetrisctl --socket /run/tetris/blue/tetrisd.sock models --json"
    assert machine.sh(asked, user="ml") == "[]"
    assert machine.try_sh(asked, user="stranger").returncode != 0
