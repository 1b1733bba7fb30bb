"""The YAML of a config: YAML 1.2, bounded, and every fault with its line."""

from __future__ import annotations

import math
import time

import pytest
from ruamel.yaml import YAML

from pipelines.config._nodes import Faults, Place
from pipelines.config._yaml import read_yaml
from pipelines.errors import ConfigError


def read(text: str):
    """The data in a YAML text and its faults, as `line: message`."""
    faults = Faults()
    node = read_yaml(text, lambda line: Place(str(line), line), faults)
    return node.plain, [str(fault) for fault in faults.sorted()]


# the examples of YAML 1.2.2, 10.3.2 (core schema), and what YAML 1.1 reads otherwise
@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(text, text) for text in ("on", "off", "yes", "no", "y", "n", "Yes", "ON", "nUll", "tRue")],
        *[(text, text) for text in ("2001-12-14", "12:30:45", "1_000", "0b101", "1e", "0x", "0o8", "+0x1", "1.2.3")],
        *[(text, None) for text in ("", "~", "null", "Null", "NULL")],
        *[(text, True) for text in ("true", "True", "TRUE")],
        *[(text, False) for text in ("false", "False", "FALSE")],
        ("0", 0),
        ("0o7", 7),
        ("0x3A", 58),
        ("-19", -19),
        ("012", 12),
        ("+12", 12),
        ("9223372036854775807", 2**63 - 1),
        ("0.", 0.0),
        ("-0.0", -0.0),
        (".5", 0.5),
        ("+12e03", 12000.0),
        ("-2E+05", -200000.0),
        ("1e-10", 1e-10),
        ("1.0e-6", 1e-6),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("'3'", "3"),
        ('"true"', "true"),
        ("|\n  3\n", "3\n"),
        ('"\\ud83d\\ude00"', "\U0001f600"),  # as JSON writes it
        ("Straße", "Straße"),
    ],
)
def test_scalars(text, value):
    data, faults = read(f"a: {text}")
    assert (data, faults) == ({"a": value}, [])
    assert type(data["a"]) is type(value)


def test_nan():
    assert math.isnan(read("a: .nan")[0]["a"])


def test_same_as_ruamel_where_both_read_the_same():
    text = """\
base: &base {a: 1, b: [x, "y", 'z'], c: {d: null}}
copy: *base
merged: {<<: *base, b: 2}
two: {<<: [{a: 9}, *base], e: 3}
folded: >-
  some words
  on two lines
? long
: value
"on": off
"""
    data, faults = read(text)
    assert faults == []
    assert data == YAML(typ="safe", pure=True).load(text)
    assert data["two"] == {"a": 9, "b": ["x", "y", "z"], "c": {"d": None}, "e": 3}


def test_places():
    faults = Faults()
    text = "a:\n  b: &x\n    c: 1\n  d:\n    - 1\n    -\n      2\ne: *x\nf:\n  <<: *x\n"
    root = read_yaml(text, lambda line: Place(str(line), line), faults).value
    a = root["a"].value
    assert [str(node.place) for node in (root["a"], a["b"], a["b"].value["c"], *a["d"].value)] == [
        "1",
        "2",
        "3",
        "5",
        "7",
    ]
    assert str(root["e"].place) == "8"  # an alias stands where it is used, what is in it where it was written
    assert str(root["e"].value["c"].place) == str(root["f"].value["c"].place) == "3"


