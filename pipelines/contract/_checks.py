"""The contract of a step, one function a promise; each raises AssertionError saying what is wrong.

They take a Case, so that test_meta.py can feed them steps that are wrong on purpose.
"""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import types
import typing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from ruamel.yaml import YAML

from pipelines.contract._harness import Bound, Case, Result, numbers
from pipelines.contract._values import RATES, Record, edge_values
from pipelines.errors import SpecError
from pipelines.spec import BYTES, FRAMEWORKS, TEXT, Axis, Spec, picture, waveform
from pipelines.step import Agreement, HostStep, Identical, Step, difference

FAULTS = (TypeError, AttributeError, NameError)  # a mistake in the kernel rather than in the record
LAST = 1 - 2.0**-32  # the largest variate there is
SPECS = (
    BYTES,
    TEXT,
    Spec("text", (Axis("token"),)),
    Spec("int64"),
    Spec("int64", (Axis("token"),)),
    Spec("complex64", (Axis("frequency"), Axis("frame"))),
    waveform(8000),
    waveform(None),
    picture(),
    picture(17, 11, 1, "float32"),
)


def compare(a: Result, b: Result, agreement: Agreement, what: str) -> None:
    """Whether two results agree, in value, type and rate."""
    if a.rate_hz != b.rate_hz:
        raise AssertionError(f"{what}: rates {a.rate_hz} and {b.rate_hz}")
    if not isinstance(a.value, np.ndarray):
        if a.value != b.value:
            raise AssertionError(f"{what}: {a.value!r} and {b.value!r}")
        return
    if a.value.shape != b.value.shape or a.value.dtype != b.value.dtype:
        kinds = [f"{v.dtype}{list(v.shape)}" for v in (a.value, b.value)]
        raise AssertionError(f"{what}: {kinds[0]} and {kinds[1]}")
    wrong = agreement.excess(a.value, b.value)
    if wrong:
        raise AssertionError(f"{what}: {wrong}")


# 1. what a step says of itself


def check_described(cls: type[Step]) -> None:
    """There are examples that between them use every value of every choice, and the agreement has a reason."""
    if not cls.examples:
        raise AssertionError("no examples")
    if not cls.agreement.why:
        raise AssertionError("the agreement gives no reason (why)")
    steps = [Case(cls, number).step for number in numbers(cls)]
    for name, info in cls.model_fields.items():
        tried = [getattr(step, name) for step in steps] + [e.params.get(name) for e in cls.examples if e.needs]
        unused = [choice for choice in choices(info.annotation) if choice not in tried]
        if unused:
            raise AssertionError(f"no example has {name} of {', '.join(sorted(map(repr, unused)))}")


def choices(annotation: Any) -> Iterator[Any]:
    """The values that Literals in an annotation name."""
    if typing.get_origin(annotation) is Literal:
        yield from typing.get_args(annotation)
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for part in typing.get_args(annotation):
            yield from choices(part)


def check_bindings_exist(cls: type[Step], one_is_enough: bool = False) -> None:
    """The binding in each framework that the step runs in is written, and both are called the same way.

    Unless `one_is_enough`, a step with one binding has to say in words of its own that it runs in one framework.
    """
    known = {f for number in numbers(cls) for f in Case(cls, number).step.frameworks} or set(FRAMEWORKS)
    if cls.frameworks is Step.frameworks and not one_is_enough:
        known = set(FRAMEWORKS)
    for name in (*(f"bind_{framework}" for framework in sorted(known)), "out_spec"):
        if getattr(cls, name) is getattr(Step, name):
            raise AssertionError(f"{name} is missing")
    torch, tensorflow = (list(inspect.signature(getattr(cls, f"bind_{f}")).parameters) for f in FRAMEWORKS)
    if torch != tensorflow:
        raise AssertionError(f"bind_torch takes {torch}, bind_tensorflow {tensorflow}")


def check_refuses(case: Case) -> None:
    """A spec that the step cannot take is refused with SpecError and nothing else."""
    refused = 0
    tried: list[tuple[Spec, ...]] = [(spec,) * len(case.specs) for spec in SPECS]
    if case.cls.joins:  # and another number of values, or one of them of another kind
        tried += [case.specs[:-1], (*case.specs, case.specs[0]), *((*case.specs[:-1], spec) for spec in SPECS)]
    for specs in tried:
        try:
            case.step.out_spec(*specs)
        except SpecError:
            refused += 1
        except Exception as error:
            shown = " and ".join(map(str, specs))
            raise AssertionError(f"out_spec of {shown} raised {error!r}, expected SpecError") from error
    if not refused:
        raise AssertionError("out_spec takes anything: text, files, sounds and pictures")


# 2. both frameworks give the same


def check_agreement(case: Case) -> None:
    """Both bindings succeed on every record of the example and agree; where they are one, to the last bit."""
    torch, tensorflow = case.both()
    agreement = Identical("one binding") if isinstance(case.step, HostStep) else case.agreement
    for i, record in enumerate(case.records):
        compare(torch.run(record), tensorflow.run(record), agreement, f"record {i}, torch against tensorflow")


