"""A config as a tree in which every value knows its place.

Size and depth are bounded, with shared values counted as often as they are used, so that little
text cannot unfold into much.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import ConfigError, Fault

_MOST_SIZE = 50_000  # values, plus one for every 64 characters of text
MOST_DEPTH = 64
_MOST_FAULTS = 1000
_MOST_MESSAGE = 500

_VARIABLE = re.compile(r"\$(\$?)\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Value = str | int | float | bool | None
Content = Value | dict[str, "Node"] | list["Node"]


@dataclass(frozen=True)
class Place:
    """Where a value stands: as the user reads it, and where it sorts among the others."""

    text: str
    order: int = 0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Node:
    """A value and its place. `broken` values had a fault of their own; nothing more is said about them."""

    place: Place
    value: Content
    broken: bool = False
    size: int = 1
    height: int = 0

    @property
    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: child.plain for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain for child in self.value]
        return self.value

    @property
    def sound(self) -> bool:
        """Whether neither this value nor one inside it is broken."""
        return not self.broken and all(child.sound for child in _children(self.value))


class Faults:
    """The faults found so far."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, Fault]] = []

    def add(self, place: Place, message: str) -> None:
        if len(message) > _MOST_MESSAGE:
            message = message[:_MOST_MESSAGE] + "…"
        self._found.append((place, Fault(str(place), message)))
        if len(self._found) == _MOST_FAULTS:
            raise ConfigError([*self.sorted(), Fault(str(place), f"{_MOST_FAULTS} faults, the rest is not read")])

    def __len__(self) -> int:
        return len(self._found)

    def sorted(self) -> tuple[Fault, ...]:
        """All faults in the order of their places, each once."""
        return tuple(dict.fromkeys(fault for _, fault in sorted(self._found, key=lambda found: found[0].order)))


def read_data(data: Any, faults: Faults) -> Node:
    """The tree of a dict that was handed over in place of a file."""
    return _Converter(faults).node(data, "", 0)


def expand(root: Node, faults: Faults, environment: Mapping[str, str] = os.environ) -> Node:
    """The tree with each `${NAME}` in a text replaced from the environment, and `$${` by `${`."""
    size = 0

    def text_of(node: Node, text: str) -> Node:
        nonlocal size
        wrong: list[str] = []

        def one(match: re.Match[str]) -> str:
            escaped, name, closed = match.groups()
            if escaped:
                return match.group()[1:]
            if not closed or not _NAME.fullmatch(name):
                wrong.append(f"expected ${{NAME}}, got {match.group()!r}; write $${{ for a literal ${{")
            elif name not in environment:
                wrong.append(f"the environment variable {name} is not set")
            return environment.get(name, "")

        result = _VARIABLE.sub(one, text)
        size += len(result)
        if size > _MOST_SIZE * 64:
            raise ConfigError([Fault(str(node.place), "the environment variables unfold into too much text")])
        for message in dict.fromkeys(wrong):
            faults.add(node.place, message)
        return replace(node, broken=True) if wrong else replace(node, value=result)

    def visit(node: Node) -> Node:
        if isinstance(node.value, str):
            return text_of(node, node.value) if "${" in node.value else node
        if isinstance(node.value, dict):
            return replace(node, value={key: visit(child) for key, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[visit(child) for child in node.value])
        return node

    return visit(root)


def _children(value: Content) -> list[Node]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


class Builder:
    """Makes nodes, within the bounds."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.size = 0

    def grow(self, place: Place, size: int) -> None:
        self.size += size
        if self.size > _MOST_SIZE:
            raise ConfigError([Fault(str(place), f"more than {_MOST_SIZE} values, aliases counted as often as used")])

    def deeper(self, place: Place, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise ConfigError([Fault(str(place), f"nested deeper than {MOST_DEPTH} levels")])

    def leaf(self, place: Place, value: Value) -> Node:
        size = 1 + len(value) // 64 if isinstance(value, str) else 1
        self.grow(place, size)
        broken = False
        if isinstance(value, str):
            try:  # a character beyond U+FFFF may be written as two escapes, as in JSON
                value = value.encode("utf-16", "surrogatepass").decode("utf-16")
                broken = "\0" in value
            except UnicodeDecodeError:
                broken, value = True, ""
            if broken:
                self.faults.add(place, "a text cannot hold a NUL or half of a surrogate pair")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.faults.add(place, "expected a number of at most 64 bits")
            broken = True
        return Node(place, value, broken, size)

    def branch(self, place: Place, value: dict[str, Node] | list[Node]) -> Node:
        self.grow(place, 1)
        size, height = 1, 0
        for child in _children(value):
            size, height = size + child.size, max(height, child.height + 1)
        self.deeper(place, height)
        return Node(place, value, False, size, height)


class _Converter(Builder):
    """Nodes from Python values."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self._count = 0

    def node(self, data: Any, path: str, depth: int) -> Node:
        self._count += 1
        place = Place(f"config: {path}" if path else "config", self._count)
        self.deeper(place, depth)
        if isinstance(data, Mapping):
            texts = {key: value for key, value in data.items() if isinstance(key, str)}
            for key in data.keys() - texts.keys():
                self.faults.add(place, f"expected a text as key, got {shown(key)}")
            dot = "." if path else ""
            return self.branch(place, {k: self.node(v, f"{path}{dot}{k}", depth + 1) for k, v in texts.items()})
        if isinstance(data, list | tuple):
            return self.branch(place, [self.node(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(data)])
        if isinstance(data, os.PathLike):
            data = os.fspath(data)
        if data is None or isinstance(data, str | bool | int | float):
            return self.leaf(place, data)
        self.faults.add(place, f"expected text, numbers, lists and dicts, got {type(data).__name__}")
        return Node(place, None, broken=True)


def shown(value: Any) -> str:
    """A value in a message: short, and as YAML writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        inside = ", ".join(map(shown, value[:9]))
        return f"[{inside}]" if len(value) < 9 and len(inside) <= 60 else f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
