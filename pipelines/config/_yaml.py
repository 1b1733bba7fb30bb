"""The YAML of a config, and the `--set` overrides of it.

YAML is read by the core schema of YAML 1.2: `on` and `yes` are text, `1e-10` is a number, `012` is
twelve. Tags are refused, so nothing but plain data can come out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from pipelines.config._nodes import MOST_DEPTH, Builder, Faults, Node, Place, Value, shown
from pipelines.errors import ConfigError, Fault

MOST_BYTES = 256 * 1024  # a list of 1000 class names takes 20 KB

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def read_yaml(text: str, place: Callable[[int], Place], faults: Faults) -> Node:
    """The tree of a YAML document; `place` makes a place of a line number. ConfigError when it is none."""
    return _Composer(text, place, faults).document()


def override(root: Node, text: str, order: int, faults: Faults) -> Node:
    """The tree with one value replaced by a `KEY=VALUE`."""
    place = Place(f"--set {text}", order)
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or len(parts) > MOST_DEPTH:
        faults.add(place, "expected KEY=VALUE with a dotted key, as in batch.size=64")
        return root
    try:
        new = read_yaml(value, lambda line: place, faults)
        return _put(root, parts, new, place, "")
    except ConfigError as error:
        for fault in error.faults:
            faults.add(place, fault.message)
        return root


def _put(node: Node | None, parts: list[str], new: Node, place: Place, where: str) -> Node:
    if not parts:
        return new if node is None else replace(new, place=place)
    if node is None or node.value is None:
        return Node(place, {parts[0]: _put(None, parts[1:], new, place, "")})
    above = where or "the config"
    value, prefixes = node.value, [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    if isinstance(value, str) and value in prefixes:  # a step without parameters: `- audio.mel`
        rest = parts[value.count(".") + 1 :]
        return replace(node, value={value: _put(None, rest, new, place, "")})
    if isinstance(value, dict):  # names of steps hold dots themselves: the longest key that is there
        key = next((prefix for prefix in prefixes if prefix in value), parts[0])
        rest = parts[key.count(".") + 1 :] if key in value else parts[1:]
        return replace(node, value={**value, key: _put(value.get(key), rest, new, place, f"{where}.{key}".lstrip("."))})
    if isinstance(value, list):
        if not re.fullmatch("[0-9]{1,9}", parts[0]) or int(parts[0]) >= len(value):
            raise ConfigError(
                [Fault(str(place), f"expected a number below {len(value)} after {above}, got {parts[0]!r}")]
            )
        at = int(parts[0])
        changed = _put(value[at], parts[1:], new, place, f"{where}.{at}".lstrip("."))
        return replace(node, value=[*value[:at], changed, *value[at + 1 :]])
    raise ConfigError([Fault(str(place), f"{above} is a single value, there is no {parts[0]!r} in it")])


class _Composer(Builder):
    """Nodes from the parser's events; ruamel's own composer knows neither bounds nor several faults."""

    def __init__(self, text: str, place: Callable[[int], Place], faults: Faults) -> None:
        super().__init__(faults)
        self._place = place
        self._anchors: dict[str, Node | None] = {}
        self._text = text
        self._events: Iterator[Event] | None = None

    def document(self) -> Node:
        self._next()
        start = self._next()
        if isinstance(start, StreamEndEvent):
            return self.leaf(self._place(1), None)
        if isinstance(start, DocumentStartEvent) and start.version not in (None, (1, 2)):
            raise ConfigError([Fault(str(self._at(start)), "expected YAML 1.2; leave the %YAML line out")])
        root = self._node(self._next(), 0)
        self._next()
        more = self._next()
        if not isinstance(more, StreamEndEvent):
            self.faults.add(self._at(more), "a second document starts here; a config is a single one")
        return root

    def _next(self) -> Event:
        try:
            if self._events is None:
                self._events = iter(YAML(typ="safe", pure=True).parse(self._text))
            return next(self._events)
        except Exception as error:  # besides its own errors, ruamel lets out ValueError, IndexError and others
            line, message = _plain_words(error, self._text)
            raise ConfigError([Fault(str(self._place(line)), f"not valid YAML: {message}")]) from error

    def _at(self, event: Event) -> Place:
        return self._place(event.start_mark.line + 1)

    def _node(self, event: Event, depth: int, place: Place | None = None) -> Node:
        place = place or self._at(event)
        self.deeper(place, depth)
        anchor: str | None = getattr(event, "anchor", None)
        if isinstance(event, AliasEvent):
            return self._alias(anchor or "", place)
        if anchor:
            self._anchors[anchor] = None
        node = self._content(event, depth, place)
        tag = str(getattr(event, "tag", None) or "")
        if tag:
            self.faults.add(place, f"tags are not taken, got {tag.replace('tag:yaml.org,2002:', '!!')!r}")
            node = replace(node, broken=True)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _content(self, event: Event, depth: int, place: Place) -> Node:
        if isinstance(event, ScalarEvent):
            return self.leaf(place, event.value) if event.style else self._scalar(event.value, place)
        if isinstance(event, SequenceStartEvent):
            children = []
            while not isinstance(item := self._next(), SequenceEndEvent):
                children.append(self._node(item, depth + 1))
            return self.branch(place, children)
        return self._mapping(depth, place)

    def _alias(self, name: str, place: Place) -> Node:
        found = self._anchors.get(name)
        if found is None:
            missing = "stands inside its own value" if name in self._anchors else f"has no anchor &{name} above it"
            self.faults.add(place, f"*{name} {missing}; a text that starts with * must stand in quotes")
            return replace(self.leaf(place, None), broken=True)
        self.grow(place, found.size)
        return replace(found, place=place)

    def _mapping(self, depth: int, place: Place) -> Node:
        own: dict[str, Node] = {}
        merged: list[Node] = []
        first_merge: Place | None = None
        while not isinstance(event := self._next(), MappingEndEvent):
            at = self._at(event)
            merge = isinstance(event, ScalarEvent) and event.value == "<<" and not event.style
            key = self._node(event, depth + 1).plain
            child = self._node(self._next(), depth + 1, at)
            if merge and first_merge:
                self.faults.add(at, f"duplicate key '<<', first at {first_merge}")
            elif merge:
                first_merge = at
                parts = child.value if isinstance(child.value, list) else [child]
                if all(isinstance(part.value, dict) for part in parts):
                    merged += parts
                elif child.sound:
                    self.faults.add(at, f"expected a mapping after <<, got {shown(child.plain)}")
            elif not isinstance(key, str):
                self.faults.add(at, f"expected a text as key, got {shown(key)}; put it in quotes")
            elif key in own:
                self.faults.add(at, f"duplicate key {key!r}, first at {own[key].place}")
            else:
                own[key] = child
        for part in merged:
            assert isinstance(part.value, dict)
            for key, child in part.value.items():
                own.setdefault(key, child)
            self.grow(place, len(part.value))
        return self.branch(place, own)

    def _scalar(self, text: str, place: Place) -> Node:
        if text in _WORDS:
            return self.leaf(place, _WORDS[text])
        if _INTEGER.fullmatch(text):
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            return self.leaf(place, int(text, base) if len(text) <= 100 else 2**63)  # int refuses thousands of digits
        if _FLOAT.fullmatch(text):
            return self.leaf(place, float(text))
        return self.leaf(place, text)


_SENTENCES = (
    ("scanning an alias", "a text that starts with * must stand in quotes"),
    ("scanning an anchor", "a text that starts with & must stand in quotes"),
    ("'\\t' that cannot start", "a tab cannot indent, use spaces"),
    ("cannot start any token", "a text that starts with this character must stand in quotes"),
    (
        "mapping values are not allowed",
        "one ': ' too many; is the indentation right? A text with ': ' stands in quotes",
    ),
    ("scanning a quoted scalar", "a quote is opened here and never closed"),
    (
        "scanning a double-quoted scalar",
        "unknown escape in double quotes; put the text in single quotes",
    ),
    ("parsing a flow sequence", "a [ is opened here and not closed, or a comma is missing"),
    ("parsing a flow mapping", "a { is opened here and not closed, or a comma is missing"),
    ("expected the node content", "a value is missing, or a bracket is not closed"),
    ("expected <block end>", "this does not line up with the lines above; is the indentation right?"),
    ("could not find expected ':'", "expected 'key: value' here; is a ':' missing?"),
    ("special characters are not allowed", "a control character stands in the text"),
    ("expected '<document start>'", "this stands after the end of the config; is a bracket closed twice?"),
)
_FROM_START = ("simple key", "quoted scalar", "flow sequence", "flow mapping")


def _plain_words(error: Exception, text: str) -> tuple[int, str]:
    """The line of a syntax error and a sentence that helps."""
    context, problem = (str(getattr(error, name, None) or "") for name in ("context", "problem"))
    mark = getattr(error, "problem_mark", None)
    if any(words in context for words in _FROM_START):
        mark = getattr(error, "context_mark", None) or mark
    line = mark.line if mark is not None else text.count("\n", 0, getattr(error, "position", 0) or 0)
    said = f"{context} {problem} {error}"
    return line + 1, next((sentence for words, sentence in _SENTENCES if words in said), problem or "it cannot be read")
