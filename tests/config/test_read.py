"""What a config comes to, and every fault of its grammar with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines.config import read_config
from pipelines.errors import ConfigError
from pipelines.image import Flip
from pipelines.label import Index


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


REST = {"drop_last": False, "fixed": False, "floats": "float32", "tokens": None, "bucket": None}
"""Keys of `batch` at their defaults."""


def test_valid(read, valid, tmp_path):
    config = read(valid)
    assert config.faults == ()
    assert (config.framework, config.seed, config.source_name, config.source_place) == (
        "torch",
        7,
        "folder",
        "c.yaml:4",
    )
    assert config.source.path == tmp_path / "data"
    assert (config.split.parts, config.split.use) == ({"train": 0.75, "valid": 0.25}, "train")
    picture, kind = config.fields
    assert (picture.name, picture.sources, picture.place) == ("picture", ("file",), "c.yaml:7")
    assert [(use.step, use.name, use.place) for use in picture.steps] == [
        (Flip(direction="vertical", probability=0.25), "image.flip", "c.yaml:10"),
        (Flip(), "image.flip", "c.yaml:11"),
    ]
    assert (picture.optional, picture.follows, picture.complete) == (False, None, True)
    assert kind.steps[0].step == Index(classes=("cat", "dog"))
    assert kind.optional
    batch = {"size": 4, "shuffle": True, **REST}
    assert config.batch.model_dump() == batch
    assert (config.output.format, config.output.path, config.output.records_per_shard) == (
        "npz",
        tmp_path / "out",
        1000,
    )
    assert (config.on_error.policy, config.on_error.at_most) == ("stop", 0.5)
    assert config.text == valid
    assert config.document == YAML(typ="safe", pure=True).load(valid)
    assert config.document["output"]["path"] == "out"  # as written
    assert (config.path, config.base) == (Path("c.yaml"), tmp_path)


def test_defaults(read):
    config = read("framework: tensorflow\nsource: {folder: {path: d, files: '*'}}\nfields: {a: {from: file}}\n")
    assert config.faults == ()
    assert (config.framework, config.seed, config.split, config.output) == ("tensorflow", 0, None, None)
    batch = {"size": 32, "shuffle": False, **REST}
    assert config.batch.model_dump() == batch
    assert config.on_error.model_dump() == {"policy": "quarantine", "at_most": 0.01}
    assert config.fields[0].steps == config.batch_steps == ()


def test_null_is_left_out(read, valid):
    text = changed(valid, "output: {format: npz, path: out}", "output:")
    text = changed(text, "    optional: true\n", "    optional:\n    follows: null\n")
    config = read(changed(text, "seed: 7", "seed: ~"))
    assert (config.faults, config.output, config.seed, config.fields[1].optional) == ((), None, 0, False)


def test_paths_start_from_the_config(tmp_path, valid, monkeypatch):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "c.yaml").write_text(changed(valid, "path: data", "path: ../data"))
    monkeypatch.chdir(tmp_path)
    config = read_config("a/b/c.yaml")
    assert config.source.path == folder / "../data"
    assert config.output.path == folder / "out"


def test_dict(tmp_path, monkeypatch, valid):
    monkeypatch.chdir(tmp_path)
    document = YAML(typ="safe", pure=True).load(valid)
    document["source"]["folder"]["path"] = Path("data")
    config = read_config(document)
    assert config.faults == ()
    assert config.source.path == tmp_path / "data"
    assert config.fields[0].steps[1].place == "config: fields.picture.steps[1]"
    assert YAML(typ="safe", pure=True).load(config.text) == config.document

    document["fields"]["picture"]["steps"][0]["image.flip"]["probability"] = 3
    document["fields"]["kind"]["steps"].append({"image.flop": {}})
    document["fields"]["kind"]["optional"] = object()
    document[3] = 4
    assert [str(fault) for fault in read_config(document).faults] == [
        "config: expected a text as key, got 3",
        "config: fields.picture.steps[0].image.flip.probability: probability=3 must be <= 1",
        "config: fields.kind.steps[1].image.flop: unknown step 'image.flop'; did you mean 'image.flip'?",
        "config: fields.kind.optional: expected text, numbers, lists and dicts, got object",
    ]


def test_a_dict_that_holds_itself_is_refused():
    document: dict[str, Any] = {"framework": "torch"}
    document["fields"] = document
    with pytest.raises(ConfigError, match="nested deeper"):
        read_config(document)


def test_all_faults_at_once_in_order_of_lines(faults):
    assert faults("""\
framework: torhc
seed: -1
source:
  folder: {pth: x, files: "*"}
  split: {parts: {a: 0.9, b: 0.2}, use: c}
