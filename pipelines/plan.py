"""The compiled config: every seam checked, every step given its stage.

A field's steps run record by record on the host until its values can be stacked (numbers of one
known shape) and all remaining steps take batches; from there they run on the whole batch, on the
device. A field whose values differ in shape to the end is padded when the batch is made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.buckets import Buckets, Lengths
from pipelines.config import Config, FieldConfig, StepUse
from pipelines.errors import ConfigError, Fault, SpecError, UserError, nearest
from pipelines.geometry import FollowBoxes, MovingStep, SameSize
from pipelines.grid import Grid, Streams
from pipelines.sources._base import Source
from pipelines.sources._mix import Mix
from pipelines.sources._subset import limit, split
from pipelines.spec import FRAMEWORKS, HALF_MOST, Floats, Spec
from pipelines.step import BatchStep, Step, only_in


@dataclass(frozen=True)
class Node:
    """A step in its place: what flows in and out, and the stream of its draws, if it has any.

    A node that follows a picture is handed, instead of a draw of its own, the picture's height and width (when
    they differ from record to record, `size_of` names its field) and the draws of the streams in `shares`.
    """

    step: Step
    name: str
    takes: tuple[Spec, ...]
    gives: tuple[Spec, ...]
    stream: str | None
    size_of: str | None = None
    shares: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchNode:
    """A step on the finished batch, the fields it changes, and the stream of its draws, if it has any."""

    step: BatchStep
    name: str
    takes: tuple[Spec, ...]
    gives: tuple[Spec, ...]
    stream: str | None


@dataclass(frozen=True)
class FieldPlan:
    """One field: `nodes[:seam]` run per record, `nodes[seam:]` on the stacked batch.

    `measured` is the node before which the picture's size is taken for the fields that follow it.
    """

    name: str
    sources: tuple[str, ...]
    inputs: tuple[Spec, ...]
    optional: bool
    nodes: tuple[Node, ...]
    seam: int
    measured: int | None = None

    @property
    def spec(self) -> Spec:
        """What the field's own steps make of one record."""
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
    streams: Streams
    batch_nodes: tuple[BatchNode, ...] = ()
    floats: Floats = "float32"
    """What float32 values are rounded to when all steps are done."""
    sorted_by: str | None = None
    """The field whose length is measured to put records of like length together."""

    @property
    def rounded(self) -> frozenset[str]:
        """The fields whose values are rounded to `floats`."""
        names = {name for name, spec in self._made.items() if spec.dtype == "float32"}
        return frozenset(names if self.floats != "float32" else ())

    @property
    def specs(self) -> dict[str, Spec]:
        """What is delivered of each field for one record."""
        made = self._made
        return made | {name: made[name].but(dtype=self.floats) for name in self.rounded}

    @property
    def _made(self) -> dict[str, Spec]:
        """What the steps make of each field."""
        specs = {field.name: field.spec.but(optional=field.optional) for field in self.fields}
        for node in self.batch_nodes:
            specs |= zip(node.step.fields, node.gives, strict=True)
        return specs

    @property
    def one_framework(self) -> tuple[str, ...]:
        """Why the config runs in one framework alone, and is exempt from parity: a phrase for each step that does."""
        nodes: list[tuple[str, Node | BatchNode]]
        nodes = [(field.name, node) for field in self.fields for node in field.nodes]
        nodes += [("batch_steps", node) for node in self.batch_nodes]
        return tuple(
            f"{name}: {node.name} runs on {' or '.join(node.step.frameworks)} only, since {node.step.why_one_framework}"
            for name, node in nodes
            if node.step.frameworks != FRAMEWORKS
        )

    @property
    def packed(self) -> frozenset[str]:
        """The fields of which several records share a row."""
        return frozenset(name for node in self.batch_nodes if node.step.packs for name in node.step.fields)


def open_source(config: Config, first: int | None = None) -> Source:
    """The records of a config: its source, the split it uses and the first `first` of those."""
    if config.source is None:
        raise ConfigError(config.faults)
    if (parts := config.split) is None:
        source = config.source.open()
    elif isinstance(config.source, Mix):
        source = config.source.open(lambda whole: split(whole, parts.parts, parts.use))
    else:
        source = split(config.source.open(), parts.parts, parts.use)
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
    faults += _wrong_framework(config)
    fields = {} if source is None else _fields(config, source.values, faults)
    batch_nodes = _batch_nodes(config, fields, faults)
    sorted_by = None if source is None else _sorted_by(config, fields, source.values, batch_nodes, faults)
    if faults or source is None:
        raise ConfigError(_in_order(faults))
    read = {name: source.values[name] for field in fields.values() for name in field.sources}
    drawn = {n.stream: n.step.variates() for field in fields.values() for n in field.nodes if n.stream is not None}
    streams = Streams(drawn, {n.stream: n.step.variates() for n in batch_nodes if n.stream is not None})
    plan = Plan(tuple(fields.values()), read, streams, batch_nodes, config.batch.floats, sorted_by)
    if too_large := _too_large(plan, config):
        raise ConfigError(_in_order(too_large))
    return plan, source


