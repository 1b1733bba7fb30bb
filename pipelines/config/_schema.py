"""The JSON Schema of a config, for editors: the grammar, and every step and source with its parameters."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from inspect import getdoc
from typing import Any

from pydantic import BaseModel

from pipelines.catalog import announced_step_names, find_source, find_step, sink_names, source_names, step_names
from pipelines.config._models import (
    FIELD_NAME,
    RESERVED,
    BatchConfig,
    CacheConfig,
    ErrorConfig,
    OutputConfig,
    SplitConfig,
)
from pipelines.errors import UserError
from pipelines.sources._mix import Mix, Share
from pipelines.spec import FRAMEWORKS
from pipelines.step import BatchStep

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The JSON Schema (2020-12) of a config."""
    definitions: Schema = {}

    def model(name: str, of: type[BaseModel]) -> Schema:
        return _define(definitions, name, of)

    known = {name: find_step(name) for name in step_names()}
    for name in announced_step_names():
        with suppress(UserError):  # told where a config names it, and by `pipelines steps`
            known[name] = find_step(name)
    steps = {name: model(f"steps.{name}", step) for name, step in known.items()}
    on_batch = {name: steps.pop(name) for name, step in known.items() if issubclass(step, BatchStep)}
    bare = [name for name in steps if not definitions[f"steps.{name}"].get("required")]
    definitions["step"] = {
        "description": "The name of a step, alone or with its parameters.",
        "anyOf": [{"enum": bare}, _one_of({n: _may_be_null(s) if n in bare else s for n, s in steps.items()})],
    }
    definitions["batch_step"] = {"description": "A step on the finished batch.", **_one_of(on_batch)}
    sources = {name: model(f"sources.{name}", find_source(name)) for name in source_names()}
    part = _object({**sources, **Share.model_json_schema()["properties"]}, required=["weight"])
    definitions["part"] = {"description": "A source of a mix.", **part, "oneOf": _required(sources)}
    sources["mix"] = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/part"}, "description": getdoc(Mix)}
    source = _object({**sources, "split": _may_be_null(model("split", SplitConfig))})
    source["oneOf"] = _required(sources)
    output = model("output", OutputConfig)
    definitions["output"]["properties"]["format"]["enum"] = list(sink_names())
    definitions["field"] = _field()
    fields = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^(?!({RESERVED.pattern})$){FIELD_NAME.pattern}$"},
        "additionalProperties": {"$ref": "#/$defs/field"},
        "description": "What a batch holds: a name, and how its value is made.",
    }
    properties = {
        "framework": {"enum": list(FRAMEWORKS), "description": "Where the steps run; --framework goes before it."},
        "seed": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 2**63 - 1,
            "default": 0,
            "description": "Order and chance are a function of this number, the epoch and the record.",
        },
        "source": {**source, "description": "Where the records are."},
        "fields": fields,
        "batch_steps": {
            "type": ["array", "null"],
            "items": {"$ref": "#/$defs/batch_step"},
            "description": "Steps on the finished batch, such as mixup.",
        },
        "cache": _may_be_null(model("cache", CacheConfig)),
        "batch": _may_be_null(model("batch", BatchConfig)),
        "output": _may_be_null(output),
        "on_error": _may_be_null(model("on_error", ErrorConfig)),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A config of multimodal-pipelines",
        **_object(properties, required=["source", "fields"]),
        "$defs": definitions,
    }


def _field() -> Schema:
    name = {"type": "string", "minLength": 1}
    properties: Schema = {
        "from": {
            "anyOf": [name, {"type": "array", "items": name, "minItems": 1}],
            "description": "The value of the source that flows in, or several.",
        },
        "steps": {"type": ["array", "null"], "items": {"$ref": "#/$defs/step"}},
        "optional": {"type": ["boolean", "null"], "default": False, "description": "An absent value is masked."},
        "follows": {
            "type": ["string", "null"],
            "description": "The picture whose moves these boxes, or this mask, take part in.",
        },
        "outside": {
            "type": ["integer", "null"],
            "default": 0,
            "description": "The class of a mask's pixels that come in from outside the picture.",
        },
    }
    return _object(properties, required=["from"])


def _define(definitions: Schema, name: str, model: type[BaseModel]) -> Schema:
    made = model.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    for part, schema in made.pop("$defs", {}).items():
        definitions[f"{name}.{part}"] = schema
    made["description"] = getdoc(model) or ""
    definitions[name] = {**made, "title": name}
    return {"$ref": f"#/$defs/{name}"}


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": required} if required else made


def _required(names: Iterable[str]) -> list[Schema]:
    return [{"required": [name]} for name in names]


def _one_of(properties: Schema) -> Schema:
    return {**_object(properties), "minProperties": 1, "maxProperties": 1}


def _may_be_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
