"""What the tests of pretrained models share: no network, configs that are checked and run, manifests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines.config import read_config
from pipelines.plan import Plan, compile_plan
from pipelines.run import run


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Libraries find an empty cache and no network. Gives the list of what was tried to be reached."""
    tried: list[Any] = []

    def refuse(*arguments: Any, **options: Any) -> Any:
        tried.append(arguments)
        raise OSError("the network is out of reach")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    return tried


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch runs on one core: beside other work, two that wait for each other take a hundred times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def planned(path: Path, framework: str | None = None) -> Plan:
    """The plan of a config."""
    return compile_plan(read_config(path, (), framework))[0]


def written(path: Path, folder: Path) -> dict[str, Any]:
    """The manifest of a whole run of a config."""
    run(pipelines.load(path), output=folder)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return manifest
