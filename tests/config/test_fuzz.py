"""Whatever a config holds, reading it gives faults or a ConfigError, and runs nothing."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from audit import watching
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipelines.config import Config, json_schema, read_config
from pipelines.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every step and source is loaded, and the codecs that reading a file needs, so that no import is left to see."""
    json_schema()
    path = tmp_path_factory.mktemp("loaded") / "c.yaml"
    path.write_text("framework: torch\n")
    assert read_config(path).faults


def outcome(path: Any, overrides: tuple[str, ...] = ()) -> Config | None:
    """The config, or None where ConfigError was raised; nothing else may happen."""
    config, message = None, "no error"
    with watching() as seen:
        try:
            config = read_config(path, overrides)
        except UserError as error:
            message = str(error)
    assert [(event, what) for event, what in seen if event != "import" or not what.startswith("pipelines.")] == []
    assert message
    if config is not None:
        json.dumps(config.document)
        assert all(fault.place and fault.message for fault in config.faults)
        assert str(config)
    return config


SCRAPS = st.sampled_from(
    [
        *["\n", " ", "  ", "\t", ":", ": ", "- ", "[", "]", "{", "}", ",", "'", '"', "#", "&a ", "*a", "<<: "],
        *["!!python/name:os.system ", "!", "|", ">", "?", "%", "@", "`", "~", "null", "true", "1e9", ".inf", "0x"],
        *["${", "${PATH}", "$${", "---\n", "...\n", "\ufeff", "\0", "é", "\u2028", "\U0001f600", "../", "9" * 30],
        *["os.path", "pipelines.audio", "image.", "__class__"],
    ]
)
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.data())
def test_mutated_text(tmp_path, valid, data):
    text = valid
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(SCRAPS | st.text(max_size=5)) + text[stop:]
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome(path)


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path, content):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    outcome(path)


NAMES = st.sampled_from(
    [
        *["os", "os.system", "pipelines", "pipelines.config", "image", "image.", "image._warp", "image.flip.Flip"],
        *["image/flip", ".image.flip", "audio..decode", "sources.folder", "label.index", "image.flip", "split"],
        *["folder", "", "key", "from"],
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Each place in a document, as (container, key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [spot for key, inner in items for spot in [(value, key), *spots(inner)]]


@QUICK
@given(st.data())
def test_mutated_values(valid, data):
    document = copy.deepcopy(YAML(typ="safe", pure=True).load(valid))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(spots(document) or [({"": 0}, "")]))
        change = data.draw(st.sampled_from(["replace", "rename", "drop", "add"]))
        value = data.draw(VALUES)
        if change == "replace":
            container[key] = value
        elif change == "drop" or isinstance(container, list):
            del container[key]
        else:
            name = data.draw(NAMES | st.text(max_size=5))
            container[name] = container.pop(key) if change == "rename" else value
    config = outcome(document)
    again = outcome(document)
    assert (config is None) == (again is None)
    if config is not None and again is not None:
        assert config.faults == again.faults


@QUICK
@given(st.lists(SCRAPS | NAMES | st.text(max_size=6), max_size=6).map("".join))
def test_any_override(valid, text):
    document = YAML(typ="safe", pure=True).load(valid)
    step, size = f"fields.picture.steps.0={text}", f"batch.size={text}"
    for override in (text, f"{text}=1", f"fields.picture.{text}", step, size):
        assert outcome(document, (override,)) is not None


def test_the_watch_sees_what_it_must():
    # what the tests above rest on: an import of another package and an unpickling are seen
    with watching() as seen:
        with pytest.raises(ModuleNotFoundError):
            __import__("a_package_that_is_not_there")
        pickle.loads(pickle.dumps(Path))
    assert ("import", "a_package_that_is_not_there") in seen
    assert "pickle.find_class" in {event for event, _ in seen}
