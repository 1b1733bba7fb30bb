"""What is written is what is read back, bit for bit, in every format."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sinks.cases import DTYPES, FIELDS, FORMATS, assert_same, records, same, write

from pipelines.errors import PipelineError, RecordError
from pipelines.sinks._values import check_fields
from pipelines.spec import BYTES, TEXT, Axis, Spec


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Any spec that can be stored."""
    optional = draw(st.booleans())
    sizes = draw(st.lists(st.none() | st.integers(0, 3), max_size=3))
    dtype = draw(st.sampled_from((*DTYPES, "text", "bytes")))
    if dtype in ("text", "bytes"):
        sizes = sizes[: dtype == "text"]
    return Spec(dtype, tuple(Axis(f"axis{i}", size) for i, size in enumerate(sizes)), optional=optional)


@st.composite
def value(draw: st.DrawFn, spec: Spec) -> Any:
    """Any value of a spec."""
    if spec.optional and draw(st.booleans()):
        return None
    shape = tuple(draw(st.integers(0, 4)) if size is None else size for size in spec.shape)
    if spec.is_numeric:
        return draw(hnp.arrays(np.dtype(spec.dtype), shape))
    if spec.dtype == "bytes":
        return draw(st.binary(max_size=6))
    one = st.text(max_size=6)
    return draw(st.lists(one, min_size=shape[0], max_size=shape[0]) if spec.axes else one)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Spec], list[dict[str, Any]]]:
    """Fields and a few records of them."""
    fields = {f"field{i}": draw(specs()) for i in range(draw(st.integers(1, 4)))}
    rows = [
        {"key": draw(st.text(max_size=8)), "index": draw(st.integers(0, 2**40))}
        | {name: draw(value(spec)) for name, spec in fields.items()}
        for _ in range(draw(st.integers(1, 4)))
    ]
    return fields, rows


@pytest.mark.parametrize("format_name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(tables())
def test_any_record(format_name: str, table: tuple[dict[str, Spec], list[dict[str, Any]]]) -> None:
    fields, rows = table
    with tempfile.TemporaryDirectory() as folder:
        reader = write(Path(folder, "a"), format_name, fields, rows)
        write(Path(folder, "b"), format_name, fields, rows)
        assert Path(folder, "a").read_bytes() == Path(folder, "b").read_bytes()
        assert len(reader) == len(rows)
        for number in reversed(range(len(rows))):
            assert_same(reader.read(number, list(rows[number])), rows[number])


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_kind(format_name: str, tmp_path: Path) -> None:
    rows = records()
    reader = write(tmp_path / "x", format_name, FIELDS, rows)
    for number in (3, 0, 5, 1, 4, 2):
        assert_same(reader.read(number, ["key", "index", *FIELDS]), rows[number])
        assert same(reader.read(number, ["wave"])["wave"], rows[number]["wave"])


@pytest.mark.parametrize("format_name", FORMATS)
def test_any_order_of_strides_gives_the_same_bytes(format_name: str, tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    fields = {"x": Spec("float32", (Axis("a", 3), Axis("b", 4)))}
    for name, held in (("c", array), ("f", np.asfortranarray(array)), ("view", np.repeat(array, 2, 0)[::2])):
        write(tmp_path / name, format_name, fields, [{"key": "k", "index": 0, "x": held}])
    found = {(tmp_path / name).read_bytes() for name in ("c", "f", "view")}
    assert len(found) == 1


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(
    ("spec", "bad"),
    [
        (Spec("float32", (Axis("a", 3),)), np.zeros(3)),
        (Spec("float32", (Axis("a", 3),)), np.zeros(4, np.float32)),
        (Spec("float32", (Axis("a"),)), np.zeros((1, 4), np.float32)),
        (Spec("float32"), None),
        (Spec("text", (Axis("token"),)), "abc"),
    ],
    ids=["dtype", "size", "axes", "absent", "a string for tokens"],
)
def test_a_value_that_its_spec_does_not_describe_is_never_written(
    format_name: str, spec: Spec, bad: Any, tmp_path: Path
) -> None:
    with pytest.raises(PipelineError, match="x: expected"):
        write(tmp_path / "x", format_name, {"x": spec}, [{"key": "k", "index": 0, "x": bad}])


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("row", [{"key": "k\ud800", "x": ""}, {"key": "k", "x": "\udcff"}])
def test_half_a_surrogate_pair_fails_the_record(format_name: str, row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no Unicode text"):
        write(tmp_path / "x", format_name, {"x": TEXT}, [{"index": 0, **row}])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"a.b": TEXT}, "a name of letters"),
        ({"": TEXT}, "a name of letters"),
        ({"key": TEXT}, "one name"),
        ({"Index": TEXT}, "one name"),
        ({"a": TEXT, "A": BYTES}, "one name"),
        ({"x": Spec("text", (Axis("a"), Axis("b")))}, "one axis of text"),
        ({"x": Spec("float32", (Axis("time"),), rate_hz="per record")}, "audio.resample"),
        ({"x": Spec("object")}, "expected numbers"),
        ({"x": Spec("no_such_dtype")}, "expected numbers"),
    ],
)
def test_fields_that_cannot_be_stored(fields: dict[str, Spec], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_fields(fields)


@given(specs(), st.sampled_from([None, (0.0, 1.0), (float("-inf"), float("inf"))]), st.sampled_from([None, 8000]))
def test_specs_as_json(spec: Spec, bounds: tuple[float, float] | None, rate_hz: int | None) -> None:
    wanted = spec.but(range=bounds, rate_hz=rate_hz, unit="µPa")
    assert Spec.from_json(wanted.to_json()) == wanted
