"""A source made of nothing, for tests of the engines: every kind of value, failures at known places."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from pipelines.config import Config, read_config
from pipelines.errors import RecordError
from pipelines.pipeline import Pipeline
from pipelines.sources._base import Source, SourceConfig
from pipelines.spec import TEXT, Axis, Spec, picture

UNREADABLE, MISLABELLED, ABSENT = 7, 9, 11
ALL_LOST = range(16, 20)
"""A whole batch of four, when the order is plain."""
LOST = (UNREADABLE, MISLABELLED, ABSENT, *ALL_LOST)


class FakeSource(Source):
    values: ClassVar[dict[str, Spec]] = {
        "picture": picture(8, 6),
        "wave": Spec("float32", (Axis("time"),)),
        "label": TEXT,
        "tokens": Spec("text", (Axis("token"),)),
        "number": Spec("int64"),
        "sometimes": TEXT,
        "needed": TEXT,
    }

    def __init__(self, records: int, lost: Collection[int] = LOST) -> None:
        self.records, self.lost = records, lost

    def __len__(self) -> int:
        return self.records

    def key(self, index: int) -> str:
        return f"rëcord {index:05}"

    def fingerprint(self) -> str:
        return f"fake {self.records}"

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        lost = index in self.lost
        if lost and index == UNREADABLE:
            raise OSError("gone")
        if lost and index in ALL_LOST:
            raise RecordError("damaged")
        rng = np.random.default_rng(index)
        raw = {
            "picture": rng.integers(0, 256, (8, 6, 3)).astype(np.uint8),
            "wave": rng.random(index % 5).astype(np.float32),
            "label": "cow" if lost and index == MISLABELLED else ("cat", "dog")[index % 2],
            "tokens": [*["ä", "日本"][: index % 3], "x"],
            "number": index,
            "sometimes": None if index % 3 else "dog",
            "needed": None if lost and index == ABSENT else "there",
        }
        return {name: raw[name] for name in names}


CLASSES = {"classes": ["cat", "dog"]}
FIELDS: dict[str, Any] = {
    "picture": {"from": "picture", "steps": ["image.flip", {"image.flip": {"direction": "vertical"}}]},
    "wave": {"from": "wave", "steps": []},
    "class": {"from": "label", "steps": [{"label.index": CLASSES}]},
    "tokens": {"from": "tokens", "steps": []},
    "number": {"from": "number", "steps": []},
    "sometimes": {"from": "sometimes", "optional": True, "steps": [{"label.index": CLASSES}]},
    "needed": {"from": "needed", "steps": []},
}


class _FakeConfig(SourceConfig):
    records: int
    lost: tuple[int, ...]

    def open(self) -> Source:
        return FakeSource(self.records, self.lost)


def fake_config(framework: str, records: int = 50, lost: Collection[int] = LOST, **changes: Any) -> Config:
    """The config over the fake source; `changes` are sections of it."""
    document = {
        "framework": framework,
        "seed": 3,
        "source": {"lines": {"path": "unused"}},
        "fields": FIELDS,
        "batch": {"size": 4, "shuffle": True},
        "on_error": {"at_most": 1.0},
    }
    config = read_config(document | changes)
    return replace(config, source=_FakeConfig(records=records, lost=tuple(lost)))


def fake(framework: str, records: int = 50, lost: Collection[int] = LOST, **changes: Any) -> Pipeline:
    """A pipeline over the fake source."""
    return Pipeline(fake_config(framework, records, lost, **changes), device="cpu", threads=2)


def epoch_of(pipe: Pipeline) -> list[tuple[Any, ...]]:
    """One epoch as plain data: per batch its place, its failures and its records."""
    out = []
    for delivered in pipe.epoch():
        failures = [(f.position, f.key, f.field, f.step) for f in delivered.failures]
        records = [plain(record) for record in pipe.engine.unbatch(delivered)]
        out.append((delivered.chunk.start, failures, records))
    return out


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose values compare by ==."""
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in record.items()}
