"""Class names to numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from pipelines.errors import RecordError, SpecError, nearest
from pipelines.spec import TEXT, Axis, Spec
from pipelines.step import Example, HostStep, Identical, Kernel


class Index(HostStep):
    """The position of a class name in the list of classes.

    Takes  text[...]    a name, or several
    Gives  int64[...]   in [0, len(classes) - 1]

    A name that is not in the list fails the record.
    Source: none, a table look-up; a host step in both frameworks.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=1)]

    agreement = Identical("a table look-up")
    examples = (
        Example(
            TEXT, {"classes": ["cat", "dog", "Straße"]}, lambda rng: rng.choice(["cat", "dog", "Straße"], 5).tolist()
        ),
        Example(
            Spec("text", (Axis("item"),)),
            {"classes": ["cat", "dog"]},
            lambda rng: [rng.choice(["cat", "dog"], n).tolist() for n in (3, 0, 1)],
        ),
    )

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted(name for name, times in Counter(classes).items() if times > 1)
        if twice:
            raise ValueError(f"each class may stand once, {twice[0]!r} stands twice")
        return classes

    def naming(self) -> Callable[[int], str]:
        return self.classes.__getitem__

    def out_spec(self, x: Spec) -> Spec:
        x.need(("text",))
        if len(x.axes) > 1:
            raise SpecError(f"expected a name, or names along one axis, got {x}")
        return Spec("int64", x.axes, "class", (0, len(self.classes) - 1))

    def bind_numpy(self, x: Spec) -> Kernel:
        numbers = {name: np.int64(i) for i, name in enumerate(self.classes)}

        def number(name: str) -> np.int64:
            if name not in numbers:
                raise RecordError(
                    f"{name!r} is not one of the {len(numbers)} classes{nearest(name, _some(self.classes))}"
                )
            return numbers[name]

        if not x.axes:
            return number
        return lambda names: np.array([number(name) for name in names], np.int64)


def _some(classes: Sequence[str]) -> Sequence[str]:
    return classes[:1000]  # close matches among more would take longer than the record itself