# 3. out_spec tells the truth


def check_truth(case: Case, framework: str) -> None:
    """Type, number and sizes of axes, range and rate of every result are those of out_spec."""
    bound = case.bound(framework)
    for i, record in enumerate(case.records):
        result = bound.run(record)
        truthful(bound, result, f"record {i}")
        given = record.value if case.cls.joins else (record.value,)
        if all(isinstance(value, np.ndarray) for value in (*given, result.value)):
            finite = np.isfinite(result.value)
            if not finite.all():
                raise AssertionError(f"record {i}: {np.mean(~finite):.2%} of the values are not finite")


def truthful(bound: Bound, result: Result, what: str) -> None:
    """Whether one result is what out_spec says."""
    out, native, value = bound.out, result.native, result.value
    if not out.is_numeric:
        kind = str if out.dtype == "text" else bytes
        listed = isinstance(value, list) and all(isinstance(v, kind) for v in value)
        if not (listed if out.axes else isinstance(value, kind)):
            raise AssertionError(f"{what}: expected {out}, got {value!r}")
        return
    if not type(native).__module__.startswith(("torch", "tensorflow")):
        raise AssertionError(f"{what}: expected a tensor, got {type(native).__name__}")
    if value.dtype.name != out.dtype:
        raise AssertionError(f"{what}: expected {out}, got {value.dtype}")
    if len(value.shape) != len(out.axes) or any(
        s not in (None, n) for s, n in zip(out.shape, value.shape, strict=True)
    ):
        raise AssertionError(f"{what}: expected {out}, got shape {list(value.shape)}")
    if bound.gives_rate and out.rate_hz not in ("per record", result.rate_hz):
        raise AssertionError(f"{what}: expected {out.rate_hz} Hz, got {result.rate_hz}")
    finite = value[np.isfinite(value)]
    if out.range and finite.size:
        low, high = float(np.min(finite)), float(np.max(finite))
        rounding = 1e-6 if value.dtype.kind == "f" else 0.0  # of a float32 value at the end of the range
        slack = [rounding * abs(end) if np.isfinite(end) else 0.0 for end in out.range]
        if low < out.range[0] - slack[0] or high > out.range[1] + slack[1]:
            raise AssertionError(f"{what}: expected values in {list(out.range)}, got [{low:.9g}, {high:.9g}]")


# 4. one record and a batch are the same


def check_batch(case: Case, framework: str) -> None:
    """A batch of three equals three singles, each with its own draw."""
    found = case.stackable()
    if found is None:
        return
    spec, records = found
    bound = case.bound(framework, spec)
    together = bound.kernel(*bound.batch(records))
    if len(together) != len(records):
        raise AssertionError(f"a batch of {len(records)} gave {len(together)}")
    for i, record in enumerate(records):
        compare(bound.result(together[i]), bound.run(record), case.agreement, f"row {i} against the record alone")


# 5. odd, short and empty values


def check_edges(case: Case) -> None:
    """On empty and length-1 values both frameworks succeed and agree, or both fail."""
    rng = case.rng("edges")
    torch, tensorflow = case.both()
    draw = case.records[0].draw
    for what, value in _edges(case, rng):
        record = Record(value, RATES[0], draw)
        a, b = torch.attempt(record), tensorflow.attempt(record)
        for error, framework in ((a, "torch"), (b, "tensorflow")):
            if isinstance(error, FAULTS):
                raise AssertionError(f"{what}: {framework} raised {error!r}") from error
        if isinstance(a, Exception) and isinstance(b, Exception):
            continue
        if isinstance(a, Exception) or isinstance(b, Exception):
            shown = [repr(r)[:300] if isinstance(r, Exception) else f"gives {np.shape(r.value)}" for r in (a, b)]
            raise AssertionError(f"{what}: torch {shown[0]}, tensorflow {shown[1]}")
        truthful(torch, a, f"{what}, torch")
        truthful(tensorflow, b, f"{what}, tensorflow")
        compare(a, b, case.agreement, f"{what}, torch against tensorflow")


