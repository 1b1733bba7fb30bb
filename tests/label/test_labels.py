"""Class names to numbers, and numbers to vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import RecordError, SpecError
from pipelines.label import Index, MultiHot, OneHot
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT, Axis, Spec
from pipelines.step import Step

NUMBER = Spec("int64", (), "class")


def apply(framework: str, step: Step, value: Any, spec: Spec) -> Any:
    """One value through a step, as NumPy."""
    return to_numpy(step.bind(framework, spec)(to_native(value, spec, framework)), step.out_spec(spec))


def test_index_is_the_place_in_the_list(framework: str) -> None:
    step = Index(classes=("cat", "Straße", "dog"))
    assert [int(apply(framework, step, name, TEXT)) for name in ("dog", "cat", "Straße")] == [2, 0, 1]
    assert step.out_spec(TEXT).range == (0, 2)


def test_an_unknown_class_fails_the_record(framework: str) -> None:
    with pytest.raises(Exception, match=r"'dig' is not one of the 2 classes; did you mean 'dog'\?"):
        apply(framework, Index(classes=("cat", "dog")), "dig", TEXT)


def test_index_and_one_hot_fit_together(framework: str) -> None:
    index, hot = Index(classes=("cat", "dog", "owl")), OneHot(classes=3)
    spec = index.out_spec(TEXT)
    vector = apply(framework, hot, apply(framework, index, "owl", TEXT), spec)
    assert (vector.dtype, vector.tolist()) == (np.float32, [0, 0, 1])
    assert hot.out_spec(spec) == Spec("float32", (Axis("class", 3),), "", (0.0, 1.0))


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_one_hot_is_rows_of_the_unit_matrix(framework: str, dtype: str, shape: tuple[int, ...]) -> None:
    spec = Spec(dtype, tuple(Axis(f"axis{i}") for i in range(len(shape))))
    numbers = np.random.default_rng(0).integers(0, 7, shape).astype(dtype)
    found = apply(framework, OneHot(classes=7), numbers, spec)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.eye(7, dtype=np.float32)[numbers.astype(np.int64)])


def test_names_of_several_labels_become_one_vector(framework: str) -> None:
    names = Spec("text", (Axis("item"),))
    index, hot = Index(classes=("cat", "dog", "owl")), MultiHot(classes=3)
    for given, wanted in ((["owl", "cat"], [1, 0, 1]), ([], [0, 0, 0]), (["dog", "dog"], [0, 1, 0])):
        numbers = apply(framework, index, given, names)
        assert apply(framework, hot, numbers, index.out_spec(names)).tolist() == wanted
    with pytest.raises(SpecError, match="one_hot takes a single one"):
        hot.out_spec(NUMBER)


def test_the_encoding_is_keras(framework: str) -> None:
    import keras

    spec = Spec("int64", (Axis("row", 4), Axis("item", 3)))
    numbers = np.random.default_rng(2).integers(0, 6, (4, 3))
    wanted = keras.layers.CategoryEncoding(6, output_mode="multi_hot")(numbers)
    np.testing.assert_array_equal(apply(framework, MultiHot(classes=6), numbers, spec), np.asarray(wanted))
    with pytest.raises(Exception, match=r"outside \[0, 4\]"):
        apply(framework, MultiHot(classes=5), numbers * 0 + 5, spec)


@pytest.mark.parametrize("number", [-1, 3, 2**40])
def test_a_number_that_is_no_class_fails_the_record(framework: str, number: int) -> None:
    import tensorflow as tf

    with pytest.raises((RecordError, tf.errors.InvalidArgumentError), match=r"outside \[0, 2\]"):
        apply(framework, OneHot(classes=3), np.int64(number), NUMBER)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NUMBER.but(range=(0, 3)), "classes=3 must be above every class number"),
        (NUMBER.but(range=(-1, 2)), "classes=3 must be above every class number"),
        (Spec("float32"), "expected int64 or"),
        (TEXT, "expected int64 or"),
    ],
)
def test_seams(spec: Spec, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OneHot(classes=3).out_spec(spec)


def test_parameters() -> None:
    for classes in (0, -1, 1.5, "many"):
        with pytest.raises(ValidationError):
            OneHot(classes=classes)
    with pytest.raises(ValidationError, match="'a' stands twice"):
        Index(classes=("a", "b", "a"))