fields:
  pic:
    from: file
    steps:
      - image.flip: {direction: horizntal, probability: 2}
      - image.flop
      - label.index: {classes: [a, a]}
      - label.index:
          classes: [a, 3]
        image.flip: {}
      - 3
      - label.index
  mel_length: {form: x}
  lab: {from: [a, ''], follows: pik, optional: yes}
  2nd: {from: x}
  e:
batch: {size: 0, sise: 3, shuffle: on}
output: {format: npy, path: 3, records_per_shard: 1.0}
on_error: {policy: stop it, at_most: 1.5}
fonts: 3
""") == [
        "c.yaml:1: framework: expected torch or tensorflow, got 'torhc'; did you mean 'torch'?",
        "c.yaml:2: expected a seed that is a whole number >= 0, got -1",
        "c.yaml:4: missing parameter 'path' of folder",
        "c.yaml:4: unknown parameter 'pth' of folder; did you mean 'path'?",
        "c.yaml:5: parts: the parts add up to 1.1, expected at most 1",
        "c.yaml:10: direction: expected 'horizontal' or 'vertical', got 'horizntal'; did you mean 'horizontal'?",
        "c.yaml:10: probability=2 must be <= 1",
        "c.yaml:11: unknown step 'image.flop'; did you mean 'image.flip'?",
        "c.yaml:12: classes: each class may stand once, 'a' stands twice",
        "c.yaml:15: a step has one name, this one is 'label.index' and 'image.flip'; is a '-' missing?",
        "c.yaml:16: expected the name of a step, alone or with its parameters, got 3",
        "c.yaml:17: missing parameter 'classes' of label.index",
        "c.yaml:18: the name 'mel_length' is taken: key, index, _… , …_length and …_mask are made by the pipeline",
        "c.yaml:18: unknown key 'form' in the field 'mel_length'; did you mean 'from'?",
        "c.yaml:18: missing key 'from' in the field 'mel_length'",
        "c.yaml:19: expected from to name a value of the source, or to be a list of names, got ['a', '']",
        "c.yaml:19: expected optional to be true or false, got 'yes'",
        "c.yaml:19: follows: there is no field 'pik'; did you mean 'pic'?",
        "c.yaml:20: expected a field name of letters, digits and _, got '2nd'",
        "c.yaml:21: the field 'e' is empty; expected from, steps, optional, follows, outside",
        "c.yaml:22: size=0 must be >= 1",
        "c.yaml:22: shuffle: expected true or false, got 'on'",
        "c.yaml:22: unknown parameter 'sise' of batch; did you mean 'size'?",
        "c.yaml:23: format: expected 'npz' or 'parquet' or 'tfrecord' or 'webdataset', got 'npy'; did you mean 'npz'?",
        "c.yaml:23: path: expected a text, got 3",
        "c.yaml:23: records_per_shard: expected a whole number, got 1.0",
        "c.yaml:24: policy: expected 'quarantine' or 'stop', got 'stop it'; did you mean 'stop'?",
        "c.yaml:24: at_most=1.5 must be <= 1",
        "c.yaml:25: unknown key 'fonts' in a config; "
        "expected framework, seed, source, fields, batch_steps, batch, cache, output, on_error",
    ]


def test_a_parameter_has_its_own_line(faults):
    assert faults("""\
framework: torch
source: {folder: {path: d, files: '*'}}
fields:
  pic:
    from: file
    steps:
      - image.flip:
          direction: vertical

          probability:
            1.25
      - label.index:
          classes:
            - cat
            - 3
            - dog
            - null