def _edges(case: Case, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
    """Edge values of a case; of a step that joins, each value in turn and then all of them at once."""
    if not case.cls.joins:
        yield from edge_values(case.specs[0], rng)
        return
    usual = case.records[0].value
    every = [list(edge_values(spec, rng)) for spec in case.specs]
    for n, edges in enumerate(every):
        yield from ((f"value {n}: {what}", (*usual[:n], value, *usual[n + 1 :])) for what, value in edges)
    for edges in zip(*every, strict=False):
        yield "; ".join(what for what, _ in edges), tuple(value for _, value in edges)


# 6. the input stays as it was


def check_unmutated(case: Case, framework: str) -> None:
    """The kernel leaves its arguments as they were."""
    bound = case.bound(framework)
    for i, record in enumerate(case.records):
        given = bound.arguments(record)
        before = [copy.deepcopy(_plain(a)) for a in given]
        bound.kernel(*given)
        for was, now in zip(before, map(_plain, given), strict=True):
            same = np.array_equal(was, now) if isinstance(was, np.ndarray) else was == now
            if not same:
                raise AssertionError(f"record {i}: the kernel changed its argument")


def _plain(argument: Any) -> Any:
    return argument.numpy() if hasattr(argument, "numpy") else argument


# 7. a step is a value


def check_value(case: Case) -> None:
    """The step hashes, pickles and equals itself after a trip through YAML."""
    step = case.step
    if pickle.loads(pickle.dumps(step)) != step or hash(pickle.loads(pickle.dumps(step))) != hash(step):
        raise AssertionError("not the same after pickling")
    text = io.StringIO()
    YAML(typ="safe").dump(step.model_dump(mode="json"), text)
    if case.cls.model_validate(YAML(typ="safe").load(text.getvalue())) != step:
        raise AssertionError(f"not the same after a trip through YAML:\n{text.getvalue()}")


# 8. kernels are shared by threads


def check_threads(case: Case, framework: str) -> None:
    """Results from two threads at once are those of one alone, bit for bit."""
    bound = case.bound(framework)
    alone = [bound.run(record) for record in case.records]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(bound.run, case.records[i]) for i in [*range(len(alone))] * 2]
        for i, job in enumerate(jobs):
            n = i % len(alone)
            compare(job.result(), alone[n], Identical(), f"record {n}, two threads against one")


# 9. chance


def check_chance(case: Case) -> None:
    """The kernel is a pure function of the draw, also at its ends, and `serving` is a draw."""
    count = case.step.variates()
    if count == 0:
        return
    serving = case.cls.serving
    if len(serving) != count or not all(0 <= v <= 1 for v in serving):
        raise AssertionError(f"serving is {serving}, expected {count} variates in [0, 1]")
    torch, tensorflow = case.both()
    value = case.records[0].value
    sizes: set[tuple[int, ...]] = set()
    ends = {"all 0": np.zeros(count), "all 1 - 2^-32": np.full(count, LAST), "serving": np.array(serving)}
    for what, draw in ends.items():
        results = [bound.run(Record(value, draw=draw)) for bound in (torch, tensorflow)]
        for bound, result in zip((torch, tensorflow), results, strict=True):
            truthful(bound, result, f"draw {what}, {bound.framework}")
            compare(bound.run(Record(value, draw=draw)), result, Identical(), f"draw {what}, {bound.framework}, twice")
        compare(results[0], results[1], case.agreement, f"draw {what}, torch against tensorflow")
        sizes.add(np.shape(results[0].value))
    if len(sizes) > 1 and not case.cls.draws_sizes:
        raise AssertionError(f"the draw decides the size, and draws_sizes does not say so: {sorted(sizes)}")


def check_chance_matters(cls: type[Step]) -> None:
    """In at least one example of a random step the draw changes the result."""
    random = [case for case in (Case(cls, n) for n in numbers(cls)) if case.step.variates()]
    for case in random:
        bound, rng, record = case.bound("torch"), case.rng("matters"), case.records[0]
        results = [bound.run(Record(record.value, draw=rng.random(case.step.variates()))).value for _ in range(8)]
        if any(difference(np.asarray(results[0]), np.asarray(r)) for r in results[1:]):
            return
    if random:
        raise AssertionError("eight draws gave eight equal results in every example")


# 10. TensorFlow kernels in a graph


def check_graph(case: Case) -> None:
    """In a tf.data graph with open dimensions the sizes of out_spec are known and values equal the eager ones."""
    if "tensorflow" not in case.step.frameworks:
        return
    import tensorflow as tf

    bound = case.bound("tensorflow")
    fed = [tuple(bound.arguments(record)) for record in case.records]
    values = [tf.TensorSpec(s.shape, tf.as_dtype(s.dtype) if s.is_numeric else tf.string) for s in bound.specs]
    signature = (*values, *(tf.TensorSpec(a.shape, a.dtype) for a in fed[0][len(values) :]))
    dataset = tf.data.Dataset.from_generator(lambda: iter(fed), output_signature=signature)
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.map(bound.kernel, num_parallel_calls=2, deterministic=True).with_options(options)
    static = dataset.element_spec[0] if bound.gives_rate else dataset.element_spec
    if static.shape.rank != len(bound.out.axes):
        raise AssertionError(f"in a graph: expected {bound.out}, got {static}")
    for size, axis in zip(static.shape, bound.out.axes, strict=True):
        if axis.size is not None and size != axis.size:
            raise AssertionError(f"in a graph: expected {bound.out}, got {static}")
    results = list(dataset)
    if len(results) != len(fed):
        raise AssertionError(f"{len(fed)} records went into the graph, {len(results)} came out")
    for i, (result, record) in enumerate(zip(results, case.records, strict=True)):
        compare(bound.result(result), bound.run(record), case.agreement, f"record {i}, graph against eager")
