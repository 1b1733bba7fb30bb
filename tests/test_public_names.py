"""The names that users import, pinned: adding or removing one is meant and is seen in review."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

import pipelines
from pipelines.catalog import MODALITIES, find_sink, find_source, find_step, sink_names, source_names, step_names
from pipelines.errors import UserError
from pipelines.step import Step

PUBLIC = [
    *("load", "Pipeline", "run", "Summary", "as_torch", "as_keras", "Spec", "Axis"),
    *("PipelineError", "UserError", "ConfigError", "SpecError", "SourceError", "MissingLibrary", "OutputError"),
    *("StateError", "RecordError", "TooManyFailures", "ParityError"),
]
STEPS = {
    "audio": [
        "channels",
        "decibels",
        "decode",
        "delta",
        "embed",
        "fbank",
        "fit",
        "gain",
        "inverse_stft",
        "mel",
        "mfcc",
        "mu_law",
        "noise",
        "normalize",
        "pitch_shift",
        "pre_emphasis",
        "resample",
        "reverb",
        "shift",
        "spec_augment",
        "stft",
        "time_stretch",
        "trim_silence",
    ],
    "text": [
        "add_tokens",
        "basic_english",
        "bpe",
        "characters",
        "clean",
        "clip_bpe",
        "code_points",
        "embed",
        "ngrams",
        "pack",
        "pad",
        "pair",
        "regex",
        "sentencepiece",
        "truncate",
        "utf8",
        "vectors",
        "vocab",
        "whitespace",
        "wordpiece",
    ],
    "image": [
        "affine",
        "auto_augment",
        "autocontrast",
        "blur",
        "color_jitter",
        "crop",
        "cutmix",
        "decode",
        "embed",
        "equalize",
        "erase",
        "flip",
        "grayscale",
        "invert",
        "mixup",
        "noise",
        "normalize",
        "pad",
        "perspective",
        "posterize",
        "rand_augment",
        "resize",
        "rotate",
        "sharpness",
        "solarize",
        "trivial_augment",
    ],
    "label": ["boxes", "index", "multi_hot", "one_hot"],
}
SOURCES = ["folder", "lines", "manifest", "shards", "tfds", "torchaudio", "torchtext", "torchvision"]
SINKS = ["npz", "parquet", "tfrecord", "webdataset"]


def test_the_package() -> None:
    assert sorted(pipelines.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(pipelines, name).__module__.startswith("pipelines.")


def test_steps_sources_and_sinks() -> None:
    assert list(step_names()) == [f"{m}.{name}" for m in MODALITIES for name in STEPS[m]]
    assert list(source_names()) == SOURCES
    assert list(sink_names()) == SINKS


@pytest.mark.parametrize("modality", MODALITIES)
def test_classes_of_a_modality(modality: str) -> None:
    module = importlib.import_module(f"pipelines.{modality}")
    names = ["".join(part.title() for part in step.split("_")) for step in STEPS[modality]]
    assert dir(module) == sorted(names)
    for name, step in zip(names, STEPS[modality], strict=True):
        cls = getattr(module, name)
        assert issubclass(cls, Step)
        assert cls is find_step(f"{modality}.{step}")
        assert (cls.__name__, cls.step_name()) == (name, f"{modality}.{step}")
        assert Path(importlib.import_module(cls.__module__).__file__ or "").stem == step
    with pytest.raises(AttributeError, match="has no step 'Nothing'"):
        module.Nothing  # noqa: B018  # the look-up is the test


@pytest.mark.parametrize(
    ("find", "name", "meant"),
    [(find_step, "audio.mell", "audio.mel"), (find_source, "manifests", "manifest"), (find_sink, "parket", "parquet")],
)
def test_an_unknown_name_is_told_the_nearest(find: Callable[[str], object], name: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"unknown .*{name!r}; did you mean {meant!r}"):
        find(name)
