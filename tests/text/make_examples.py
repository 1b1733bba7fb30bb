"""Makes the small vocabularies and models that the examples of the text steps use.

    python tests/text/make_examples.py      (tokenizers 0.23.3, sentencepiece 0.2.3)

The text they are learnt from is this project's own.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import sentencepiece
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import Split

FOLDER = Path(__file__).parents[2] / "pipelines" / "text" / "_example"
TEXT = (
    "A red circle above a small blue square, and a low tone of one second.",
    "Two green triangles stand beside the yellow star; the sound rises slowly.",
    "Three grey lines cross the picture. Don't they look like a window?",
    "The quick brown fox can't jump 32.3 feet, right? It jumped 100,000 times!",
    "Größe, Straße und Übermut: ein kleiner Kreis, drei große Quadrate.",
    "Un cercle très élégant, une étoile dorée et un carré brisé, n'est-ce pas?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "我能吞下玻璃而不傷身體。 ガラスを食べられます。",
    "अच्छा दिन है। ὁ Σίσυφος. أنا قادر على أكل الزجاج.",
)


def write(name: str, text: str) -> None:
    """One text file of the folder, with line feeds on every system."""
    (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


def wordpiece() -> None:
    """A BERT vocabulary of both cases: every character, and the first and last letters of every word."""
    plain = normalizers.BertNormalizer(lowercase=True)
    split = pre_tokenizers.BertPreTokenizer()
    lines = [*TEXT, *map(plain.normalize_str, TEXT)]
    words = {word for line in lines for word, _ in split.pre_tokenize_str(line)}
    letters = {letter for word in words for letter in word}
    pieces = {word[:3] for word in words} | {f"##{word[3:]}" for word in words if len(word) > 3}
    rest = sorted(letters) + sorted(f"##{c}" for c in letters) + sorted(pieces - letters)
    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *rest])
    write("wordpiece.txt", "".join(f"{token}\n" for token in tokens))


def bpe() -> None:
    """A byte-level BPE in the files of GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    write("encoder.json", json.dumps(model["vocab"]) + "\n")
    write("vocab.bpe", "".join(f"{line}\n" for line in ("#version: 0.2", *merges)))


def clip() -> None:
    """A byte-level BPE in the files of CLIP: bytes, bytes at a word's end, merges, two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (ord(c) > 0xFF, ord(c)))
    ends = [f"{c}</w>" for c in alphabet]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    cut = Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), behavior="removed", invert=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, bytes_])
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=[*alphabet, *ends],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    joined = [m.replace(" ", "") for m in merges]
    tokens = dict.fromkeys([*alphabet, *ends, *joined, "<|startoftext|>", "<|endoftext|>"])
    write("clip_encoder.json", json.dumps({token: i for i, token in enumerate(tokens)}) + "\n")
    write("clip_vocab.bpe", "".join(f"{line}\n" for line in ("#version: 0.2", *merges)))


def vectors() -> None:
    """Word vectors in the forms of GloVe and of fastText."""
    words = ["a", "red", "circle", "Größe", "世", "##ing", ". .", "the"]
    rng = np.random.default_rng(0)
    lines = [" ".join([word, *(f"{v:.5g}" for v in rng.normal(size=5))]) for word in words]
    write("vectors.txt", "".join(f"{line}\n" for line in lines))
    write("vectors.vec", "".join(f"{line} \n" for line in (f"{len(words)} 5", *lines)))


def sentencepiece_model() -> None:
    """A unigram model that falls back to bytes."""
    held = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=held,
        vocab_size=420,
        byte_fallback=True,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (FOLDER / "sentencepiece.model").write_bytes(held.getvalue())


def tokens() -> None:
    """A vocabulary of whole words, ready for `text.vocab`."""
    words = {word.strip(".,;:!?").lower() for line in TEXT[:4] for word in line.split()}
    write("words.txt", "".join(f"{word}\n" for word in ("<unk>", "<pad>", *sorted(words))))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    wordpiece()
    bpe()
    clip()
    vectors()
    sentencepiece_model()
    tokens()
