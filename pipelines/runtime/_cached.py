"""The cache of a plan: the longest part of a field's steps that chance does not touch, computed once per record."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from pipelines.announced import code_digest
from pipelines.cache import Cache
from pipelines.config import Config, meaning
from pipelines.native import library_versions, to_numpy
from pipelines.plan import FieldPlan, Plan, seam_of
from pipelines.runtime._chain import Chain
from pipelines.runtime._clock import KEPT, READ, Clock
from pipelines.sources._base import Source
from pipelines.sources._kept import cache_folder
from pipelines.spec import PER_RECORD, Spec
from pipelines.step import Identical

FORMAT = 1


@dataclass(frozen=True)
class Prefix:
    """The first `stop` nodes of a field, whose result is kept under `name`."""

    field: FieldPlan
    stop: int

    @property
    def name(self) -> str:
        return f"kept {self.field.name}"

    @property
    def spec(self) -> Spec:
        return self.field.spec_before(self.stop)[0]


def prefixes(config: Config, plan: Plan) -> list[Prefix]:
    """What can be kept of each field that the config asks for."""
    wanted = config.cache.fields if config.cache else ()
    own = {field.name: len(field.steps) for field in config.fields}  # steps that follow a picture come after them
    found = []
    for field in plan.fields:
        chosen = field.name in wanted if wanted is not None else any(spec.dtype == "bytes" for spec in field.inputs)
        stops = [number for number in range(1, own[field.name] + 1) if _can_be_kept(field, number)]
        if chosen and stops:
            found.append(Prefix(field, stops[-1]))
    return found


def _can_be_kept(field: FieldPlan, stop: int) -> bool:
    gives = field.spec_before(stop)
    chance = any(node.stream or node.size_of or node.shares for node in field.nodes[:stop])
    measured = field.measured is not None and field.measured < stop
    return not chance and not measured and len(gives) == 1 and gives[0].is_numeric and gives[0].rate_hz != PER_RECORD


def with_cache(config: Config, plan: Plan, source: Source) -> tuple[Plan, CachedSource] | None:
    """The plan over a source that gives what the prefixes make, and that source; None where nothing is kept."""
    assert config.cache is not None
    kept = prefixes(config, plan)
    if not kept:
        return None
    home = config.cache.path or cache_folder() / "steps"
    most = int(config.cache.most_gb * 1e9)
    uses = {field.name: field.steps for field in config.fields}
    chains, caches = {}, {}
    for prefix in kept:
        steps = [meaning(use, config.base) for use in uses[prefix.field.name][: prefix.stop]]
        exact = all(isinstance(node.step.agreement, Identical) for node in prefix.field.nodes[: prefix.stop])
        what = [FORMAT, prefix.field.sources, steps, source.fingerprint()]
        what += filter(None, [code_digest(type(node.step)) for node in prefix.field.nodes[: prefix.stop]])
        what += ["both"] if exact else [config.framework, library_versions(config.framework)]
        digest = blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=12).hexdigest()
        caches[prefix.name] = Cache(home / f"{prefix.field.name}-{digest}", prefix.spec, len(source), most)
        chains[prefix.name] = (Chain(prefix.field, config.framework), prefix.stop)
    cut = {prefix.field.name: _cut(prefix) for prefix in kept}
    fields = tuple(cut.get(field.name, field) for field in plan.fields)
    wrapped = CachedSource(source, chains, caches)
    values = {name: wrapped.values[name] for field in fields for name in field.sources}
    return replace(plan, fields=fields, values=values), wrapped


def _cut(prefix: Prefix) -> FieldPlan:
    field, stop = prefix.field, prefix.stop
    nodes = field.nodes[stop:]
    measured = None if field.measured is None else field.measured - stop
    seam = seam_of((prefix.spec,), nodes)
    return FieldPlan(field.name, (prefix.name,), (prefix.spec,), field.optional, nodes, seam, measured)


class CachedSource(Source):
    """A source whose records also hold what the kept prefixes make of them."""

    def __init__(self, source: Source, chains: Mapping[str, tuple[Chain, int]], caches: Mapping[str, Cache]) -> None:
        self._source, self._chains, self._caches = source, chains, caches
        self.clock = Clock()
        self.values = {**source.values, **{n: c.field.spec_before(stop)[0] for n, (c, stop) in chains.items()}}

    def __len__(self) -> int:
        return len(self._source)

    def key(self, index: int) -> str:
        return self._source.key(index)

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def read(self, index: int, names: Collection[str]) -> dict[str, Any]:
        self.clock.within(KEPT)
        held: dict[str, Any] = {name: self._caches[name].get(index) for name in names if name in self._caches}
        missing = [name for name, value in held.items() if value is None]
        needed = {name for name in names if name not in held}
        needed.update(source for name in missing for source in self._chains[name][0].field.sources)
        self.clock.within(READ)
        raw = self._source.read(index, needed) if needed else {}
        for name in missing:
            value = self._made(*self._chains[name], raw)
            self.clock.within(KEPT)
            if value is not None:
                held[name] = to_numpy(value, self.values[name])
                self._caches[name].put(index, held[name])
        self.clock.within(READ)
        return {name: held[name] if name in held else raw[name] for name in names}

    def _made(self, chain: Chain, stop: int, raw: Mapping[str, Any]) -> Any:
        """What the first `stop` nodes make of a record; None where it is absent."""
        if chain.is_absent(raw):
            return None
        carried: Any = ()
        for number, carried in enumerate(chain.walk(raw, _no_chance, stop)):  # noqa: B007  # the last one is wanted
            if number < stop:
                self.clock.within(chain.places[number])
        return carried[0][0]

    def share(self) -> None:
        """Show other processes what was kept, and take up what they have kept."""
        for cache in self._caches.values():
            cache.tell()
            cache.refresh()


def _no_chance(stream: str) -> Any:
    raise AssertionError(f"{stream}: a kept step draws nothing")