""") == [
        "c.yaml:10: probability=1.25 must be <= 1",
        "c.yaml:15: classes[1]: expected a text, got 3",
        "c.yaml:17: classes[3]: expected a text, got null",
    ]


def test_a_faulty_step_keeps_those_before_it(read, valid):
    config = read(changed(valid, "      - image.flip\n", "      - image.flip: {probability: 9}\n      - image.flip\n"))
    picture, kind = config.fields
    assert [use.place for use in picture.steps] == ["c.yaml:10"]
    assert (picture.complete, kind.complete) == (False, True)
    assert len(config.faults) == 1
    assert config.source is not None


def test_a_faulty_source_is_none(read, valid):
    config = read(changed(valid, "path: data", "path: 3"))
    assert (config.source, config.source_name, config.source_place) == (None, "folder", "c.yaml:4")
    assert config.split is not None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}", "c.yaml:2: expected one source, got none; sources are "),
        ("folder", "c.yaml:2: expected a mapping with the name of a source and its parameters, got 'folder'"),
        ("{foldr: {path: x}}", "c.yaml:2: unknown key 'foldr' in source; did you mean 'folder'?"),
        ("{folder: {path: x, files: y}, lines: {path: x}}", "c.yaml:2: expected one source, got folder and lines; "),
        ("{folder: 3}", "c.yaml:2: expected a mapping of the parameters of folder, got 3"),
        ("{folder: }", "c.yaml:2: missing parameter 'path' of folder"),
        ("{split: {parts: {a: 1}, use: a}}", "c.yaml:2: expected one source, got none; sources are "),
        ("null", "c.yaml:1: missing key 'source' in a config"),
    ],
)
def test_source_faults(faults, source, message):
    found = faults(f"framework: torch\nsource: {source}\nfields: {{a: {{from: file}}}}\n")
    assert found
    assert found[0].startswith(message)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("{parts: {a: 0.7, b: 0.2, c: 0.1}, use: d}", "use: expected 'a' or 'b' or 'c', got 'd'"),
        ("{parts: {a: 0, b: 1}, use: a}", "parts.a=0 must be > 0"),
        ("{parts: {a: x}, use: a}", "parts.a: expected a number, got 'x'"),
        ("{parts: {}, use: a}", "parts: expected at least 1 entry, got 0"),
        ("{parts: {a: 1}}", "missing parameter 'use' of split"),
        ("train", "expected a mapping of the parameters of split, got 'train'"),
    ],
)
def test_split_faults(faults, valid, split, message):
    assert faults(changed(valid, "{parts: {train: 0.75, valid: 0.25}, use: train}", split)) == [f"c.yaml:5: {message}"]


@pytest.mark.parametrize("name", ["key", "index", "_valid", "_state", "_x", "a_length", "b_mask"])
def test_reserved_names(faults, name):
    found = faults(f"framework: torch\nsource: {{folder: {{path: x, files: y}}}}\nfields: {{{name}: {{from: file}}}}")
    assert len(found) == 1
    assert f"the name {name!r} is taken" in found[0]


def test_follows(read):
    start = "framework: torch\nsource: {folder: {path: x, files: y}}\nfields:\n"
    config = read(start + "  boxes: {from: file, follows: picture}\n  picture: {from: file}\n")
    assert (config.faults, config.fields[0].follows) == ((), "picture")
    circle = read(start + "  a: {from: f, follows: b}\n  b: {from: f, follows: c}\n  c: {from: f, follows: a}\n")
    assert [str(f) for f in circle.faults] == ["c.yaml:4: follows: a circle, a -> b -> c -> a"]
    itself = read(start + "  a: {from: f, follows: a}\n  b: {from: f, follows: a}\n")
    assert [str(f) for f in itself.faults] == ["c.yaml:4: follows: a circle, a -> a"]


def test_batch_steps_are_looked_up(faults, valid):
    assert faults(valid + "batch_steps: [image.flip, image.flap: {}]\n") == [
        "c.yaml:20: image.flip works on one record, not on a batch; put it in a field",
        "c.yaml:20: unknown step 'image.flap'; did you mean 'image.flip'?",
    ]


def test_framework(read, valid, faults):
    assert read(valid, framework="tensorflow").framework == "tensorflow"
    text = changed(valid, "framework: torch\n", "")
    assert faults(text) == ["c.yaml:1: missing key 'framework': torch or tensorflow"]
    assert faults(text, framework="torch") == []
    assert faults(valid, framework="tensorflw") == [
        "--framework tensorflw: expected torch or tensorflow; did you mean 'tensorflow'?"
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_empty(faults, text):
    assert "a config is empty; expected framework, seed, source" in faults(text)[0]


@pytest.mark.parametrize("text", ["3\n", "- a\n- b\n", "a text\n"])
def test_no_mapping(faults, text):
    assert faults(text)[0].startswith("c.yaml:1: expected a config with framework, seed, source")


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes(b"framework: torch\nsource: \xff\n")
    Path("large.yaml").write_bytes(b"#" * 300_000)
    for path, message in {
        "none.yaml": "none.yaml: cannot read this config: No such file or directory",
        ".": ".: cannot read this config: Is a directory",
        "a\0b": "a\0b: cannot read this config: embedded null byte",
        "latin.yaml": "latin.yaml:2: expected UTF-8 text",
        "large.yaml": "large.yaml: expected a config of at most 256 KiB",
    }.items():
        with pytest.raises(ConfigError) as caught:
            read_config(path)
        assert str(caught.value) == message


def test_environment(read, valid, monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_WHERE", "/some/where")
    monkeypatch.delenv("NO_WHERE", raising=False)
    config = read(changed(valid, "path: data", "path: '${SOME_WHERE}/x'"))
    assert config.source.path == Path("/some/where/x")
    assert config.document["source"]["folder"]["path"] == "/some/where/x"
    assert read(changed(valid, "path: data", "path: '$${NO_WHERE}'")).source.path == tmp_path / "${NO_WHERE}"
    assert read(changed(valid, "path: data", "path: '$NO_WHERE$'")).source.path == tmp_path / "$NO_WHERE$"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO_WHERE}/x", "the environment variable NO_WHERE is not set"),
        ("${}", "expected ${NAME}, got '${}'; write $${ for a literal ${"),
        ("${a b}", "expected ${NAME}, got '${a b}'; write $${ for a literal ${"),
        ("${open", "expected ${NAME}, got '${open'; write $${ for a literal ${"),
    ],
)
def test_environment_faults(read, valid, monkeypatch, text, message):
    monkeypatch.delenv("NO_WHERE", raising=False)
    config = read(changed(valid, "path: data", f"path: '{text}'"))
    assert [str(fault) for fault in config.faults] == [f"c.yaml:4: {message}"]
    assert config.source is None  # half of a path is not opened


def test_a_missing_variable_hides_no_other_fault(faults, monkeypatch):
    monkeypatch.delenv("NO_WHERE", raising=False)
    assert faults("framework: torch\nsource: {folder: {path: '${NO_WHERE}', nme: 3}}\nfields: {a: {from: file}}\n") == [
        "c.yaml:2: the environment variable NO_WHERE is not set",
        "c.yaml:2: missing parameter 'files' of folder",
        "c.yaml:2: unknown parameter 'nme' of folder; did you mean 'name'?",
    ]


def test_overrides(read, valid):
    config = read(
        valid,
        [
            "batch.size=64",
            "fields.picture.steps.0.image.flip.probability=1",
            "fields.picture.steps.1.image.flip.direction=vertical",
            "fields.kind.steps.0={label.index: {classes: [a, b, c]}}",
            "output=null",
            "on_error.policy=quarantine",
            "source.folder.files='*.jpg'",
            "batch.size=128",
        ],
    )
    assert config.faults == ()
    assert (config.batch.size, config.batch.shuffle, config.output) == (128, True, None)
    assert [use.step for use in config.fields[0].steps] == [
        Flip(direction="vertical", probability=1),
        Flip(direction="vertical"),
    ]
    assert config.fields[1].steps[0].step == Index(classes=("a", "b", "c"))
    assert config.source.files == "*.jpg"
    assert config.document["batch"]["size"] == 128
    assert config.text == read(valid).text


def test_an_override_makes_the_section_that_is_missing(read):
    text = "framework: torch\nsource: {folder: {path: x, files: y}}\nfields: {a: {from: f, steps: [image.flip: ]}}\n"
    config = read(text, ["batch.size=8", "fields.a.steps.0.image.flip.probability=0", "fields.b.from=g"])
    assert (config.faults, config.batch.size, config.fields[1].sources) == ((), 8, ("g",))
    assert config.fields[0].steps[0].step == Flip(probability=0)


def test_an_override_replaces_what_would_be_a_fault(read, valid, monkeypatch):
    monkeypatch.delenv("NO_WHERE", raising=False)
    config = read(changed(valid, "path: data", "path: '${NO_WHERE}'"), ["source.folder.path=x"])
    assert config.faults == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch.sise=3", "unknown parameter 'sise' of batch; did you mean 'size'?"),
        ("batch.size=x", "size: expected a whole number, got 'x'"),
        ("batch.size=", "size: expected a whole number, got null"),
        ("batch", "expected KEY=VALUE with a dotted key, as in batch.size=64"),
        ("=3", "expected KEY=VALUE with a dotted key, as in batch.size=64"),
        ("a..b=3", "expected KEY=VALUE with a dotted key, as in batch.size=64"),
        (".".join("a" * 5000) + "=3", "expected KEY=VALUE with a dotted key, as in batch.size=64"),
        ("fields.picture.steps.7=image.flip", "expected a number below 2 after fields.picture.steps, got '7'"),
        ("fields.picture.steps.-1=image.flip", "expected a number below 2 after fields.picture.steps, got '-1'"),
        ("seed.x=1", "seed is a single value, there is no 'x' in it"),
        ("batch.size=[1", "not valid YAML: a [ is opened here and not closed, or a comma is missing"),
        (
            "source.folder.files=*.wav",
            "*.wav has no anchor &.wav above it; a text that starts with *",
        ),
        ("seed={a: 1, a: 2}", "duplicate key 'a', first at"),
        ("seed=!!python/name:os.system", "tags are not taken, got '!!python/name:os.system'"),
        ("fields.picture.steps.0.image.flop.x=1", "a step has one name, this one is 'image.flip' and 'image'"),
    ],
)
def test_override_faults(faults, valid, override, message):
    found = faults(valid, [override])
    assert found[0].startswith(f"--set {override}: {message}")