def grid_of(config: Config, records: int, lengths: Lengths | None = None, **where: Any) -> Grid:
    """The grid of `records` records of a config; `where` are the grid's `rank`, `world` and `only`.

    `lengths` are those of the source's records where the config puts records of like length together.
    """
    batch, wanted = config.batch, config.batch.buckets
    buckets = None
    if wanted is not None and lengths is not None:
        buckets = Buckets(lengths, wanted.window, batch.tokens, wanted.ranks)
    plain = (batch.rows, batch.shuffle, batch.drop_last, config.seed)
    return Grid(records, *plain, buckets=buckets, fixed=batch.fixed, **where)


def without_batch_chance(plan: Plan) -> Plan:
    """The plan as evaluation takes it: of the steps on the batch only those that pack."""
    kept = tuple(node for node in plan.batch_nodes if node.step.packs)
    return replace(plan, batch_nodes=kept, streams=Streams(plan.streams.record))


def _too_large(plan: Plan, config: Config) -> list[Fault]:
    """The fields whose values are known to be too large for the floats they are rounded to."""
    places = {field.name: field.place for field in config.fields}
    rounded = {name: plan.specs[name] for name in plan.rounded if plan.floats == "float16"}
    return [
        Fault(places[name], f"{name}: float16 holds numbers up to {HALF_MOST}, got {spec}; take floats: bfloat16")
        for name, spec in rounded.items()
        if spec.range and max(map(abs, spec.range)) > HALF_MOST
    ]


def _wrong_framework(config: Config) -> list[Fault]:
    """The steps that do not run in the config's framework."""
    uses = [use for field in config.fields for use in field.steps] + list(config.batch_steps)
    wrong = [use for use in uses if config.framework and config.framework not in use.step.frameworks]
    return [Fault(use.place, only_in(use.step, use.name, config.framework)) for use in wrong]


def _in_order(faults: list[Fault]) -> list[Fault]:
    """Each fault once, in the order of the lines; those of `--set` and of dicts after them, as they came."""

    def line(fault: Fault) -> float:
        number = fault.place.rpartition(":")[2]
        return int(number) if number.isdigit() else math.inf

    return sorted(dict.fromkeys(faults), key=line)


def _fields(config: Config, values: Mapping[str, Spec], faults: list[Fault]) -> dict[str, FieldPlan]:
    """Every field that is sound, in the config's order; those that others follow are made first."""
    made: dict[str, FieldPlan] = {}
    followed = {field.follows for field in config.fields}
    for field in sorted(config.fields, key=lambda field: field.follows is not None):
        try:
            plan = _field(field, values, made.get(field.follows or ""), faults)
        except SpecError as error:
            faults.append(Fault(field.place, str(error)))
            continue
        if plan is not None and field.name in followed:
            moving = (n for n, node in enumerate(plan.nodes) if node.step.moves_pixels)
            plan = replace(plan, measured=next(moving, None))
        if plan is not None:
            made[field.name] = plan
    return {field.name: made[field.name] for field in config.fields if field.name in made}


def _batch_nodes(config: Config, fields: Mapping[str, FieldPlan], faults: list[Fault]) -> tuple[BatchNode, ...]:
    """The steps on the finished batch, in order; their faults go to `faults`."""
    nodes: list[BatchNode] = []
    flowing = {field.name: field.spec for field in fields.values()}
    names = [field.name for field in config.fields]
    seen: Counter[str] = Counter()
    packed: set[str] = set()
    for use in config.batch_steps:
        assert isinstance(use.step, BatchStep), "the config lets no other step through"
        wrong = [f"there is no field {name!r}{nearest(name, names)}" for name in use.step.fields if name not in names]
        if not use.step.packs:
            wrong += [
                f"{name}: expected values of one known shape in every record, got {_described(fields[name])}"
                for name in use.step.fields
                if name in fields and (fields[name].optional or not flowing[name].is_fixed)
            ]
        wrong += [
            f"expected no field called {name}, which it makes itself" for name in use.step.entries() if name in names
        ]
        wrong += [f"{name}: nothing can come after text.pack" for name in use.step.fields if name in packed]
        faults += [Fault(use.place, f"{use.name}: {text}") for text in wrong]
        if wrong or not all(name in flowing for name in use.step.fields):
            continue
        takes = tuple(flowing[name] for name in use.step.fields)
        try:
            gives = use.step.out_specs(*takes)
        except UserError as error:
            faults.append(Fault(use.place, f"{use.name}: {error}"))
            continue
        stream = f"batch/{use.name}/{seen[use.name]}" if use.step.variates() else None
        seen[use.name] += 1
        flowing |= zip(use.step.fields, gives, strict=True)
        nodes.append(BatchNode(use.step, use.name, takes, gives, stream))
        packed.update(use.step.fields if use.step.packs else ())
    return tuple(nodes)


