"""The compiled config: every seam checked, every step given its stage.

A field's steps run record by record on the host until its values can be stacked (numbers of one
known shape) and all remaining steps take batches; from there they run on the whole batch, on the
device. A field whose values differ in shape to the end is padded when the batch is made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.config import Config, FieldConfig, StepUse
from pipelines.errors import ConfigError, Fault, UserError, nearest
from pipelines.sources._base import Source
from pipelines.sources._subset import limit, split
from pipelines.spec import Spec
from pipelines.step import Step


@dataclass(frozen=True)
class Node:
    """A step in its place: what flows in and out, and the stream of its draws, if it has any."""

    step: Step
    name: str
    takes: tuple[Spec, ...]
    gives: tuple[Spec, ...]
    stream: str | None


@dataclass(frozen=True)
class FieldPlan:
    """One field: `nodes[:seam]` run per record, `nodes[seam:]` on the stacked batch."""

    name: str
    sources: tuple[str, ...]
    inputs: tuple[Spec, ...]
    optional: bool
    nodes: tuple[Node, ...]
    seam: int

    @property
    def spec(self) -> Spec:
        """What is delivered for one record."""
        return self.spec_before(len(self.nodes))[0]

    @property
    def stacked(self) -> Spec:
        """What one record's value is where the batch is made."""
        return self.spec_before(self.seam)[0]

    def spec_before(self, number: int) -> tuple[Spec, ...]:
        """What flows into node `number`; the field's result for the number past the last."""
        return self.nodes[number - 1].gives if number else self.inputs


@dataclass(frozen=True)
class Plan:
    """What an engine needs to know of a config."""

    fields: tuple[FieldPlan, ...]
    values: Mapping[str, Spec]
    """The raw values that the fields read."""
    streams: Mapping[str, int]
    """Variates per stream of draws."""

    @property
    def specs(self) -> dict[str, Spec]:
        return {field.name: field.spec.but(optional=field.optional) for field in self.fields}


def open_source(config: Config, first: int | None = None) -> Source:
    """The records of a config: its source, the split it uses and the first `first` of those."""
    if config.source is None:
        raise ConfigError(config.faults)
    source = config.source.open()
    if config.split is not None:
        source = split(source, config.split.parts, config.split.use)
    return source if first is None else limit(source, first)


def compile_plan(config: Config, first: int | None = None) -> tuple[Plan, Source]:
    """The plan of a config and its opened source, or ConfigError with every fault of both."""
    faults = list(config.faults)
    source: Source | None = None
    if config.source is not None:
        try:
            source = open_source(config, first)
        except UserError as error:
            faults.append(Fault(config.source_place, str(error)))
    fields = [] if source is None else [_field(field, source.values, faults) for field in config.fields]
    built = tuple(field for field in fields if field is not None)
    streams = _streams(config, built, faults)
    if faults or source is None:
        raise ConfigError(_in_order(faults))
    read = {name: source.values[name] for field in built for name in field.sources}
    return Plan(built, read, streams), source


def _streams(config: Config, fields: tuple[FieldPlan, ...], faults: list[Fault]) -> dict[str, int]:
    """Variates per stream. A field that follows another shares its draws, so its random steps must be there too."""
    given = {field.name: field for field in config.fields}
    drawn = [(given[f.name], n, n.step.variates()) for f in fields for n in f.nodes if n.stream is not None]
    streams = {str(node.stream): count for field, node, count in drawn if field.follows is None}
    for field, node, count in drawn:
        if field.follows is not None and streams.get(str(node.stream)) != count:
            faults.append(Fault(field.place, f"{node.name}: expected the same random step in {field.follows}, too"))
    return streams


def _in_order(faults: list[Fault]) -> list[Fault]:
    """Each fault once, in the order of the lines; those of `--set` and of dicts after them, as they came."""

    def line(fault: Fault) -> float:
        number = fault.place.rpartition(":")[2]
        return int(number) if number.isdigit() else math.inf

    return sorted(dict.fromkeys(faults), key=line)


def _field(config: FieldConfig, values: Mapping[str, Spec], faults: list[Fault]) -> FieldPlan | None:
    unknown = [name for name in config.sources if name not in values]
    for name in unknown:
        known = ", ".join(sorted(values))
        faults.append(
            Fault(config.place, f"from: the source has no value {name!r}{nearest(name, values)} It has {known}.")
        )
    if unknown:
        return None
    inputs = tuple(values[name] for name in config.sources)
    nodes: list[Node] = []
    seen: Counter[str] = Counter()
    flowing = inputs
    for use in config.steps:
        try:
            gives = _through(use, flowing)
        except UserError as error:
            faults.append(Fault(use.place, f"{use.name}: {error}"))
            return None
        stream = f"{config.follows or config.name}/{use.name}/{seen[use.name]}" if use.step.variates() else None
        seen[use.name] += 1
        nodes.append(Node(use.step, use.name, flowing, gives, stream))
        flowing = gives
    if not config.complete:
        return None
    if len(flowing) != 1:
        faults.append(
            Fault(config.place, f"{len(flowing)} values are left at the end; expected a step that joins them")
        )
        return None
    if flowing[0].dtype == "bytes":
        faults.append(Fault(config.place, "expected a step that decodes the file, got encoded bytes at the end"))
        return None
    return FieldPlan(config.name, config.sources, inputs, config.optional, tuple(nodes), _seam(inputs, nodes))


def _through(use: StepUse, flowing: tuple[Spec, ...]) -> tuple[Spec, ...]:
    if use.step.joins:
        return (use.step.out_spec(*flowing),)
    return tuple(use.step.out_spec(spec) for spec in flowing)


def _seam(inputs: tuple[Spec, ...], nodes: list[Node]) -> int:
    """The first node from which on everything can run on the stacked batch."""
    flows = [inputs, *(node.gives for node in nodes)]
    seam = len(nodes)
    for number in range(len(nodes), -1, -1):
        if number < len(nodes) and not nodes[number].step.batches:
            break
        if len(flows[number]) == 1 and flows[number][0].is_fixed:
            seam = number
    return seam
