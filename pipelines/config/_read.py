"""The config: read whole, with every fault found at once and told with its place.

`read_config` never stops at the first fault. What is valid is there to be checked further, what is
not is in `faults`, in the order of the lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from pipelines.catalog import find_source, find_step, source_names
from pipelines.config._models import (
    FIELD_KEYS,
    FIELD_NAME,
    RESERVED,
    TOP_KEYS,
    BatchConfig,
    CacheConfig,
    ErrorConfig,
    OutputConfig,
    SplitConfig,
)
from pipelines.config._nodes import Faults, Node, Place, expand, read_data, shown
from pipelines.config._validate import validate
from pipelines.config._yaml import MOST_BYTES, override, read_yaml
from pipelines.errors import ConfigError, Fault, UserError, nearest
from pipelines.sources._base import SourceConfig
from pipelines.sources._mix import Mix, Part, Share
from pipelines.spec import FRAMEWORKS
from pipelines.step import BatchStep, Step

M = TypeVar("M", bound=BaseModel)
_AFTER_THE_FILE = 10**9  # where the faults of overrides sort


@dataclass(frozen=True)
class StepUse:
    """A step as a config uses it."""

    step: Step
    name: str
    place: str


@dataclass(frozen=True)
class FieldConfig:
    """A field; `complete` is false where faults keep it from being all that the config says."""

    name: str
    sources: tuple[str, ...]
    steps: tuple[StepUse, ...]
    optional: bool
    follows: str | None
    place: str
    complete: bool = True
    outside: int | None = None


@dataclass(frozen=True)
class Config:
    """A config as far as it is valid, and its faults.

    `text` is the YAML as read, `document` the plain data after overrides and environment, `base` the
    folder that relative paths start from.
    """

    path: Path
    framework: Literal["torch", "tensorflow"]
    seed: int
    source_name: str
    source: SourceConfig | None
    source_place: str
    split: SplitConfig | None
    fields: tuple[FieldConfig, ...]
    batch_steps: tuple[StepUse, ...]
    batch: BatchConfig
    batch_place: str
    cache: CacheConfig | None
    output: OutputConfig | None
    on_error: ErrorConfig
    faults: tuple[Fault, ...]
    text: str
    document: dict[str, Any]
    base: Path


def read_config(
    path: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), framework: str | None = None
) -> Config:
    """The config in a file, or in a dict of the same form; paths in a dict start from the working directory.

    `overrides` are `KEY=VALUE` with a dotted key, `framework` goes before the one in the config.
    Raises ConfigError only when the file cannot be read or is no YAML.
    """
    faults = Faults()
    if isinstance(path, Mapping):
        where, text, root = Path("config"), "", read_data(path, faults)
    else:
        where, text = Path(path), _read(path)
        root = read_yaml(text, lambda line: Place(f"{path}:{line}", line), faults)
    for number, change in enumerate(overrides):
        root = override(root, change, _AFTER_THE_FILE + number, faults)
    root = expand(root, faults)
    if framework is not None and framework not in FRAMEWORKS:
        place = Place(f"--framework {framework}", _AFTER_THE_FILE)
        faults.add(place, f"expected torch or tensorflow{nearest(framework, FRAMEWORKS)}")
        framework = "torch"
    document = root.plain if isinstance(root.value, dict) else {}
    if isinstance(path, Mapping):
        text = json.dumps(document, indent=2, ensure_ascii=False)
    return _Reader(faults, where.absolute().parent).config(root, framework, where, text, document)


def _read(path: str | Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError([Fault(str(path), f"cannot read this config: {reason}")]) from error
    if len(content) > MOST_BYTES:
        raise ConfigError([Fault(str(path), f"expected a config of at most {MOST_BYTES // 1024} KiB")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Fault(f"{path}:{line}", "expected UTF-8 text")]) from error


class _Reader:
    """Reads the tree of a config; every method says what is wrong in `faults` and gives what is right."""

    def __init__(self, faults: Faults, base: Path) -> None:
        self._faults = faults
        self._base = base

    def config(self, root: Node, framework: str | None, path: Path, text: str, document: dict[str, Any]) -> Config:
        top = self._section(root, TOP_KEYS, "a config", required=("source", "fields"))
        if framework is None and "framework" not in top:
            self._faults.add(root.place, "missing key 'framework': torch or tensorflow")
        named = self._framework(top.get("framework"))
        source_name, source_place, source, split = self._source(top.get("source"), root.place)
        fields = self._fields(top.get("fields"))
        batch_steps = self._steps(top.get("batch_steps"), "batch_steps")
        return Config(
            path=path,
            framework="tensorflow" if (framework or named) == "tensorflow" else "torch",
            seed=self._seed(top.get("seed")),
            source_name=source_name,
            source=source,
            source_place=str(source_place),
            split=split,
            fields=fields,
            batch_steps=batch_steps,
            batch=self._parameters(BatchConfig, top.get("batch"), "batch") or BatchConfig(),
            batch_place=str(_length_place(top.get("batch"), root.place)),
            cache=self._cache(top.get("cache"), fields),
            output=self._parameters(OutputConfig, top.get("output"), "output"),
            on_error=self._parameters(ErrorConfig, top.get("on_error"), "on_error") or ErrorConfig(),
            faults=self._faults.sorted(),
            text=text,
            document=document,
            base=self._base,
        )

    def _expected(self, node: Node, what: str) -> None:
        if not node.broken:
            self._faults.add(node.place, f"expected {what}, got {shown(node.plain)}")

    def _section(self, node: Node, known: Sequence[str], what: str, required: Sequence[str] = ()) -> dict[str, Node]:
        """The keys of a section that are known and not null."""
        if node.value is None and not node.broken:
            self._faults.add(node.place, f"{what} is empty; expected {', '.join(known)}")
            return {}
        if not isinstance(node.value, dict):
            self._expected(node, f"{what} with {', '.join(known)}")
            return {}
        for key, child in node.value.items():
            if key not in known:
                advice = nearest(key, known) or f"; expected {', '.join(known)}"
                self._faults.add(child.place, f"unknown key {key!r} in {what}{advice}")
        given = {key: child for key, child in node.value.items() if key in known and _given(child)}
        for key in required:
            if key not in given:
                self._faults.add(node.place, f"missing key {key!r} in {what}")
        return given

    def _parameters(self, model: type[M], node: Node | None, what: str) -> M | None:
        return None if node is None else validate(model, node, what, self._base, self._faults)

    def _cache(self, node: Node | None, fields: Sequence[FieldConfig]) -> CacheConfig | None:
        cache = self._parameters(CacheConfig, node, "cache")
        names = [field.name for field in fields]
        if node is not None and cache is not None:
            for name in [name for name in cache.fields or () if name not in names]:
                self._faults.add(node.place, f"cache: there is no field {name!r}{nearest(name, names)}")
        return cache

    def _framework(self, node: Node | None) -> str | None:
        if node is None or node.value in FRAMEWORKS:
            return None if node is None else str(node.value)
        near = nearest(node.value, FRAMEWORKS) if isinstance(node.value, str) else ""
        if not node.broken:
            self._faults.add(node.place, f"framework: expected torch or tensorflow, got {shown(node.plain)}{near}")
        return None

    def _seed(self, node: Node | None) -> int:
        if node is None:
            return 0
        if isinstance(node.value, int) and not isinstance(node.value, bool) and node.value >= 0:
            return node.value  # numbers of more than 64 bits do not get this far
        self._expected(node, "a seed that is a whole number >= 0")
        return 0

    def _source(self, node: Node | None, root: Place) -> tuple[str, Place, SourceConfig | None, SplitConfig | None]:
        if node is None:
            return "", root, None, None
        if not isinstance(node.value, dict):
            self._expected(node, "a mapping with the name of a source and its parameters")
            return "", node.place, None, None
        name, entry, given = self._one_source(node, (*source_names(), "mix"), ("split",), "source")
        split = self._parameters(SplitConfig, given.get("split"), "split")
        if name is None:
            return "", node.place, None, split
        made = self._mix(entry) if name == "mix" else validate(find_source(name), entry, name, self._base, self._faults)
        return name, entry.place, made, split

    def _one_source(
        self, node: Node, sources: tuple[str, ...], others: tuple[str, ...], what: str
    ) -> tuple[str | None, Node, dict[str, Node]]:
        """The name and entry of the only source in a section, and what stands beside it."""
        given = self._section(node, (*sources, *others), what)
        beside = {key: child for key, child in given.items() if key in others}
        # a source may be given without parameters, so null ones are looked at too
        names = [name for name in _children(node) if name in sources]
        if len(names) == 1:
            return names[0], _children(node)[names[0]], beside
        if names or not any(name not in (*sources, *others) for name in _children(node)):
            listed = " and ".join(names) or "none"
            self._faults.add(node.place, f"expected one source, got {listed}; sources are {', '.join(sources)}")
        return None, node, beside

    def _mix(self, node: Node) -> Mix | None:
        """The sources of a mix, each with its weight."""
        if not isinstance(node.value, list) or not node.value:
            self._expected(node, "mix to be a list of sources, each with its weight")
            return None
        parts: list[Part] = []
        for entry in node.value:
            name, parameters, given = self._one_source(entry, source_names(), ("weight", "name"), "a source of the mix")
            share = validate(Share, Node(entry.place, given), "the mix", self._base, self._faults)
            if name is None or share is None:
                continue
            source = validate(find_source(name), parameters, name, self._base, self._faults)
            if source is not None:
                parts.append(Part(name=share.name or name, weight=share.weight, source=source))
            if [part.name for part in parts].count(share.name or name) > 1:
                self._faults.add(entry.place, f"mix: two sources are called {share.name or name!r}; give each a `name`")
        return Mix(parts=tuple(parts)) if len(parts) == len(node.value) else None

    def _fields(self, node: Node | None) -> tuple[FieldConfig, ...]:
        if node is None:
            return ()
        if not isinstance(node.value, dict) or not node.value:
            self._expected(node, "a mapping of fields")
            return ()
        fields = [self._field(name, child) for name, child in node.value.items()]
        self._cycles({f.name: f.follows for f in fields if f.follows}, node.value)
        return tuple(f for f in fields if _field_name_fault(f.name) is None)

    def _field(self, name: str, node: Node) -> FieldConfig:
        before = len(self._faults)
        if wrong := _field_name_fault(name):
            self._faults.add(node.place, wrong)
        given = self._section(node, FIELD_KEYS, f"the field {name!r}", required=("from",))
        sources = self._sources(given.get("from"))
        steps = self._steps(given.get("steps"), "steps")
        optional = given.get("optional")
        if optional is not None and not isinstance(optional.value, bool):
            self._expected(optional, "optional to be true or false")
        follows = given.get("follows")
        if follows is not None and not isinstance(follows.value, str):
            self._expected(follows, "follows to name a field")
        outside = given.get("outside")
        if outside is not None and (isinstance(outside.value, bool) or not isinstance(outside.value, int)):
            self._expected(outside, "outside to be the number of a class")
        elif outside is not None and follows is None:
            self._faults.add(outside.place, "outside: expected only with follows, for a mask")
        return FieldConfig(
            name=name,
            sources=sources,
            steps=steps,
            optional=optional is not None and optional.value is True,
            follows=follows.value if follows is not None and isinstance(follows.value, str) else None,
            place=str(node.place),
            complete=len(self._faults) == before and node.sound,
            outside=outside.value if outside is not None and isinstance(outside.value, int) else None,
        )

    def _sources(self, node: Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        entries = node.value if isinstance(node.value, list) else [node]
        names = [entry.value for entry in entries if isinstance(entry.value, str) and entry.value and not entry.broken]
        if not entries or len(names) < len(entries):
            if node.sound:
                self._expected(node, "from to name a value of the source, or to be a list of names")
            return ()
        return tuple(names)

    def _steps(self, node: Node | None, what: Literal["steps", "batch_steps"]) -> tuple[StepUse, ...]:
        """The steps up to the first with a fault; those after it are checked as well."""
        steps: list[StepUse | None] = []
        for entry in self._entries(node, what):
            name, parameters = self._entry(entry)
            made = None
            if name is not None:
                try:
                    made = validate(_step_for(name, what), parameters, name, self._base, self._faults)
                except UserError as error:
                    self._faults.add(parameters.place, str(error))
            steps.append(None if name is None or made is None else StepUse(made, name, str(entry.place)))
        sound = steps[: steps.index(None)] if None in steps else steps
        return tuple(step for step in sound if step is not None)

    def _entries(self, node: Node | None, what: str) -> list[Node]:
        if node is None or isinstance(node.value, list):
            return [] if node is None or not isinstance(node.value, list) else node.value
        self._expected(node, f"{what} to be a list")
        return []

    def _entry(self, node: Node) -> tuple[str | None, Node]:
        """The name of a step and its parameters, from `- name` or `- name: {parameters}`."""
        if isinstance(node.value, str) and not node.broken:
            return node.value, Node(node.place, None)
        if not isinstance(node.value, dict) or not node.value:
            self._expected(node, "the name of a step, alone or with its parameters")
            return None, node
        (name, parameters), *more = node.value.items()
        for key, child in more:
            self._faults.add(child.place, f"a step has one name, this one is {name!r} and {key!r}; is a '-' missing?")
        return (None if more else name), parameters

    def _cycles(self, follows: Mapping[str, str], fields: Mapping[str, Node]) -> None:
        told: set[str] = set()
        for name, other in follows.items():
            place = _children(fields[name])["follows"].place
            if other not in fields:
                self._faults.add(place, f"follows: there is no field {other!r}{nearest(other, fields.keys() - {name})}")
            way = [name]
            while (following := follows.get(way[-1])) is not None and following not in way:
                way.append(following)
            if following == name and name not in told:
                told.update(way)
                self._faults.add(place, f"follows: a circle, {' -> '.join([*way, name])}")
            elif following is None and other in follows:
                self._faults.add(place, f"follows: {other!r} follows {follows[other]!r} itself; name that one")


def _step_for(name: str, what: Literal["steps", "batch_steps"]) -> type[Step]:
    """The class of a step, or UserError when there is none, or when it does not belong under `what`."""
    found = find_step(name)
    if what == "steps" and issubclass(found, BatchStep):
        raise UserError(f"{name} works on the finished batch; put it under batch_steps")
    if what == "batch_steps" and not issubclass(found, BatchStep):
        raise UserError(f"{name} works on one record, not on a batch; put it in a field")
    return found


def _children(node: Node) -> dict[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def _length_place(batch: Node | None, root: Place) -> Place:
    """Where a config says how batches go by length."""
    keys = {} if batch is None else _children(batch)
    node = keys.get("bucket") or keys.get("tokens") or batch
    return root if node is None else node.place


def _given(node: Node) -> bool:
    return node.value is not None or node.broken


def _field_name_fault(name: str) -> str | None:
    if RESERVED.fullmatch(name):
        return f"the name {name!r} is taken: key, index, _… , …_length and …_mask are made by the pipeline"
    if not FIELD_NAME.fullmatch(name):
        return f"expected a field name of letters, digits and _, got {name!r}"
    return None
