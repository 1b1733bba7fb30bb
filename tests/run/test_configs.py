"""Every shipped config, found on disk and counted, runs on both frameworks and gives the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines
from pipelines.config import json_schema
from pipelines.samples import make_samples
from pipelines.step import difference

FOLDER = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


def test_the_configs_are_the_ones_we_know() -> None:
    assert [path.stem for path in CONFIGS] == [
        "audio_digits",
        "audio_ljspeech",
        "image_cifar10",
        "image_imagenet",
        "multimodal_tuxpaint",
        "quickstart_audio",
        "quickstart_image",
        "quickstart_multimodal",
        "quickstart_text",
        "text_ag_news",
        "text_ag_news_manifest",
        "text_ag_news_tokens",
        "text_sst2_bert",
        "train_ag_news",
        "train_cifar10",
        "train_digits",
    ]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make_samples(folder / "out/samples")
    return folder


def place(path: Path, samples: Path) -> Path:
    """The config where its relative paths lead to the samples, as after the quickstart."""
    if not path.stem.startswith("quickstart"):
        return path
    (samples / "configs").mkdir(exist_ok=True)
    copy = samples / "configs" / path.name
    copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return copy


def two_batches(path: Path, framework: str) -> tuple[list[dict[str, Any]], pipelines.Pipeline]:
    size = pipelines.load(path, framework=framework, device="cpu", limit=1).config.batch.size
    pipe = pipelines.load(path, framework=framework, device="cpu", limit=2 * size)
    records = [record for delivered in pipe.epoch() for record in pipe.engine.unbatch(delivered)]
    assert pipe.counts.delivered == len(records) > 0
    return records, pipe


def marked(path: Path) -> Any:
    """A config whose source is torchtext's runs where torchtext does."""
    needs = [pytest.mark.needs("torchtext")] * ("torchtext:" in path.read_text(encoding="utf-8"))
    return pytest.param(path, marks=needs, id=path.stem)


@pytest.mark.parametrize("path", map(marked, CONFIGS))
@pytest.mark.usefixtures("data")
def test_two_batches_are_the_same_on_both_frameworks(path: Path, samples: Path) -> None:
    path = place(path, samples)
    a, torch = two_batches(path, "torch")
    b, tensorflow = two_batches(path, "tensorflow")
    assert [r["key"] for r in a] == [r["key"] for r in b]
    assert [f.key for f in torch.quarantine] == [f.key for f in tensorflow.quarantine]
    for field, spec in torch.plan.specs.items():
        for x, y in zip(a, b, strict=True):
            if not (spec.is_numeric and spec.dtype.startswith("float")) or x[field] is None:
                assert (
                    np.array_equal(x[field], y[field])
                    if spec.is_numeric and x[field] is not None
                    else x[field] == y[field]
                )
                continue
            # a resized or turned picture may differ by one level of 255, up to 0.02 once normalized; what
            # else there is are levels in dB, 0.012 dB apart at most in bands that are nearly empty
            share = 0.02 if spec.is_picture else 5e-4
            peak = float(np.max(np.abs(x[field]), initial=1.0))
            assert difference(np.asarray(x[field]), np.asarray(y[field])) <= share * peak, (field, x["key"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_editors_find_the_schema(path: Path) -> None:
    named = path.read_text(encoding="utf-8").splitlines()[3].removeprefix("# yaml-language-server: $schema=")
    published = json.loads((path.parent / named).read_text(encoding="utf-8"))
    assert published == json_schema(), "write it anew: pipelines schema > pipelines/config/schema.json"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_header_says_what_it_makes_how_and_of_which_shape(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = lines[:3]
    assert all(line.startswith("#") for line in head)
    assert any(f"pipelines run configs/{path.name}" in line for line in head)
    assert any("[" in line for line in head), "one batch's shape"
