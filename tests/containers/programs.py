"""What runs inside: each prints one line that begins with what it did."""

# Holds a model, and says so again at a signal. ``once`` ends at once, ``greedy`` eats memory.
HOLD = """
import hashlib, signal, sys, tetris
model = tetris.attach(sys.argv[1])
def told():
    digest = hashlib.sha256()
    for name in sorted(model):
        digest.update(model[name])
    return f"holds {len(model)} tensors, {digest.hexdigest()}"
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print(told(), flush=True)
if sys.argv[2:] == ["greedy"]:
    held = [b"x" * (1 << 20) for _ in range(1 << 20)]
while sys.argv[2:] != ["once"]:
    signal.sigwait({signal.SIGUSR1})
    print("still", told(), flush=True)
"""

# What this container is allowed, and charged for.
REPORT = """
import json, os
def number(*names):
    return next(int(open(n).read()) for n in names if os.path.exists(n))
fs, top = os.statvfs("/dev/shm"), "/sys/fs/cgroup/"
print(json.dumps({
    "shm": fs.f_blocks * fs.f_frsize,
    "limit": number(top + "memory/memory.limit_in_bytes", top + "memory.max"),
    "charged": number(top + "memory/memory.usage_in_bytes", top + "memory.current"),
}))
"""

# One attach that is refused, as a program would tell it.
REFUSED = """
import sys, tetris
try:
    tetris.attach(sys.argv[1])
except tetris.errors.TetrisError as error:
    print("refused:", error)
"""

# What root may try on the view: what each came to, by the name of its errno.
ATTACKS = """
import ctypes, errno, json, os, sys
mine, other = sys.argv[1:3]
view = "/run/tetris/default/"
segment = view + mine
fd = os.open(segment, os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
def remount():
    if libc.mount(None, view.encode(), None, 4096 | 32, None):
        raise OSError(ctypes.get_errno(), "mount")
attacks = {
    "write": lambda: os.open(segment, os.O_RDWR),
    "write by a descriptor": lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR),
    "truncate": lambda: os.truncate(segment, 1),
    "chmod": lambda: os.chmod(segment, 0o666),
    "unlink": lambda: os.unlink(segment),
    "plant": lambda: os.open(view + "a", os.O_CREAT | os.O_RDWR),
    "replace": lambda: os.rename(segment, view + "a"),
    "unlink the socket": lambda: os.unlink(view + "tetrisd.sock"),
    "other tenant": lambda: os.open(view + "../red/" + other, os.O_RDONLY),
    "remount": remount,
}
came_of = {"seen": sorted(os.listdir(view))}
for name, attack in attacks.items():
    try:
        attack()
        came_of[name] = "done"
    except OSError as refused:
        came_of[name] = errno.errorcode[refused.errno]
print(json.dumps(came_of), flush=True)
"""
