"""How the daemon of a run is told its tenants."""

from __future__ import annotations

import dataclasses

from chaos.world import World
from tetrisd.settings import Settings

_MANY = {"config", "admin_socket"} & {f.name for f in dataclasses.fields(Settings)} != set()

# Two that share with the host, and one that keeps to itself.
TENANTS = {"red": "host", "blue": "host", "lone": "tenant"} if _MANY else {"default": "host"}


def evicts() -> bool:
    """Whether this daemon has an admin socket, and evicts."""
    return _MANY


def arguments(world: World) -> list[str]:
    """Its command line."""
    flags = [f"--model-root={world.models}", "--log-level=WARNING", "--idle-seconds=5"]
    if not _MANY:
        return [f"--root={world.root}", f"--socket={world.socket('default')}", *flags]
    lines = [f'root = "{world.root}"', f'admin_socket = "{world.admin}"', "keep_alive = 1"]
    for name in world.tenants:
        lines += [f"[tenants.{name}]", f'socket = "{world.socket(name)}"']
        lines.append(f'sharing = "{TENANTS[name]}"')
    config = world.models.parent / "tetrisd.toml"
    config.write_text("\n".join(lines) + "\n")
    return [f"--config={config}", *flags]
