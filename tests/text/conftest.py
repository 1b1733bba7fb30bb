"""Real texts, read once, and a way to run one text step over many texts."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from stacks import holds
from text.texts import Run

from pipelines import companions
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT, Spec
from pipelines.step import Step


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    """torchtext, where the stack holds it, is loaded as the steps load it: without its notice that it has ended."""
    assert companions.usable("torchtext") is holds("torchtext")


@pytest.fixture(scope="session")
def run() -> Run:
    """`run(framework, step, values)`: what the step gives for each value, as NumPy lists; in TensorFlow by tf.data."""

    def each(framework: str, step: Step, values: Sequence[Any], spec: Spec = TEXT) -> list[Any]:
        kernel, out = step.bind(framework, spec), step.out_spec(spec)
        if framework == "torch":
            return [_lists(to_numpy(kernel(to_native(value, spec, framework)), out)) for value in values]
        import tensorflow as tf

        if spec == TEXT:
            records = tf.data.Dataset.from_tensor_slices([value.encode() for value in values])
        else:
            kind = tf.TensorSpec(spec.shape, spec.dtype if spec.is_numeric else tf.string)
            records = tf.data.Dataset.from_generator(lambda: iter(values), output_signature=kind)
        batches = records.map(kernel, num_parallel_calls=2).ragged_batch(64)
        return [
            value if out.is_numeric else to_numpy(value, out)
            for batch in batches
            for value in (batch.to_list() if isinstance(batch, tf.RaggedTensor) else batch.numpy().tolist())
        ]

    return each


def _lists(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.fixture(scope="session")
def files(data: Path) -> Path:
    """The folder of BERT's, GPT-2's and T5's files."""
    return data / "text_tokenizer_files"


@pytest.fixture(scope="session")
def naughty(data: Path) -> list[str]:
    """Strings that break parsers."""
    strings: list[str] = json.loads((data / "text_naughty_strings" / "blns.json").read_text(encoding="utf-8"))
    assert len(strings) > 500
    return strings


@pytest.fixture(scope="session")
def udhr(data: Path) -> list[str]:
    """The first lines of the Declaration of Human Rights in each of its languages."""
    lines: list[str] = []
    with zipfile.ZipFile(data / "text_udhr" / "udhr2.zip") as held:
        names = [name for name in held.namelist() if name.endswith(".txt")]
        for name in names:
            lines += held.read(name).decode("utf-8", errors="replace").splitlines()[:4]
    assert len(names) > 300
    return lines


@pytest.fixture(scope="session")
def news(data: Path) -> list[str]:
    """All 7600 items of AG_NEWS' test part: title and description."""
    with (data / "text_ag_news" / "test.csv").open(encoding="utf-8", newline="") as file:
        items = [" ".join(row[1:]) for row in csv.reader(file)]
    assert len(items) == 7600
    return items


@pytest.fixture(scope="session")
def reviews(data: Path) -> list[str]:
    """SST-2's sentences, development and test part."""
    found = [
        line.rpartition("\t")[0]
        for part in ("dev", "test")
        for line in (data / "text_sst2" / f"{part}.tsv").read_text(encoding="utf-8").splitlines()
    ]
    assert len(found) > 2500
    return found


@pytest.fixture(scope="session")
def articles(data: Path) -> list[str]:
    """Lines of WikiText-2, with their spaces at the ends."""
    return (data / "text_wikitext2" / "valid.txt").read_text(encoding="utf-8").split("\n")[:600]
