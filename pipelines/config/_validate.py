"""Parameters against their model: pydantic finds the faults, this module says them in our words.

Values are taken as JSON takes them: a list for a tuple and a text for a path, but no "3" or 3.0
for a whole number, and true is never 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipelines.config._nodes import Faults, Node, shown
from pipelines.errors import UserError, nearest

M = TypeVar("M", bound=BaseModel)

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "iterable": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "model_attributes": "a mapping",
    "none": "null",
    "bytes": "a text",
}
_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_LENGTHS = {
    "too_short": ("min_length", "at least", "entry", "entries"),
    "too_long": ("max_length", "at most", "entry", "entries"),
    "string_too_short": ("min_length", "at least", "character", "characters"),
    "string_too_long": ("max_length", "at most", "character", "characters"),
}


def validate(model: type[M], node: Node, what: str, base: Path, faults: Faults) -> M | None:
    """The model of the parameters in `node`, or None when they, or texts among them, have faults."""
    given = {} if node.value is None else node.plain
    if not isinstance(given, dict):
        if node.sound:
            faults.add(node.place, f"expected a mapping of the parameters of {what}, got {shown(given)}")
        return None
    try:
        made = model.model_validate_json(json.dumps(given), strict=True, context={"base": base})
    except ValidationError as error:
        _report(error, model, node, what, faults)
        return None
    except UserError as error:
        faults.add(node.place, f"{what}: {error}")
        return None
    except OSError as error:
        faults.add(node.place, f"{what}: cannot read {error.filename}: {error.strerror}")
        return None
    loose = [
        name
        for name, value in given.items()
        if isinstance(value, bool | float) and type(getattr(made, _attribute(model, name))) is int
    ]
    for name in loose:  # the numbers of a Literal are compared by ==, so that false is among (0, 90)
        faults.add(_child(node, name).place, f"{name}: expected a whole number, got {shown(given[name])}")
    return None if loose or not node.sound else made


def _child(node: Node, name: str) -> Node:
    assert isinstance(node.value, dict)
    return node.value[name]


def _attribute(model: type[BaseModel], name: str) -> str:
    return next((n for n, f in model.model_fields.items() if name in (f.alias, f.validation_alias)), name)


def _report(error: ValidationError, model: type[BaseModel], root: Node, what: str, faults: Faults) -> None:
    """One fault for each parameter, at its own place."""
    found: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    nodes: dict[tuple[str | int, ...], Node] = {}
    alternatives: set[tuple[str | int, ...]] = set()
    for detail in error.errors(include_url=False):
        loc, absent = detail["loc"], detail["type"] == "missing"
        node, path, skipped = _walk(root, loc[:-1] if absent else loc)
        path += loc[-1:] if absent else ()
        found.setdefault(path, []).append(detail)
        nodes[path] = node
        if skipped:
            alternatives.add(path)
    for path, details in found.items():
        deeper = path in alternatives and any(other[: len(path)] == path and other != path for other in found)
        said = not nodes[path].sound and details[0]["type"] != "missing"  # of the value, or of a part of it
        if not said and not deeper:
            faults.add(nodes[path].place, _words(details, _dotted(path), model, path, what))


def _walk(root: Node, loc: tuple[str | int, ...]) -> tuple[Node, tuple[str | int, ...], bool]:
    """The node of a pydantic location; names of union members are no part of the path."""
    node, skipped = root, False
    path: tuple[str | int, ...] = ()
    for part in loc:
        if isinstance(node.value, dict) and part in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            skipped = True
            continue
        path = (*path, part)
    return node, path, skipped


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _words(
    details: list[ErrorDetails], name: str, model: type[BaseModel], path: tuple[str | int, ...], what: str
) -> str:
    kind, got = details[0]["type"], shown(details[0]["input"])
    if kind == "missing":
        return f"missing parameter {name!r} of {what}"
    if kind == "extra_forbidden":
        return f"unknown parameter {name!r} of {what}{nearest(str(path[-1]), _known(model, path[:-1]))}"
    for detail in details:  # of several alternatives, the one whose type fits says the most
        context: Mapping[str, Any] = detail.get("ctx", {})
        kind = detail["type"]
        if kind in _BOUNDS:
            key, sign = _BOUNDS[kind]
            bound = context[key]
            if isinstance(bound, int) and kind in ("greater_than", "less_than"):  # whole numbers: the bound itself
                bound, sign = (bound + 1, ">=") if sign == ">" else (bound - 1, "<=")
            return f"{name}={got} must be {sign} {bound:.12g}"
        if kind in _LENGTHS:
            key, least, one, many = _LENGTHS[kind]
            unit = one if context[key] == 1 else many
            return f"{name}: expected {least} {context[key]} {unit}, got {len(detail['input'])}"
        if kind == "value_error":
            return _sentence(name, str(context["error"]))
        if kind == "assertion_error":
            return _sentence(name, str(context["error"]) or f"{got} is not valid")
        if kind == "string_pattern_mismatch":
            return f"{name}: expected a text like {context['pattern']}, got {got}"
        if kind == "finite_number":
            return f"{name}={got} must be finite"
    wanted = dict.fromkeys(filter(None, map(_wanted, details)))
    if not wanted:
        return f"{name}: {got} is not valid here"
    text = details[0]["input"]
    choices = [choice for detail in details for choice in _choices(detail)]
    near = nearest(text, choices) if isinstance(text, str) else ""
    return f"{name}: expected {' or '.join(wanted)}, got {got}{near}"


def _sentence(name: str, message: str) -> str:
    return message if not name or message.startswith(name) else f"{name}: {message}"


def _wanted(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return str(context.get("expected_tags", f"a mapping with {context['discriminator']}"))
    return _EXPECTED.get(kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float"), "")


def _choices(detail: ErrorDetails) -> list[str]:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    return expected.split("'")[1::2]


def _known(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Names of the parameters at a path inside a model."""
    models = [model]
    for part in path:
        if isinstance(part, str):
            fields = [f for m in models for n, f in m.model_fields.items() if part in (n, f.alias)]
            models = [m for f in fields for m in _models(f.annotation)]
    return [f.alias or n for m in models for n, f in m.model_fields.items()]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if parts := get_args(annotation):
        return [model for part in parts for model in _models(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
