"""Sections change when, and only when, what they mean does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import FieldConfig, StepUse, read_config
from pipelines.config._sections import sections
from pipelines.errors import UserError
from pipelines.step import ConfigPath, Identical, Step


class Worded(Step):
    """A step whose result a file decides."""

    vocabulary: ConfigPath
    beside: ConfigPath = Path("beside")
    agreement = Identical()

    def files(self) -> tuple[Path, ...]:
        return (self.vocabulary,)


def test_names(read, valid):
    held = sections(read(valid))
    assert list(held) == ["seed", "batch", "source", "split", "output", "fields.picture", "fields.kind"]
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in held.values())


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("seed=8", {"seed"}),
        ("batch.size=5", {"batch"}),
        ("batch.fixed=true", {"batch"}),
        ("source.folder.files='*.jpg'", {"source"}),
        ("source.folder={path: data, files: '*', name: '{a}'}", {"source"}),
        ("source.split.use=valid", {"split"}),
        ("source.split.parts={valid: 0.25, train: 0.75}", {"split"}),  # the order says which hashes are whose
        ("output.records_per_shard=10", {"output"}),
        ("output.format=parquet", {"output"}),
        ("fields.picture.steps.0.image.flip.probability=0.5", {"fields.picture"}),
        ("fields.picture.steps.1={image.flip: {direction: vertical}}", {"fields.picture"}),
        ("fields.picture.from=[file]", set()),
        ("fields.picture.from=path", {"fields.picture"}),
        ("fields.kind.optional=false", {"fields.kind"}),
        ("fields.kind.follows=picture", {"fields.kind"}),
        # what changes no value
        ("framework=tensorflow", set()),
        ("output.path=elsewhere", set()),
        ("source.folder.path=elsewhere", set()),
        ("on_error.policy=quarantine", set()),
        ("on_error.at_most=0.1", set()),
        # defaults that are written down
        ("batch.drop_last=false", set()),
        ("output.records_per_shard=1000", set()),
        ("fields.picture.optional=false", set()),
        ("fields.picture.steps.1={image.flip: {direction: horizontal, probability: 0.5}}", set()),
        ("source.folder={path: data, files: '*.png', name: null}", set()),
    ],
)
def test_what_changed(read, valid, override, names):
    before, config = sections(read(valid)), read(valid, [override])
    assert config.faults == ()
    after = sections(config)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == names


def test_hashes_stay(read):
    # a saved state outlives a release, so these may change only together with its version
    text = "framework: torch\nsource: {folder: {path: x, files: '*'}}\nfields: {a: {from: file, steps: [image.flip]}}\n"
    assert sections(read(text)) == {
        "seed": "842b7d9d43cddf75",
        "batch": "01e7b720ff566d53",
        "source": "e78986b54e846f8e",
        "fields.a": "aee245c70866808c",
    }


def worded(base: Path, step: Worded):
    config = read_config(
        {"framework": "torch", "source": {"folder": {"path": "x", "files": "*"}}, "fields": {"a": {"from": "file"}}}
    )
    field = FieldConfig("a", ("file",), (StepUse(step, "text.worded", "p"),), False, None, "p")
    return sections(type(config)(**{**vars(config), "fields": (field,), "base": base}))["fields.a"]


def test_files_count_by_content(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "v").mkdir(parents=True)
        (folder / "v" / "words").write_text("a b")
        (folder / "v" / "more").write_text("c")
    for name in ("v/words", "v"):  # a file, and a folder of files
        before = worded(one, Worded(vocabulary=one / name, beside=one / "beside"))
        assert before == worded(two, Worded(vocabulary=two / name, beside=two / "beside"))  # moved as a whole
        assert before != worded(one, Worded(vocabulary=one / name, beside=one / "other"))
        (two / "v" / "words").write_text("a c")
        assert before != worded(two, Worded(vocabulary=two / name, beside=two / "beside"))
        (two / "v" / "words").write_text("a b")


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(UserError, match=r"text.worded: cannot read .*gone: No such file"):
        worded(tmp_path, Worded(vocabulary=tmp_path / "gone"))
