"""Attach ResNet152 and map all of its tensors."""

from __future__ import annotations

import tetris
from tetris.rpc import Rpc


def test_attach_and_map_everything(benchmark, socket, resnet152, monkeypatch):
    tetris.publish(resnet152, socket=socket)
    calls = []
    call = Rpc.call
    monkeypatch.setattr(
        Rpc, "call", lambda self, m, *a, **k: calls.append(m) or call(self, m, *a, **k)
    )

    def attach():
        model = tetris.attach(resnet152, socket=socket)
        arrays = list(model.values())
        return model, arrays

    def release(model, arrays):
        model.release()

    rounds = 15
    for _ in range(2):
        attach()[0].release()
    calls.clear()
    models = []
    model, _ = benchmark.pedantic(lambda: models.append(attach()) or models[-1], rounds=rounds)
    assert calls == ["Attach"] * rounds
    benchmark.extra_info["tensors"] = len(model.manifest.tensors)
    for used, _ in models:
        used.release()
