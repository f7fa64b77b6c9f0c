"""Where everything of a run lies, for the run and for each of its processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from chaos import catalog
from chaos.board import Board
from chaos.catalog import Known


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """The places, by name; JSON takes it.

    Attributes:
        work: directory of everything but the root.
        mount: a tmpfs of the root alone.
        tenants: their names; each has the socket ``WORK/NAME/tetrisd.sock``.
    """

    work: str
    mount: str
    tenants: tuple[str, ...]

    @property
    def root(self) -> Path:
        return Path(self.mount) / "root"

    @property
    def models(self) -> Path:
        return Path(self.work) / "models"

    @property
    def admin(self) -> Path:
        return Path(self.work) / "admin" / "admin.sock"

    def socket(self, tenant: str) -> Path:
        return Path(self.work) / tenant / "tetrisd.sock"

    def marks(self, worker: str) -> Path:
        return Path(self.work) / f"{worker}.marks"

    def log(self, worker: str) -> Path:
        return Path(self.work) / f"{worker}.log"

    def board(self, row: int = 0) -> Board:
        return Board(Path(self.work) / "board", row)

    def catalog(self) -> list[Known]:
        return catalog.load(Path(self.work) / "catalog.json")

    def save_catalog(self, models: list[Known]) -> None:
        catalog.save(Path(self.work) / "catalog.json", models)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> World:
        values = json.loads(text)
        return cls(**{**values, "tenants": tuple(values["tenants"])})
