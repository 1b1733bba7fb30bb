"""Part of a source: a share of it chosen by the hash of each key, or its first records."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from pipelines.errors import SourceError, nearest
from pipelines.sources._base import Source
from pipelines.sources._files import digest


class Subset(Source):
    """The records of another source at `places`, numbered 0..n-1 in its order."""

    def __init__(self, source: Source, places: np.ndarray[Any, Any], meaning: str) -> None:
        self.values = source.values
        self._source = source
        self._places = places
        self._meaning = meaning

    def __len__(self) -> int:
        return len(self._places)

    def key(self, index: int) -> str:
        return self._source.key(int(self._places[index]))

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        return self._source.read(int(self._places[index]), names)

    def fingerprint(self) -> str:
        return digest(self._source.fingerprint(), self._meaning)


def split(source: Source, parts: Mapping[str, float], use: str) -> Source:
    """The part of `source` called `use`: the records whose key's hash falls into its share of [0, 1).

    The shares lie one after the other in the order of `parts`. A record's place depends on its key
    alone, so it keeps its part when records are added, and when a part is added at the end.
    """
    if use not in parts:
        raise SourceError(f"split: expected `use` to be one of {', '.join(parts)}, got {use!r}{nearest(use, parts)}")
    wrong = [f"{name}={share}" for name, share in parts.items() if not (math.isfinite(share) and share > 0)]
    if wrong:
        raise SourceError(f"split: expected every part to be above 0, got {', '.join(wrong)}")
    total = math.fsum(parts.values())
    if total > 1 + 1e-9:
        raise SourceError(f"split: expected parts that sum to at most 1, got {total:g}")
    names = list(parts)
    before = math.fsum(parts[name] for name in names[: names.index(use)])
    low, high = _bound(before), _bound(before + parts[use])
    hashes = (key_hash(source.key(index)) for index in range(len(source)))
    places = np.fromiter((i for i, h in enumerate(hashes) if low <= h < high), dtype=np.int64)
    if not len(places):
        raise SourceError(f"split: none of the {len(source)} records falls into {use!r} ({parts[use]:g} of all)")
    return Subset(source, places, digest("split", low, high))


def limit(source: Source, records: int) -> Source:
    """The first `records` records of `source`, or all where it has no more."""
    if records < 1:
        raise SourceError(f"limit: expected at least 1 record, got {records}")
    if records >= len(source):
        return source
    return Subset(source, np.arange(records), digest("limit", records))


def key_hash(key: str) -> int:
    """A 64-bit hash of a key: the same on every machine, for ever."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _bound(share: float) -> int:
    return 1 << 64 if share >= 1 - 1e-9 else int(share * (1 << 64))
