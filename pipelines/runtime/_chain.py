"""The bound kernels of a plan, and one record's way through them.

Both engines use this: PyTorch for every record, TensorFlow to trace its graph, to replay a
record that failed in the graph, and both to `apply` and `explain` one record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipelines.errors import MissingLibrary, PipelineError
from pipelines.native import to_native
from pipelines.plan import FieldPlan, Node, Plan
from pipelines.runtime._clock import Clock, Place
from pipelines.sources._base import Source
from pipelines.spec import PER_RECORD, Spec
from pipelines.step import Kernel, Step

_ASSERTED = re.compile(r"to be true\. Summarized data: b['\"](.*?)['\"]$|^(.+?) Condition x \S+ y did not hold")

Carried = tuple[tuple[Any, Any], ...]
"""What flows between two nodes: (value, sampling rate or None) for each value of the field."""

Sizes = dict[str, Any]
"""Height and width, float64[2], of one record's pictures where other fields begin to follow them, by field."""


class StepFailure(Exception):  # never reaches a user: it becomes a Failure
    """A record failed in a step; carries what the quarantine says of it."""

    def __init__(self, field: str, step: str, reason: str) -> None:
        super().__init__(field, step, reason)
        self.field, self.step, self.reason = field, step, reason


def is_machines_fault(error: BaseException) -> bool:
    """Whether an error is the machine's and not the record's: such an error stops the run."""
    return isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "ResourceExhaustedError")


def reason_of(error: BaseException) -> str:
    """One line that says what went wrong."""
    text = " ".join(str(getattr(error, "message", None) or error).split())
    asserted = _ASSERTED.search(text)
    if asserted:  # a step's own sentence, in TensorFlow's wrapping
        return asserted[1] or asserted[2]
    text = text if len(text) <= 300 else text[:297] + "..."
    return text if isinstance(error, PipelineError) else f"{type(error).__name__}: {text}"


def read_raw(source: Source, index: int, names: Collection[str]) -> dict[str, Any]:
    """A record's raw values; StepFailure when they cannot be read."""
    try:
        raw = source.read(index, names)
        for value in raw.values():
            if isinstance(value, str):
                value.encode()  # TensorFlow holds text as UTF-8, which has no lone surrogates
    except StepFailure:  # in a step whose result is kept
        raise
    except Exception as error:
        if is_machines_fault(error):
            raise
        reason = "text that is not valid Unicode" if isinstance(error, UnicodeEncodeError) else reason_of(error)
        raise StepFailure("", "read", reason) from error
    return raw


