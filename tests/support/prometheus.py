"""The distribution's Prometheus, as it is: a server of a test's own, and promtool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.daemon import wait_until
from support.scraping import free_port

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"


def tool(name: str) -> str:
    """Path of ``prometheus`` or ``promtool``; without it the test is skipped, but not in CI."""
    found = shutil.which(name)
    if found is None:
        sentence = f"{name} is not installed: run tools/system-packages"
        pytest.fail(sentence) if os.environ.get("CI") else pytest.skip(sentence)
    return found


def promtool(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run it where the files are that we ship."""
    return subprocess.run(
        [tool("promtool"), *words],
        input=text,
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        timeout=120,
    )


class Prometheus:
    """A server that scrapes ``target`` with the configuration that we ship, but every second."""

    def __init__(self, directory: Path, target: str) -> None:
        directory.mkdir()
        self._url = f"http://127.0.0.1:{free_port()}"
        config = (DEPLOY / "prometheus.yml").read_text()
        for shipped, ours in (
            ("127.0.0.1:9464", target),
            ("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s"),
            ("- tetris-alerts.yml", f"- {DEPLOY / 'tetris-alerts.yml'}"),
        ):
            head, comment, body = config.rpartition("global:")
            assert shipped in body
            config = head + comment + body.replace(shipped, ours)
        (directory / "prometheus.yml").write_text(config)
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "--", tool("prometheus")),
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                ],
                stderr=log,
                cwd=directory,
            )
        wait_until(self._answers, 60, what="the start of Prometheus")

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        """What an expression is now."""
        return self.get("query", query=expression)["result"]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, as it was read."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self.get("alerts")["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)

    def _answers(self) -> bool:
        assert self._process.poll() is None
        try:
            return bool(self.get("status/buildinfo"))
        except OSError:
            return False
