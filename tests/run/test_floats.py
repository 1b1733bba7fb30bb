"""`batch.floats`: values rounded when all steps are done, alike in both frameworks, in a batch and by `apply`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from run.fakes import fake

from pipelines.errors import UserError
from pipelines.native import to_numpy
from pipelines.pipeline import Pipeline

FIELDS: dict[str, Any] = {
    "picture": {"from": "picture", "steps": [{"image.normalize": {"mean": 0.4, "std": 0.3}}]},
    "class": {
        "from": "label",
        "steps": [{"label.index": {"classes": ["cat", "dog"]}}, {"label.one_hot": {"classes": 2}}],
    },
    "wave": {"from": "wave"},
    "number": {"from": "number"},
}
MIXED = {"batch_steps": [{"image.mixup": {"fields": ["picture", "class"]}}]}


def made(framework: str, floats: str, **sections: Any) -> Pipeline:
    return fake(framework, lost=(), fields=FIELDS, batch={"size": 4, "floats": floats}, **sections)


def to_even(values: np.ndarray[Any, Any], floats: str) -> np.ndarray[Any, Any]:
    """float32 rounded to the nearest float16, or bfloat16 (the upper half of its bits), ties to even."""
    if floats == "float16":
        return values.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("floats", ["float16", "bfloat16"])
@pytest.mark.parametrize("sections", [{}, MIXED], ids=["plain", "mixed"])
def test_what_is_delivered_is_the_float32_value_rounded_to_even(
    framework: str, floats: str, sections: dict[str, Any]
) -> None:
    whole, half = made(framework, "float32", **sections), made(framework, floats, **sections)
    assert {name: spec.dtype for name, spec in half.plan.specs.items()} == {
        "picture": floats, "class": floats, "wave": floats, "number": "int64",
    }  # fmt: skip
    for a, b in zip(whole, half, strict=True):
        for name, spec in whole.plan.specs.items():
            dtype = str(b[name].dtype)
            assert (floats if spec.dtype == "float32" else spec.dtype) in dtype
            wanted = to_numpy(a[name], spec)
            wanted = to_even(wanted, floats) if spec.dtype == "float32" else wanted
            np.testing.assert_array_equal(to_numpy(b[name], half.plan.specs[name]).astype(wanted.dtype), wanted)


@pytest.mark.parametrize("floats", ["float16", "bfloat16"])
def test_apply_gives_the_same_floats(framework: str, floats: str) -> None:
    raw = {"wave": np.linspace(-1, 1, 7, dtype=np.float32)}
    pipe = made(framework, floats)
    given = pipe.apply(raw)["wave"]
    assert floats in str(given.dtype)
    found = to_numpy(given, pipe.plan.specs["wave"]).astype(np.float32)
    np.testing.assert_array_equal(found, to_even(raw["wave"], floats))


def test_values_known_to_be_too_large_are_refused() -> None:
    fields = {"picture": {"from": "picture", "steps": [{"image.normalize": {"std": 1e-6}}]}}
    with pytest.raises(UserError, match="picture: float16 holds numbers up to 65504"):
        fake("torch", fields=fields, batch={"size": 4, "floats": "float16"})
    fake("torch", fields=fields, batch={"size": 4, "floats": "bfloat16"})
