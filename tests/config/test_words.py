"""Faults of parameters are said in our words, whatever model they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt, field_validator, model_validator

from pipelines.catalog import find_source, find_step, source_names, step_names
from pipelines.config._nodes import Faults, read_data
from pipelines.config._validate import validate
from pipelines.errors import SourceError
from pipelines.sources._base import Source, SourceConfig
from pipelines.step import ConfigPath


class Worded(SourceConfig):
    def open(self) -> Source:
        raise AssertionError("only its parameters are read")


class Part(Worded):
    weight: Annotated[float, Field(gt=0)] = 1.0
    colour: Literal["red", "green"] = "red"


class Model(Worded):
    """Every kind of parameter that a step or source may have."""

    whole: PositiveInt = 1
    below: Annotated[int, Field(lt=10, multiple_of=2)] = 2
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    on: bool = False
    text: Annotated[str, Field(min_length=1, max_length=3)] = "x"
    code: Annotated[str, Field(pattern="^x")] = "x"
    path: ConfigPath = Path("p")
    paths: tuple[ConfigPath, ...] = ()
    names: Annotated[tuple[str, ...], Field(max_length=2)] = ()
    size: tuple[PositiveInt, PositiveInt] = (1, 1)
    choice: Literal["a", "bee"] = "a"
    angle: Literal[0, 90] = 0
    either: PositiveInt | Literal["keep"] = "keep"
    side: PositiveInt | tuple[PositiveInt, PositiveInt] = 1
    maybe: float | None = None
    table: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    other: Annotated[int, Field(alias="in")] = 0

    @field_validator("names")
    @classmethod
    def _no_x(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if "x" in names:
            raise ValueError("'x' is taken")
        if "missing" in names:
            raise SourceError("no file there")
        if "unreadable" in names:
            raise PermissionError(13, "Permission denied", "vocab.txt")
        return names

    @model_validator(mode="after")
    def _together(self) -> Model:
        if self.whole == 7 and self.below == 8:
            raise ValueError("whole=7 does not go with below=8")
        return self


def check(data: Any, model: type[SourceConfig] = Model) -> tuple[SourceConfig | None, list[str]]:
    faults = Faults()
    made = validate(model, read_data(data, faults), "thing", Path("/base"), faults)
    return made, [str(fault).removeprefix("config: ") for fault in faults.sorted()]


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({"share": 1}, {"share": 1.0}),
        ({"path": "a/b"}, {"path": Path("/base/a/b")}),
        ({"paths": ["a", "/c"]}, {"paths": (Path("/base/a"), Path("/c"))}),
        ({"names": ["a", "b"]}, {"names": ("a", "b")}),
        ({"size": [3, 4]}, {"size": (3, 4)}),
        ({"side": [3, 4]}, {"side": (3, 4)}),
        ({"maybe": None}, {"maybe": None}),
        ({"in": 3}, {"other": 3}),
        ({"angle": 90}, {"angle": 90}),
        ({"parts": [{"weight": 2}]}, {"parts": (Part(weight=2),)}),
    ],
)
def test_taken_as_json(given, held):
    made, faults = check(given)
    assert faults == []
    assert made is not None
    assert {name: getattr(made, name) for name in held} == held


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"whole": "3"}, "whole: expected a whole number, got '3'"),
        ({"whole": 1.0}, "whole: expected a whole number, got 1.0"),
        ({"whole": True}, "whole: expected a whole number, got true"),
        ({"whole": None}, "whole: expected a whole number, got null"),
        ({"whole": 0}, "whole=0 must be >= 1"),
        ({"below": 10}, "below=10 must be <= 9"),
        ({"below": 3}, "below=3 must be a multiple of 2"),
        ({"share": 0}, "share=0 must be > 0"),
        ({"share": 1.5}, "share=1.5 must be <= 1"),
        ({"share": True}, "share: expected a number, got true"),
        ({"share": float("inf")}, "share=inf must be finite"),
        ({"share": float("nan")}, "share=nan must be finite"),
        ({"on": 1}, "on: expected true or false, got 1"),
        ({"on": "yes"}, "on: expected true or false, got 'yes'"),
        ({"text": 3}, "text: expected a text, got 3"),
        ({"text": ""}, "text: expected at least 1 character, got 0"),
        ({"text": "long"}, "text: expected at most 3 characters, got 4"),
        ({"code": "y"}, "code: expected a text like ^x, got 'y'"),
        ({"path": 3}, "path: expected a text, got 3"),
        ({"paths": ["a", 3]}, "paths[1]: expected a text, got 3"),
        ({"names": "a"}, "names: expected a list, got 'a'"),
        ({"names": {"a": 1}}, "names: expected a list, got a mapping"),
        ({"names": ["a", "b", "c"]}, "names: expected at most 2 entries, got 3"),
        ({"names": ["x"]}, "names: 'x' is taken"),
        ({"size": [1]}, "missing parameter 'size[1]' of thing"),
        ({"size": [1, 2, 3]}, "size: expected at most 2 entries, got 3"),
        ({"size": [1, 0]}, "size[1]=0 must be >= 1"),
        ({"choice": "be"}, "choice: expected 'a' or 'bee', got 'be'; did you mean 'bee'?"),
        ({"angle": 45}, "angle: expected 0 or 90, got 45"),
        ({"angle": False}, "angle: expected a whole number, got false"),
        ({"angle": 90.0}, "angle: expected a whole number, got 90.0"),
        ({"either": 0}, "either=0 must be >= 1"),
        ({"either": "kep"}, "either: expected a whole number or 'keep', got 'kep'; did you mean 'keep'?"),
        ({"side": [1, "x"]}, "side[1]: expected a whole number, got 'x'"),
        ({"side": "x"}, "side: expected a whole number or a list, got 'x'"),
        ({"maybe": "x"}, "maybe: expected a number, got 'x'"),
        ({"table": [1]}, "table: expected a mapping, got [1]"),
        ({"table": {"a": -1}}, "table.a=-1 must be >= 0"),
        ({"part": 3}, "part: expected a mapping, got 3"),
        ({"part": {"wight": 3}}, "unknown parameter 'part.wight' of thing; did you mean 'weight'?"),
        ({"parts": [{}, {"color": "red"}]}, "unknown parameter 'parts[1].color' of thing; did you mean 'colour'?"),
        ({"parts": [{"weight": 0}]}, "parts[0].weight=0 must be > 0"),
        ({"other": 3}, "unknown parameter 'other' of thing; did you mean 'either'?"),  # it is called `in`
        ({"pathes": []}, "unknown parameter 'pathes' of thing; did you mean 'paths'?"),
    ],
)
def test_one_fault(given, message):
    made, faults = check(given)
    assert made is None
    assert len(faults) == 1
    place, said = faults[0].split(": ", 1)
    assert said == message
    assert place.startswith(next(iter(given)))


def test_faults_between_parameters_stand_at_the_step():
    assert check({"whole": 7, "below": 8}) == (None, ["whole=7 does not go with below=8"])
    assert check({"names": ["missing"]}) == (None, ["thing: no file there"])
    assert check({"names": ["unreadable"]}) == (None, ["thing: cannot read vocab.txt: Permission denied"])


def test_long_values_are_cut():
    (fault,) = check({"whole": "x" * 10_000})[1]
    assert len(fault) < 150
    (fault,) = check({"x" * 10_000: 1})[1]
    assert len(fault) < 11_000 + 600  # the place holds the key; the message does not
    assert fault.endswith("…")


JARGON = ("Input", "Value error", "Assertion", "pydantic", "https:", "validation", "instance of", "NoneType", "Field ")
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 3, 2**40, -0.5, 1.5, 1e300, float("nan"), "", "x", "0", "\u2028", [], [0], ["x"], [["x"]],
    [1, 2, 3], {}, {"x": 1}, {"x": {"x": []}}, [None], [-1, -1], ["a", "a"], "x" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("name", [*step_names(), *source_names()])
def test_every_step_and_source_says_its_faults_in_our_words(name, tmp_path):
    model: Any = find_step(name) if "." in name else find_source(name)
    refused = 0
    for parameter in [*model.model_fields, "unknown"]:
        for value in ODD:
            faults = Faults()
            made = validate(model, read_data({parameter: value}, faults), name, tmp_path, faults)
            assert (made is None) == (len(faults) > 0)
            refused += made is None
            for fault in faults.sorted():
                assert not [word for word in JARGON if word in fault.message], fault
                assert len(fault.message) < 600
    assert refused >= len(ODD)  # at least each value of the unknown parameter
