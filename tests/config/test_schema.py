"""The JSON Schema of a config takes what `read_config` takes and refuses what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines.catalog import find_source, find_step, sink_names, source_names, step_names
from pipelines.config import json_schema, read_config
from pipelines.step import BatchStep

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("**/*.yaml"))
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool,
    "null": type(None),
}  # fmt: skip
# what says nothing about validity
NOTES = {"$schema", "$defs", "title", "description", "default", "format", "examples", "discriminator"}


def is_type(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def accepts(schema: Any, value: Any, root: dict[str, Any]) -> bool:
    """Whether a value fits a schema, by JSON Schema 2020-12; a keyword that is not known here fails the test."""
    if isinstance(schema, bool):
        return schema

    def fits(part: Any, inner: Any = value) -> bool:
        return accepts(part, inner, root)

    known = schema.get("properties", {})
    mapping, items = (value if isinstance(value, kind) else kind() for kind in (dict, list))
    number = value if is_type(value, "number") else None
    text = value if isinstance(value, str) else None
    prefix = schema.get("prefixItems", [])
    for keyword, wanted in schema.items():
        good = True
        match keyword:
            case "$ref":
                good = fits(root["$defs"][wanted.removeprefix("#/$defs/")])
            case "type":
                good = any(is_type(value, name) for name in ([wanted] if isinstance(wanted, str) else wanted))
            case "enum":
                good = value in wanted
            case "const":
                good = value == wanted
            case "anyOf":
                good = any(map(fits, wanted))
            case "oneOf":
                good = sum(map(fits, wanted)) == 1
            case "allOf":
                good = all(map(fits, wanted))
            case "properties":
                good = all(fits(wanted[name], part) for name, part in mapping.items() if name in wanted)
            case "additionalProperties":
                good = all(fits(wanted, part) for name, part in mapping.items() if name not in known)
            case "propertyNames":
                good = all(fits(wanted, name) for name in mapping)
            case "required":
                good = not isinstance(value, dict) or all(name in value for name in wanted)
            case "minProperties":
                good = not isinstance(value, dict) or len(value) >= wanted
            case "maxProperties":
                good = len(mapping) <= wanted
            case "items":
                good = all(fits(wanted, part) for part in items[len(prefix) :])
            case "prefixItems":
                good = all(fits(part, item) for part, item in zip(wanted, items, strict=False))
            case "minItems":
                good = not isinstance(value, list) or len(value) >= wanted
            case "maxItems":
                good = len(items) <= wanted
            case "uniqueItems":
                good = not wanted or len({json.dumps(item) for item in items}) == len(items)
            case "minLength":
                good = text is None or len(text) >= wanted
            case "maxLength":
                good = text is None or len(text) <= wanted
            case "pattern":
                good = text is None or re.search(wanted, text) is not None
            case "minimum":
                good = number is None or number >= wanted
            case "maximum":
                good = number is None or number <= wanted
            case "exclusiveMinimum":
                good = number is None or number > wanted
            case "exclusiveMaximum":
                good = number is None or number < wanted
            case "multipleOf":
                good = number is None or number % wanted == 0
            case _:
                assert keyword in NOTES, f"the keyword {keyword} is not checked here"
        if not good:
            return False
    return True


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_every_step_and_source_is_in_it(schema):
    definitions = schema["$defs"]
    for name in step_names():
        described = definitions[f"steps.{name}"]
        step = find_step(name)
        assert set(described.get("properties", {})) == {f.alias or n for n, f in step.model_fields.items()}
        assert described["description"].startswith((step.__doc__ or "").split("\n")[0])
        assert described["additionalProperties"] is False
    for name in source_names():
        assert set(definitions[f"sources.{name}"]["properties"]) == {
            f.alias or n for n, f in find_source(name).model_fields.items()
        }
    assert definitions["output"]["properties"]["format"]["enum"] == list(sink_names())
    assert len(step_names()) >= 2
    assert len(source_names()) >= 2


def test_it_is_json_whose_references_lead_somewhere(schema):
    text = json.dumps(schema)
    for name in re.findall(r'"\$ref": "#/\$defs/([^"]+)"', text):
        assert name in schema["$defs"]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert len(text) > 5000


def test_it_takes_what_is_valid(schema, read, valid):
    assert read(valid).faults == ()
    assert accepts(schema, load(valid), schema)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_takes_every_config_of_the_project(schema, path):
    assert accepts(schema, load(path.read_text("utf-8")), schema)


@pytest.mark.parametrize(
    "override",
    [
        "framework=jax",
        "seed=-1",
        "seed=1.5",
        "seed=9223372036854775808",
        "source={}",
        "source=folder",
        "source.lines={path: x}",
        "source.foldr={path: x}",
        "source.folder.path=3",
        "source.folder.pth=x",
        "source.split.parts={a: 0}",
        "source.split.use=null",
        "fields={}",
        "fields.key={from: file}",
        "fields.a_length={from: file}",
        "fields.b_mask={from: file}",
        "fields._x={from: file}",
        "fields.1x={from: file}",
        "fields.a={}",
        "fields.a={from: []}",
        "fields.a={from: ''}",
        "fields.picture.form=x",
        "fields.picture.optional=yes",
        "fields.picture.steps=image.flip",
        "fields.picture.steps.0=image.flop",
        "fields.picture.steps.0=label.index",
        "fields.picture.steps.0={image.flip: {}, label.index: {classes: [a]}}",
        "fields.picture.steps.0={}",
        "fields.picture.steps.0.image.flip.direction=up",
        "fields.picture.steps.0.image.flip.probability=1.5",
        "fields.picture.steps.0.image.flip.x=1",
        "fields.kind.steps.0={label.index: null}",
        "fields.kind.steps.0={label.index: {classes: [a, 1]}}",
        "fields.kind.steps.0={label.index: {classes: []}}",
        "batch.size=0",
        "batch.size=3.5",
        "batch.sise=3",
        "batch.shuffle=on",
        "output.format=npy",
        "output={format: npz}",
        "on_error.at_most=2",
        "on_error.policy=halt",
        "extra=1",
    ],
)
def test_it_refuses_what_read_config_refuses(schema, read, valid, override):
    config = read(valid, [override])
    assert config.faults
    assert not accepts(schema, config.document, schema)


@pytest.mark.parametrize(
    "override",
    [
        "seed=null",
        "source.split=null",
        "batch=null",
        "output=null",
        "on_error=null",
        "fields.picture.steps=null",
        "fields.picture.steps.0=image.flip",
        "fields.picture.steps.0={image.flip: null}",
        "fields.picture.from=[file, path]",
        "fields.picture.follows=kind",
        "fields.x9={from: file}",
    ],
)
def test_it_takes_what_read_config_takes(schema, read, valid, override):
    config = read(valid, [override])
    assert config.faults == ()
    assert accepts(schema, config.document, schema)


def test_examples_of_all_steps(schema):
    tried = 0
    for name in step_names():
        for example in find_step(name).examples:
            params = json.loads(json.dumps(dict(example.params), default=str))
            kind = "batch_step" if issubclass(find_step(name), BatchStep) else "step"
            assert accepts(schema["$defs"][kind], {name: params}, schema), (name, params)
            tried += 1
    assert tried >= 4


def test_configs_of_the_project_have_no_faults(monkeypatch, tmp_path):
    for name in ("PIPELINES_DATA", "PIPELINES_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert len(CONFIGS) >= 12
    assert [str(fault) for path in CONFIGS for fault in read_config(path).faults] == []


def test_the_example_of_the_documentation(schema, read, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "config.md").read_text("utf-8")
    example = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.setenv("DIGITS", "/digits")
    config = read(example)
    assert config.faults == ()
    assert [len(field.steps) for field in config.fields] == [5, 1, 0]
    assert accepts(schema, load(example), schema)
    for name in (*source_names(), *sink_names()):
        assert f"`{name}`" in text
