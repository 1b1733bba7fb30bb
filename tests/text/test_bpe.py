"""GPT-2 ids against the tokenizers library, and against OpenAI's own ranks."""

from __future__ import annotations

import base64
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from text.texts import HARD, TEXTS, Run, different, no_library
from tokenizers import ByteLevelBPETokenizer

from pipelines import companions
from pipelines.errors import SpecError
from pipelines.native import to_native, to_numpy
from pipelines.spec import TEXT, Spec
from pipelines.step import Kernel
from pipelines.text import Bpe, ClipBpe

EXAMPLE = Bpe.examples[0].params


def oracle(encoder: Any, merges: Any, texts: list[str]) -> list[list[int]]:
    """The ids that the library gives."""
    return [encoding.ids for encoding in ByteLevelBPETokenizer(str(encoder), str(merges)).encode_batch(texts)]


def gpt2(files: Path) -> tuple[Path, Path]:
    """GPT-2's own files."""
    return files / "gpt2_bpe_encoder.json", files / "gpt2_bpe_vocab.bpe"


@cache
def bound(framework: str, hidden: bool, cls: type[Bpe] | type[ClipBpe] = Bpe) -> Kernel:
    with pytest.MonkeyPatch.context() as patch:
        if hidden:
            patch.setattr(companions, "why_not", no_library)
        kernel: Kernel = cls(**cls.examples[0].params).bind(framework, TEXT)
        return kernel


@given(texts=TEXTS)
@settings(max_examples=40, deadline=None)
def test_any_text(framework: str, texts: list[str]) -> None:
    ids = Spec("int64")
    expected = oracle(EXAMPLE["encoder"], EXAMPLE["merges"], texts)
    for hidden in (False, True):
        kernel = bound(framework, hidden)
        found = [to_numpy(kernel(to_native(t, TEXT, framework)), ids).tolist() for t in texts]
        assert different(texts, found, expected) == []


@given(texts=TEXTS)
@settings(max_examples=40, deadline=None)
def test_any_text_by_clip(framework: str, texts: list[str]) -> None:
    """With torchtext, and by the tokenizers library on the whole text."""
    step, ids = ClipBpe(**ClipBpe.examples[0].params), Spec("int64")
    whole = step._tokenizers()
    for hidden in (False, True):
        kernel = bound(framework, hidden, ClipBpe)
        found = [to_numpy(kernel(to_native(t, TEXT, framework)), ids).tolist() for t in texts]
        assert different(texts, found, [whole(text) for text in texts]) == []


def test_without_companion_libraries(
    framework: str, files: Path, run: Run, naughty: list[str], news: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, merges = gpt2(files)
    texts = [*naughty, *news[:500], *HARD]
    monkeypatch.setattr(companions, "why_not", no_library)
    found = run(framework, Bpe(encoder=encoder, merges=merges), texts)
    assert different(texts, found, oracle(encoder, merges, texts)) == []


def by_ranks(ranks: dict[bytes, int], text: str) -> list[int]:
    """Byte-pair merging of an ASCII text as tiktoken does it: always the adjacent pair of lowest rank."""
    found = []
    cut = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
    for piece in re.findall(cut, text):
        parts = [bytes([b]) for b in piece.encode()]
        while pairs := [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]:
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        found += [ranks[part] for part in parts]
    return found


def test_openais_ranks_are_the_ids(framework: str, data: Path, files: Path, run: Run, news: list[str]) -> None:
    lines = (data / "golden_whisper" / "gpt2.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    texts = [text for text in news[:80] if text.isascii()]
    encoder, merges = gpt2(files)
    found = run(framework, Bpe(encoder=encoder, merges=merges), texts)
    assert different(texts, found, [by_ranks(ranks, text) for text in texts]) == []


def test_special_tokens_are_whole_where_they_are_asked_for(framework: str, files: Path, run: Run) -> None:
    encoder, merges = gpt2(files)
    end = "<|endoftext|>"
    library = ByteLevelBPETokenizer(str(encoder), str(merges))
    library.add_special_tokens([end])
    texts = [end, f"a {end} b{end}", "<|endof text|>", f"Größe 世界{end}", "plain < text", ""]
    found = run(framework, Bpe(encoder=encoder, merges=merges, special=[end]), texts)
    assert different(texts, found, [e.ids for e in library.encode_batch(texts)]) == []
    assert found[0] == [50256]
    clip = files / "clip_encoder.json", files / "clip_vocab.bpe"
    plain = ClipBpe(encoder=clip[0], merges=clip[1], special=[])
    assert 49407 not in run(framework, plain, [f"a {end}"])[0]
    with pytest.raises(SpecError, match=r"'<\|end\|>' is not in .*encoder\.json"):
        Bpe(encoder=encoder, merges=merges, special=["<|end|>"]).out_spec(TEXT)


def test_files_without_header_or_last_line_feed(framework: str, run: Run, tmp_path: Path) -> None:
    lines = Path(EXAMPLE["merges"]).read_text(encoding="utf-8").splitlines()
    bare = tmp_path / "merges.txt"
    bare.write_bytes("\r\n".join(lines[1:]).encode())
    texts = ["a red circle, there", "100,000"]
    step = Bpe(encoder=EXAMPLE["encoder"], merges=bare)
    assert run(framework, step, texts) == oracle(EXAMPLE["encoder"], EXAMPLE["merges"], texts)


def test_files_that_do_not_belong_together_are_refused(files: Path) -> None:
    with pytest.raises(SpecError, match="does not belong to"):
        Bpe(encoder=EXAMPLE["encoder"], merges=gpt2(files)[1]).out_spec(TEXT)
    assert Bpe(encoder=gpt2(files)[0], merges=gpt2(files)[1]).out_spec(TEXT).range == (0, 50256)


def test_merges_of_other_models_are_refused(files: Path) -> None:
    with pytest.raises(SpecError, match="line 8 is 'th e</w>'"):
        Bpe(encoder=files / "clip_encoder.json", merges=files / "clip_vocab.bpe").out_spec(TEXT)
    with pytest.raises(SpecError, match="lacks 127 of the 256 bytes"):
        Bpe(encoder=files / "openai-gpt-vocab.json", merges=files / "openai-gpt-merges.txt").out_spec(TEXT)
    with pytest.raises(SpecError, match=r"is not a CLIP encoder .*lacks 256 of the 512 bytes, alone and before </w>"):
        ClipBpe(encoder=gpt2(files)[0], merges=gpt2(files)[1]).out_spec(TEXT)
    with pytest.raises(SpecError, match="does not belong to"):
        ClipBpe(encoder=ClipBpe.examples[0].params["encoder"], merges=files / "clip_vocab.bpe").out_spec(TEXT)