def _sorted_by(
    config: Config,
    fields: Mapping[str, FieldPlan],
    values: Mapping[str, Spec],
    batch_nodes: Sequence[BatchNode],
    faults: list[Fault],
) -> str | None:
    """The field whose length is measured; None where none is. What is wrong with it goes to `faults`."""
    wanted = config.batch.buckets
    if wanted is None:
        return None

    def wrong(text: str, place: str = config.batch_place) -> None:
        faults.append(Fault(place, text))

    names = [field.name for field in config.fields]
    if config.batch.tokens is not None and any(node.step.packs for node in batch_nodes):
        wrong("tokens: expected no step that packs, which lays records in rows of its own; take batch.size instead")
    if wanted.column is not None:
        spec = values.get(wanted.column)
        if spec is None:
            wrong(f"column: the source has no value {wanted.column!r}{nearest(wanted.column, values)}")
        elif spec.axes or spec.dtype in ("bytes", "text", "bool") or spec.dtype.startswith("complex"):
            wrong(f"column: expected a value that is one number, got {spec}; a manifest says so in `types`")
        return None
    varying = [name for name, field in fields.items() if field.spec.varying]
    if wanted.by is None and len(varying) != 1:
        if len(fields) == len(names):  # else it may be one of those with faults of their own
            found = f"got {', '.join(varying)}; name one in bucket.by" if varying else "got none"
            wrong(f"bucket: expected one field that differs in size from record to record, {found}")
        return None
    name = wanted.by or varying[0]
    if name not in names:
        wrong(f"by: there is no field {name!r}{nearest(name, names)}")
    elif name in fields and name not in varying:
        wrong(f"by: expected a field that differs in size from record to record, got {name} {fields[name].spec}")
    elif name in fields:
        uses = next(field.steps for field in config.fields if field.name == name)
        for use in (use for use in uses if use.step.draws_sizes):
            wrong(
                f"{use.name}: it draws how long a record becomes, so that records cannot be sorted by the length of "
                f"{name} beforehand; leave it out, or name a number of the source in bucket.column",
                use.place,
            )
        return name
    return None


def _described(field: FieldPlan) -> str:
    return f"{field.spec}{', which is optional' if field.optional else ''}"


def _field(
    config: FieldConfig, values: Mapping[str, Spec], leader: FieldPlan | None, faults: list[Fault]
) -> FieldPlan | None:
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
        stream = f"{config.name}/{use.name}/{seen[use.name]}" if use.step.variates() else None
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
    if leader is not None:
        nodes += _following(leader, flowing[0], config.outside)
    elif config.follows is not None:
        return None
    return FieldPlan(config.name, config.sources, inputs, config.optional, tuple(nodes), seam_of(inputs, nodes))


def _following(leader: FieldPlan, x: Spec, outside: int | None) -> list[Node]:
    """The nodes that take boxes or a mask, given as `x`, through the moving steps of the picture they follow."""
    name = f"follows {leader.name}"
    moving = [n for n, node in enumerate(leader.nodes) if node.step.moves_pixels]
    if not moving:
        raise SpecError(f"{name}: expected steps that move pixels in {leader.name}, it has none to follow")
    picture = leader.spec_before(moving[0])[0]
    if leader.optional or not picture.is_picture:
        raise SpecError(f"{name}: expected a picture that every record has, got {picture}")
    steps = []
    for node in (leader.nodes[n] for n in moving):
        if not isinstance(node.step, MovingStep):
            raise SpecError(f"{name}: nothing can follow {node.name}; leave it out, or boxes and masks")
        steps.append(node.step)
    height, width = picture.size("height"), picture.size("width")
    size = (height, width) if height and width else None
    size_of = None if size else leader.name
    if not x.is_picture:
        if outside is not None:
            raise SpecError(f"{name}: outside: expected a mask, whose class it is, got {x}")
        shares = tuple(node.stream for node in (leader.nodes[n] for n in moving) if node.stream is not None)
        boxes = FollowBoxes(steps=tuple(steps), size=size)
        return [Node(boxes, name, (x,), (boxes.out_spec(x),), None, size_of, shares)]
    if outside is not None and x.range and not x.range[0] <= outside <= x.range[1]:
        raise SpecError(f"{name}: expected outside in [{x.range[0]:g}, {x.range[1]:g}], got {outside}")
    same = SameSize(size=size)
    nodes = [Node(same, name, (x,), (same.out_spec(x),), None, size_of)]
    for number, step in zip(moving, steps, strict=True):
        node, x, mask = leader.nodes[number], nodes[-1].gives[0], step.for_mask(outside or 0)
        nodes.append(Node(mask, node.name, (x,), (mask.out_spec(x),), node.stream))
    return nodes


def _through(use: StepUse, flowing: tuple[Spec, ...]) -> tuple[Spec, ...]:
    if use.step.joins:
        return (use.step.out_spec(*flowing),)
    return tuple(use.step.out_spec(spec) for spec in flowing)


def seam_of(inputs: tuple[Spec, ...], nodes: Sequence[Node]) -> int:
    """The first node from which on everything can run on the stacked batch."""
    flows = [inputs, *(node.gives for node in nodes)]
    seam = len(nodes)
    for number in range(len(nodes), -1, -1):
        if number < len(nodes) and not nodes[number].step.batches:
            break
        if len(flows[number]) == 1 and flows[number][0].is_fixed:
            seam = number
    return seam
