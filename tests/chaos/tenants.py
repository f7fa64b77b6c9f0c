"""How the daemon of a run is told its tenants."""

from __future__ import annotations

from chaos.world import World

# Two that share with the host, and one that keeps to itself.
TENANTS = {"red": "host", "blue": "host", "lone": "tenant"}


def arguments(world: World) -> list[str]:
    """Its command line."""
    lines = [f'root = "{world.root}"', f'admin_socket = "{world.admin}"', "keep_alive = 1"]
    for name in world.tenants:
        lines += [f"[tenants.{name}]", f'socket = "{world.socket(name)}"']
        lines += [f'sharing = "{TENANTS[name]}"', f'model_root = ["{world.models}"]']
    config = world.models.parent / "tetrisd.toml"
    config.write_text("\n".join(lines) + "\n")
    return [f"--config={config}", "--log-level=WARNING", "--idle-seconds=5", "--headroom=0"]
