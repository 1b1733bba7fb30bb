"""A page opened in headless Chromium: what loaded of it, what it asked the network for, and whether a script ran."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
_LOOK = """JSON.stringify({
  images: [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight]),
  sounds: [...document.querySelectorAll('audio')].map(a => [a.duration, a.error && a.error.message]),
  scripts: document.scripts.length, title: document.title, ran: typeof window.ran,
  text: document.body.innerText, wide: document.documentElement.scrollWidth - innerWidth})"""
_SECONDS = 60


@dataclass(frozen=True)
class Opened:
    """`images` are (complete, width, height), `sounds` (seconds, error), `requests` all addresses but data: ones."""

    images: list[tuple[bool, int, int]]
    sounds: list[tuple[float | None, str | None]]
    scripts: int
    title: str
    ran: str
    text: str
    wide: int
    requests: list[str]
    complaints: list[str]


def open_page(page: Path) -> Opened:
    """Open a page, wait until it has loaded, and look."""
    assert CHROMIUM is not None
    (ours_out, theirs_in), (theirs_out, ours_in) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        script = f'exec "$@" 3<&{ours_out} 4>&{ours_in}'  # Chromium reads commands from 3 and answers on 4
        command = ["bash", "-c", script, "bash", CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, pass_fds=(ours_out, ours_in), stderr=subprocess.DEVNULL)
        os.close(ours_out)
        os.close(ours_in)
        try:
            with os.fdopen(theirs_in, "wb", buffering=0) as out, os.fdopen(theirs_out, "rb", buffering=0) as answers:
                return _look(_Wire(out, answers), page)
        finally:
            process.kill()
            process.wait()


class _Wire:
    """Commands and answers of the DevTools protocol, each ended by a NUL; `events` are kept as they come."""

    def __init__(self, out: Any, answers: Any) -> None:
        self._out, self._answers = out, answers
        self._held = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        self._count += 1
        told = {"id": self._count, "method": method, "params": params} | ({"sessionId": session} if session else {})
        self._out.write(json.dumps(told).encode() + b"\0")
        while True:
            got = self.next()
            if got.get("id") == self._count:
                assert "error" not in got, got
                result: dict[str, Any] = got["result"]
                return result

    def next(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            part = self._answers.read(1 << 16)
            assert part, "Chromium has ended"
            self._held += part
        line, _, self._held = self._held.partition(b"\0")
        got: dict[str, Any] = json.loads(line)
        if "method" in got:
            self.events.append(got)
        return got


def _look(wire: _Wire, page: Path) -> Opened:
    target = wire.ask("Target.createTarget", url="about:blank")["targetId"]
    session = wire.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Network", "Page", "Log", "Runtime"):
        wire.ask(f"{domain}.enable", session)
    wire.ask("Page.navigate", session, url=page.absolute().as_uri())
    while not any(event["method"] == "Page.loadEventFired" for event in wire.events):
        wire.next()
    end = time.monotonic() + _SECONDS
    while True:
        found = json.loads(wire.ask("Runtime.evaluate", session, expression=_LOOK)["result"]["value"])
        settled = all(seconds is not None or error for seconds, error in found["sounds"])
        if settled or time.monotonic() > end:
            break
        time.sleep(0.05)
    asked = [e["params"]["request"]["url"] for e in wire.events if e["method"] == "Network.requestWillBeSent"]
    kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    complaints = [json.dumps(event["params"]) for event in wire.events if event["method"] in kinds]
    requests = [url for url in asked if not url.startswith("data:")]
    return Opened(**found, requests=requests, complaints=complaints)