class Chain:
    """The kernels of one field in one framework, bound once."""

    def __init__(self, field: FieldPlan, framework: str) -> None:
        self.field = field
        self.framework = framework
        self.clock: Clock | None = None
        self.places = [Place(node.name, "step", field.name) for node in field.nodes]
        try:
            bound = [_bind(node, framework) for node in field.nodes]
            self._calls = [call for call, _ in bound]
            self._plain = [plain for _, plain in bound]
            self._many = [_bind_rows(node, framework) for node in field.nodes[: field.seam]]
            self._pairs = _bind_pairs(field, framework)  # for `run` alone: `walk` tells of each step what it made
        except ModuleNotFoundError as error:
            raise MissingLibrary((error.name or str(error)).partition(".")[0], framework) from error

    def start(self, raw: Mapping[str, Any]) -> Carried:
        """A record's raw NumPy values as tensors of the framework."""
        return tuple(
            (to_native(raw[name], spec, self.framework), None)
            for name, spec in zip(self.field.sources, self.field.inputs, strict=True)
        )

    def run(self, carried: Carried, draws: Callable[[str], Any], start: int, stop: int, sizes: Sizes) -> Carried:
        """Through the nodes [start, stop); `draws` gives a stream's variates, `sizes` is read and written."""
        number = start
        while number < stop:
            if self.clock is not None:
                self.clock.at(self.places[number])
            pair = self._pairs.get(number) if number + 1 < stop else None
            if pair is None:
                carried = self._pass(number, carried, draws, sizes)
            else:
                self._measure(number, carried, sizes)
                stream = self.field.nodes[number + 1].stream
                carried = ((pair(carried[0][0], *([] if stream is None else [draws(stream)])), None),)
            number += 1 if pair is None else 2
        return carried

    def _pass(self, number: int, carried: Carried, draws: Callable[[str], Any], sizes: Sizes) -> Carried:
        """Through one node."""
        node = self.field.nodes[number]
        self._measure(number, carried, sizes)
        if node.stream is not None:
            return self._calls[number](carried, draws(node.stream))
        given = [sizes[node.size_of]] if node.size_of else []
        given += [draws(stream) for stream in node.shares]
        return self._calls[number](carried, joined(given, self.framework) if given else None)

    def _measure(self, number: int, carried: Carried, sizes: Sizes) -> None:
        """Notes the picture's size where other fields begin to follow it."""
        if number == self.field.measured:
            sizes[self.field.name] = picture_size(carried[0][0], self.framework)

    def walk(
        self, raw: Mapping[str, Any], draws: Callable[[str], Any], stop: int | None = None, sizes: Sizes | None = None
    ) -> Iterator[Carried]:
        """One record step by step: what flows before the first node and after each; StepFailure where it fails."""
        name = self.field.name
        try:
            carried = self.start(raw)
        except Exception as error:
            if is_machines_fault(error):
                raise
            raise StepFailure(name, "read", reason_of(error)) from error
        yield carried
        sizes = {} if sizes is None else sizes
        for number, node in enumerate(self.field.nodes[:stop]):
            try:
                carried = self._pass(number, carried, draws, sizes)
            except Exception as error:
                if is_machines_fault(error):
                    raise
                raise StepFailure(name, node.name, reason_of(error)) from error
            yield carried

    def column(
        self, raws: Sequence[Mapping[str, Any]], draws: Sequence[Callable[[str], Any]], sizes: Sequence[Sizes]
    ) -> list[Any]:
        """Many records' values at the seam, None where absent, and a StepFailure in the place of one that failed."""
        held: list[Any] = [self._begun(raw) for raw in raws]
        for number, node in enumerate(self.field.nodes[: self.field.seam]):
            if self.clock is not None:
                self.clock.at(self.places[number])
            live = [i for i, carried in enumerate(held) if isinstance(carried, tuple)]
            passed = number != self.field.measured  # there, _pass takes the picture's size
            many, plain = (self._many[number], self._plain[number]) if passed else (None, None)
            if many is not None and len(live) > 1:
                try:
                    for i, carried in zip(live, many([held[i] for i in live]), strict=True):
                        held[i] = carried
                    continue
                except Exception as error:
                    if is_machines_fault(error):
                        raise  # else it was one of them: which one, each alone will show
            for i in live:
                try:
                    if plain is not None:  # as _pass does it, without what most steps have no need of
                        held[i] = ((plain(held[i][0][0]), None),)
                    else:
                        held[i] = self._pass(number, held[i], draws[i], sizes[i])
                except Exception as error:
                    if is_machines_fault(error):
                        raise
                    held[i] = StepFailure(self.field.name, node.name, reason_of(error))
        return [carried[0][0] if isinstance(carried, tuple) else carried for carried in held]

    @property
    def takes_columns(self) -> bool:
        """Whether `rows` can be called: each node takes many records at once, and so does the way to the first."""
        if self.framework != "tensorflow" or self.field.optional or self.field.measured is not None:
            return False
        return len(self.field.inputs) == 1 and not self.field.inputs[0].axes and None not in self._many

    def rows(self, values: Any) -> Any:
        """Many records' values at the seam, of their raw ones, in a TensorFlow graph: ragged where sizes differ."""
        carried = (values, None)
        for number in range(len(self._many)):
            carried = self.many(number)(carried)
        return carried[0]

    def many(self, number: int) -> Callable[[Any], Any]:
        """The call of node `number` for many records at once, where `takes_columns` says that there is one."""
        many = self._many[number]
        assert many is not None, "takes_columns was asked"
        return many

    def _begun(self, raw: Mapping[str, Any]) -> Carried | StepFailure | None:
        """What flows into the first node; None for an absent value."""
        try:
            return None if self.is_absent(raw) else self.start(raw)
        except StepFailure as failure:
            return failure
        except Exception as error:
            if is_machines_fault(error):
                raise
            return StepFailure(self.field.name, "read", reason_of(error))

    def is_absent(self, raw: Mapping[str, Any]) -> bool:
        """Whether a value of this field is missing; StepFailure when it may not be."""
        missing = [name for name in self.field.sources if raw[name] is None]
        if missing and not self.field.optional:
            raise StepFailure(self.field.name, "read", f"{missing[0]} is absent, and the field is not optional")
        return bool(missing)

    def value(
        self, raw: Mapping[str, Any], draws: Callable[[str], Any], stop: int | None = None, sizes: Sizes | None = None
    ) -> Any:
        """One record's value after node `stop` - 1; None when it is absent."""
        if self.is_absent(raw):
            return None
        carried: Carried = ()
        for carried in self.walk(raw, draws, stop, sizes):  # noqa: B007  # the last one is wanted
            pass
        return carried[0][0]


def bind_plan(plan: Plan, framework: str) -> dict[str, Chain]:
    """Every field's kernels; fields that others follow come before those."""
    ordered = sorted(plan.fields, key=lambda field: field.measured is None)
    return {field.name: Chain(field, framework) for field in ordered}


def picture_size(value: Any, framework: str) -> Any:
    """Height and width of a picture, float64[2], a tensor of the framework."""
    if framework == "torch":
        import torch

        return torch.tensor(value.shape[-2:], dtype=torch.float64)
    import tensorflow as tf

    return tf.cast(tf.shape(value)[-3:-1], tf.float64)