@pytest.mark.parametrize(
    ("text", "data", "faults"),
    [
        ("a: 1\nb: 2\na: 3\n", {"a": 1, "b": 2}, ["3: duplicate key 'a', first at 1"]),
        ("a: {<<: {b: 1}, <<: {b: 2}}", {"a": {"b": 1}}, ["1: duplicate key '<<', first at 1"]),
        ("1: a\n", {}, ["1: expected a text as key, got 1; put it in quotes"]),
        ("a: 1\ntrue: a\n", {"a": 1}, ["2: expected a text as key, got true; put it in quotes"]),
        ("? [a, b]\n: 1\n", {}, ["1: expected a text as key, got ['a', 'b']; put it in quotes"]),
        ("a: *b\n", {"a": None}, ["1: *b has no anchor &b above it; a text that starts with * must stand in quotes"]),
        (
            "a: &b\n  c: *b\n",
            {"a": {"c": None}},
            ["2: *b stands inside its own value; a text that starts with * must stand in quotes"],
        ),
        ("a: {<<: 3}\n", {"a": {}}, ["1: expected a mapping after <<, got 3"]),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            {"a": ["ls"]},
            ["1: tags are not taken, got '!!python/object/apply:os.system'"],
        ),
        ("a: !!int '3'\n", {"a": "3"}, ["1: tags are not taken, got '!!int'"]),
        ("a: !x 3\n", {"a": 3}, ["1: tags are not taken, got '!x'"]),
        ("---\na: 1\n---\nb: 2\n", {"a": 1}, ["3: a second document starts here; a config is a single one"]),
        ("a: " + "9" * 5000, {"a": 2**63}, ["1: expected a number of at most 64 bits"]),
        ("a: -9223372036854775809", {"a": -(2**63) - 1}, ["1: expected a number of at most 64 bits"]),
        ('a: "\\0"', {"a": "\0"}, ["1: a text cannot hold a NUL or half of a surrogate pair"]),
        ('a: "\\ud800"', {"a": ""}, ["1: a text cannot hold a NUL or half of a surrogate pair"]),
    ],
)
def test_faults_that_let_the_rest_be_read(text, data, faults):
    assert read(text) == (data, faults)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "2: not valid YAML: a [ is opened here and not closed, or a comma is missing"),
        ("a: 1\nb: {c: 2\n", "2: not valid YAML: a { is opened here and not closed, or a comma is missing"),
        ("a: 1\nb: 'x\nc: 3\n", "2: not valid YAML: a quote is opened here and never closed"),
        ("a:\n\tb: 1\n", "2: not valid YAML: a tab cannot indent, use spaces"),
        (
            "a: b: c\n",
            "1: not valid YAML: one ': ' too many; is the indentation right?",
        ),
        (
            "a: 1\n b: 2\n",
            "2: not valid YAML: one ': ' too many; is the indentation right?",
        ),
        ("a: 1\nb\nc: 2\n", "2: not valid YAML: expected 'key: value' here; is a ':' missing?"),
        (
            "a:\n  - b\n c: 1\n",
            "3: not valid YAML: this does not line up with the lines above",
        ),
        ("a: @b\n", "1: not valid YAML: a text that starts with this character must stand in quotes"),
        ("a: `b`\n", "1: not valid YAML: a text that starts with this character must stand in quotes"),
        ("files: *.wav\n", "1: *.wav has no anchor &.wav above it; a text that starts with * must stand in quotes"),
        ("files: *\n", "1: not valid YAML: a text that starts with * must stand in quotes"),
        ('a: "\\d+"\n', "1: not valid YAML: unknown escape in double quotes; put the text in single quotes"),
        ("{a: 1}}\n", "1: not valid YAML: this stands after the end of the config; is a bracket closed twice?"),
        ("a: \x07\n", "1: not valid YAML: a control character stands in the text"),
        ("a: 1\nb: \x07\n", "2: not valid YAML: a control character stands in the text"),
        ('a: "\\UFFFFFFFF"\n', "1: not valid YAML: "),
        ("a: !e!x 1\n", "1: not valid YAML: "),
        ("%YAML 1.1\n---\na: yes\n", "2: expected YAML 1.2; leave the %YAML line out"),
    ],
)
def test_syntax_errors_in_plain_words(text, message):
    try:
        _, faults = read(text)
    except ConfigError as error:
        faults = [str(fault) for fault in error.faults]
    assert len(faults) == 1
    assert faults[0].startswith(message)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(12)
)
MERGES = "a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(2000)) + "}\n"
MERGES += "".join(f"a{i + 1}: &a{i + 1} {{<<: *a{i}, z{i}: 1}}\n" for i in range(2000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "more than 50000 values, aliases counted as often as used"),
        (MERGES, "more than 50000 values, aliases counted as often as used"),
        (f"a: &a '{'x' * 100_000}'\nb: [{'*a,' * 5000}]\n", "more than 50000 values"),
        ("a: &a0 [x]\n" + "".join(f"b{i}: &a{i + 1} [*a{i}]\n" for i in range(200)), "nested deeper than 64 levels"),
        ("[" * 50_000, "nested deeper than 64 levels"),
        ("- " * 50_000, "nested deeper than 64 levels"),
        ("? " * 50_000, "nested deeper than 64 levels"),
        ("{a: " * 50_000, "nested deeper than 64 levels"),
        ("".join(" " * i + "b:\n" for i in range(500)), "nested deeper than 64 levels"),
        ("".join(f"{i}: 1\n" for i in range(3000)), "1000 faults, the rest is not read"),
    ],
)
def test_little_text_cannot_unfold_into_much(text, message):
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert message in str(caught.value.faults[-1])
    assert time.monotonic() - began < 20  # seconds where it would be hours; most of it is ruamel's scanner
