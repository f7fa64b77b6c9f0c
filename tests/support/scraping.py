"""Scrapes as Prometheus makes them."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, frozenset[tuple[str, str]]]


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def scrape(where: str | Path) -> str:
    """The whole answer; ``where`` as in the setting."""
    text = str(where)
    made = _Unix(text) if text.startswith("/") else http.client.HTTPConnection(text, timeout=30)
    try:
        made.request("GET", "/metrics")
        answer = made.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        made.close()


def samples(text: str) -> dict[Sample, float]:
    """Every sample by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scraped:
    """What a scrape says, by name and labels."""

    def __init__(self, where: str | Path) -> None:
        self.text = scrape(where)
        self._samples = samples(self.text)

    def __call__(self, name: str, **labels: str) -> float:
        return self._samples[name, frozenset(labels.items())]

    def names(self) -> set[str]:
        """Of every sample."""
        return {name for name, _ in self._samples}

    def labels(self) -> set[tuple[str, str]]:
        """Every label of every sample, but the bounds of buckets."""
        return {pair for _, labels in self._samples for pair in labels if pair[0] != "le"}