def joined(parts: list[Any], framework: str) -> Any:
    """Sizes and draws one after the other, as one draw."""
    if framework == "torch":
        import torch

        return torch.cat(parts, -1)
    import tensorflow as tf

    return tf.concat(parts, -1)


def serving_draws(plan: Plan) -> dict[str, tuple[float, ...]]:
    """The draw each random step uses when there is no chance: `Step.serving`."""
    return {node.stream: node.step.serving for field in plan.fields for node in field.nodes if node.stream is not None}


def _bind(node: Node, framework: str) -> tuple[Callable[[Carried, Any], Carried], Kernel | None]:
    """A node's call on what flows; and its kernel, where one value flows through it alone, with no rate and no draw."""
    step = node.step
    if step.joins:
        kernel = step.bind(framework, *node.takes)

        def join(carried: Carried, draw: Any) -> Carried:
            values = [value for value, _ in carried]
            return ((kernel(*values, *([] if draw is None else [draw])), None),)

        return join, None
    kernels = [step.bind(framework, takes) for takes in node.takes]
    calls = [_one(step, *way) for way in zip(kernels, node.takes, node.gives, strict=True)]
    has_rate = any(spec.rate_hz == PER_RECORD for spec in (*node.takes, *node.gives))
    alone = len(calls) == 1 and node.stream is None and not node.size_of and not node.shares and not has_rate
    return (
        lambda carried, draw: tuple(call(*pair, draw) for call, pair in zip(calls, carried, strict=True)),
        kernels[0] if alone else None,
    )


def _bind_rows(node: Node, framework: str) -> Callable[[Any], Any] | None:
    """A node's kernel for many records at once, if it has one.

    In torch it takes and gives a list with what flows for each record, in TensorFlow one pair of values and rates.
    """
    step = node.step
    if step.joins or len(node.takes) != 1 or node.stream is not None or node.size_of or node.shares:
        return None
    kernel = step.bind_rows(framework, node.takes[0])
    if kernel is None:
        return None
    hand_rate = step.takes_rate and node.takes[0].rate_hz == PER_RECORD
    get_rate = hand_rate or (step.gives_rate and node.gives[0].rate_hz == PER_RECORD)
    keep_rate = node.gives[0].rate_hz == PER_RECORD

    def in_torch(rows: list[Carried]) -> list[Carried]:
        rates = [carried[0][1] for carried in rows]
        results = kernel([carried[0][0] for carried in rows], *([rates] if hand_rate else []))
        pairs = results if get_rate else zip(results, rates, strict=True)
        return [((value, rate if keep_rate else None),) for value, rate in pairs]

    def in_tensorflow(carried: tuple[Any, Any]) -> tuple[Any, Any]:
        values, rates = carried
        made = kernel(values, *([rates] if hand_rate else []))
        values, rates = made if get_rate else (made, rates)
        return values, rates if keep_rate else None

    return in_torch if framework == "torch" else in_tensorflow


def _bind_pairs(field: FieldPlan, framework: str) -> dict[int, Kernel]:
    """Kernels for a node and the next one together, by the first one's number."""
    found: dict[int, Kernel] = {}
    for number, (node, following) in enumerate(pairwise(field.nodes[: field.seam])):
        plain = not (node.step.joins or node.stream or number - 1 in found or number + 1 == field.measured)
        if plain and len(node.takes) == 1 and not any(n.size_of or n.shares for n in (node, following)):
            kernel = node.step.bind_with(following.step, framework, node.takes[0])
            if kernel is not None:
                found[number] = kernel
    return found


def _one(step: Step, kernel: Kernel, takes: Spec, gives: Spec) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    hand_rate = step.takes_rate and takes.rate_hz == PER_RECORD
    get_rate = hand_rate or (step.gives_rate and gives.rate_hz == PER_RECORD)

    def call(value: Any, rate: Any, draw: Any) -> tuple[Any, Any]:
        result = kernel(value, *([rate] if hand_rate else []), *([] if draw is None else [draw]))
        value, rate = result if get_rate else (result, rate)
        return value, rate if gives.rate_hz == PER_RECORD else None

    return call


@dataclass(frozen=True)
class Trace:
    """One field of one record, step by step: the value before the first step and after each."""

    field: str
    step: str
    spec: Spec
    value: Any
    rate_hz: int | None


def trace(chain: Chain, raw: Mapping[str, Any], draws: Callable[[str], Any], sizes: Sizes) -> Iterator[Trace]:
    """What `explain` shows, nothing for an absent value; raises StepFailure where the record fails."""
    if chain.is_absent(raw):
        return
    for number, carried in enumerate(chain.walk(raw, draws, sizes=sizes)):
        name = chain.field.nodes[number - 1].name if number else "from " + ", ".join(chain.field.sources)
        for (value, rate), spec in zip(carried, chain.field.spec_before(number), strict=True):
            yield Trace(chain.field.name, name, spec, value, None if rate is None else int(rate))
