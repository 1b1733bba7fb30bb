"""A hook of MkDocs: makes the reference pages from the docstrings, the steps' parameters and the schema of configs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import pipelines
from pipelines.catalog import MODALITIES, find_sink, find_source, find_step, sink_names, source_names, step_names
from pipelines.config import json_schema
from pipelines.report.tables import schema_text
from pipelines.sources._base import SourceConfig
from pipelines.step import Step


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, which lie in no folder."""
    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def pages() -> dict[str, str]:
    """Markdown by the name of its page."""
    found = {modality: "\n".join(_steps(modality)) for modality in MODALITIES}
    return found | {
        "sources": "\n".join(_sources()),
        "config_keys": "\n".join(_config_keys()),
        "python": "\n".join(_python()),
    }


def _steps(modality: str) -> Iterator[str]:
    yield f"# Steps: {modality}\n"
    for name in step_names():
        if name.startswith(f"{modality}."):
            step = find_step(name)
            yield f"## {name}\n\n{_documented(step)}\n"
            yield from _parameters(step)
            why = f": {step.agreement.why}" if step.agreement.why else ""
            yield f"\nBetween the frameworks: {_cell(f'{step.agreement}{why}')}.\n"


def _sources() -> Iterator[str]:
    yield "# Sources and outputs\n"
    for name in source_names():
        yield f"## source: {name}\n\n{_documented(find_source(name))}\n"
        yield from _parameters(find_source(name))
    for name in sink_names():
        yield f"## output: {name}\n\n{_documented(find_sink(name))}\n"


def _config_keys() -> Iterator[str]:
    schema = json_schema()
    yield "# Keys of a config\n\nMade from the JSON Schema that `pipelines schema` prints.\n"
    for key, part in schema["properties"].items():
        inner = next((found for found in _resolved(part, schema) if "properties" in found), None)
        said = part.get("description") or (inner or {}).get("description", "")
        yield f"## `{key}`\n\n{_cell(said)}\n"
        if inner is not None and key not in ("source", "fields"):
            yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
            for name, one in inner["properties"].items():
                default = json.dumps(one["default"]) if "default" in one else "required"
                kind = _cell(schema_text(one, schema["$defs"]))
                yield f"| `{name}` | {kind} | `{default}` | {_cell(one.get('description', ''))} |"
            yield ""


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for way in (part, *part.get("anyOf", ())):
        yield schema["$defs"][way["$ref"].rsplit("/", 1)[1]] if "$ref" in way else way


def _python() -> Iterator[str]:
    yield "# Python\n\nWhat `import pipelines` gives; single steps are classes of `pipelines.audio` and so on.\n"
    for name in pipelines.__all__:
        thing = getattr(pipelines, name)
        signature = "" if inspect.isclass(thing) else str(inspect.signature(thing))
        yield f"## {name}\n"
        if signature:
            yield f"```python\n{name}{signature}\n```\n"
        yield f"{_documented(thing)}\n"
        if thing is pipelines.Pipeline:
            for method, held in inspect.getmembers(thing, inspect.isfunction):
                if not method.startswith("_") and held.__doc__:
                    yield f"### {method}\n\n```python\n{method}{inspect.signature(held)}\n```\n\n{_documented(held)}\n"


def _documented(thing: Any) -> str:
    """A docstring: its first line, and the rest as it is laid out."""
    first, _, rest = (inspect.getdoc(thing) or "").partition("\n")
    body = f"\n\n```text\n{rest.strip()}\n```" if rest.strip() else ""
    return f"**{_cell(first)}**{body}"


def _parameters(model: type[Step] | type[SourceConfig]) -> Iterator[str]:
    schema = model.model_json_schema()
    if not schema.get("properties"):
        return
    yield "| parameter | type | default |\n| --- | --- | --- |"
    for name, info in model.model_fields.items():
        default = "required" if info.is_required() else str(info.get_default(call_default_factory=True))
        kind = schema_text(schema["properties"][name], schema.get("$defs", {}))
        yield f"| `{name}` | {_cell(kind)} | {_cell(default)} |"


def _cell(text: str) -> str:
    """Text of the code in Markdown as it is."""
    for sign in "\\|*_<[`":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
