"""Records that fit a spec: odd sizes, values over the whole range, text in many scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.spec import PER_RECORD, Axis, Spec

RECORDS = 3
RATES = (8000, 11025, 44100)
TEXTS = (
    "The quick brown fox can't jump 32.3 feet, right?",
    "Größe, naïve façade: ÅNGSTRÖM œuvre ﬁn",
    "Съешь же ещё этих мягких французских булок",
    "我能吞下玻璃而不傷身體。ガラスを食べられます",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني",
    "मैं काँच खा सकता हूँ और मुझे उससे कोई चोट नहीं पहुंचती",
    "e\u0301 \u00a0tabs\tand\nlines \u200bzero \U0001f469\u200d\U0001f680 $5 <b>[UNK]</b>",
    "ὁ Σίσυφος ΟΔΟΣ İstanbul ſtraße",
)
WORDS = ("the", "Größe", "мир", "世", "##ing", "don't", "नमस्ते", "\U0001f680", "<unk>", "a")
# sizes of an open axis in the first, second and third record: odd, different, none a multiple of a block or a hop
SIZES = {"time": (1601, 2003, 4001), "height": (17, 23, 31), "width": (11, 37, 13), "channel": (1, 2, 3)}
OTHER_SIZES = (7, 13, 5)


@dataclass(frozen=True)
class Record:
    """What one call of a kernel is handed, as NumPy holds it."""

    value: Any
    rate_hz: int = RATES[0]
    draw: np.ndarray[Any, Any] | None = None


def closed(spec: Spec, which: int = 0) -> Spec:
    """`spec` with its open axes given odd sizes, and one rate, so that its records can be stacked."""
    axes = tuple(a if a.size is not None else Axis(a.name, SIZES.get(a.name, OTHER_SIZES)[which]) for a in spec.axes)
    return spec.but(axes=axes, rate_hz=RATES[which] if spec.rate_hz == PER_RECORD else spec.rate_hz)


def sized(spec: Spec, axis: int, size: int) -> Spec:
    """`spec` with one open axis given `size` and the others odd sizes."""
    axes = list(closed(spec).axes)
    axes[axis] = replace(axes[axis], size=size)
    return spec.but(axes=tuple(axes))


def draw_value(spec: Spec, rng: np.random.Generator) -> Any:
    """One value of `spec`, whose axes are all of a known size."""
    shape = tuple(size or 0 for size in spec.shape)
    if spec.dtype == "text":
        return str(rng.choice(TEXTS)) if not shape else [str(w) for w in rng.choice(WORDS, shape[0])]
    if spec.dtype == "bytes":
        raise AssertionError("an example that takes encoded files must give its own `values`")
    kind = np.dtype(spec.dtype).kind
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind == "c":
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(spec.dtype)
    if kind == "f":
        low, high = spec.range or (-np.inf, np.inf)
        bounded = np.isfinite(low) and np.isfinite(high)
        values = rng.uniform(low, high, shape) if bounded else np.clip(rng.normal(size=shape), low, high)
        return np.asarray(values, dtype=spec.dtype)
    low, high = spec.range or (0, 99)
    return np.asarray(rng.integers(int(low), int(high), shape, endpoint=True), dtype=spec.dtype)


def draw_records(spec: Spec, rng: np.random.Generator) -> list[Any]:
    """Values of `spec`: a text in every script, or RECORDS arrays of different sizes."""
    if spec.dtype == "text" and not spec.axes:
        return list(TEXTS)
    return [draw_value(closed(spec, i), rng) for i in range(RECORDS)]


def edge_values(spec: Spec, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
    """Empty and length-1 values of `spec`, each with what it is."""
    if spec.dtype == "bytes":
        yield from (("an empty file", b""), ("a file of one byte", b"\0"))
    elif spec.dtype == "text" and not spec.axes:
        yield from (("an empty text", ""), ("a text of one letter", "a"), ("a text of one space", " "))
    else:
        for i in spec.varying:
            for size in (0, 1):
                yield f"{spec.axes[i].name} of size {size}", draw_value(sized(spec, i, size), rng)
        if len(spec.varying) > 1:
            ones = spec.but(axes=tuple(Axis(a.name, 1 if a.size is None else a.size) for a in spec.axes))
            yield "all open axes of size 1", draw_value(ones, rng)


def draws(count: int, variates: int, rng: np.random.Generator) -> Sequence[np.ndarray[Any, Any] | None]:
    """A draw for each of `count` records, as the control stream makes them; None for a step without chance."""
    if not variates:
        return [None] * count
    return list(rng.integers(0, 2**32, (count, variates)) * 2.0**-32)
