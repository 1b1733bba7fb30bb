"""News items as WordPiece ids in padded batches of 64, as each library's own documentation does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

THREADS, BATCH, LONGEST = 2, 64, 512
Epoch = Callable[[], Iterator[Any]]


def _texts(folder: Path) -> list[str]:
    return (folder / "news.txt").read_text("utf-8").splitlines()


def _tokenizer(folder: Path) -> Any:
    from tokenizers import BertWordPieceTokenizer

    made = BertWordPieceTokenizer(str(folder / "vocabulary.txt"))
    made.enable_padding()
    made.enable_truncation(LONGEST)
    return made


def tokenizers(folder: Path, turn: bool) -> Epoch:
    import numpy as np

    made, texts = _tokenizer(folder), _texts(folder)

    def epoch() -> Iterator[Any]:
        for first in range(0, len(texts), BATCH):
            yield np.array([encoding.ids for encoding in made.encode_batch(texts[first : first + BATCH])])

    return epoch


def datasets(folder: Path, turn: bool) -> Epoch:
    from datasets import Dataset

    made, data = _tokenizer(folder), Dataset.from_dict({"text": _texts(folder)})

    def encode(rows: dict[str, list[str]]) -> dict[str, Any]:
        return {"ids": [encoding.ids for encoding in made.encode_batch(rows["text"])]}

    lazy = data.with_transform(encode)  # map() would write a file once and read that ever after

    def epoch() -> Iterator[Any]:
        import numpy as np

        for first in range(0, len(lazy), BATCH):
            yield np.array(lazy[first : first + BATCH]["ids"])

    return epoch


def tensorflow_text(folder: Path, turn: bool) -> Epoch:
    import tensorflow as tf
    import tensorflow_text as text

    vocabulary = (folder / "vocabulary.txt").read_text("utf-8").splitlines()
    made = text.FastBertTokenizer(vocabulary, lower_case_nfd_strip_accents=True, token_out_type=tf.int64)

    def encode(texts: tf.Tensor) -> tf.Tensor:
        ids = made.tokenize(texts)[:, : LONGEST - 2]
        ids, _ = text.combine_segments([ids], 101, 102)
        return ids.to_tensor()

    data = tf.data.Dataset.from_tensor_slices(_texts(folder)).batch(BATCH)
    data = data.map(encode, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: iter(data)


def torchtext(folder: Path, turn: bool) -> Epoch:
    from torch.utils.data import DataLoader
    from torchtext.transforms import AddToken, BERTTokenizer, Sequential, StrToIntTransform, ToTensor, Truncate

    ids = BERTTokenizer(str(folder / "vocabulary.txt"), do_lower_case=True)
    change = Sequential(ids, StrToIntTransform(), Truncate(LONGEST - 2), AddToken(101, True), AddToken(102, False))
    to_tensor = ToTensor(padding_value=0)
    texts: Any = _texts(folder)
    loader = DataLoader(
        texts, BATCH, num_workers=THREADS, persistent_workers=True, collate_fn=lambda rows: to_tensor(change(rows))
    )
    return lambda: iter(loader)


PEERS = {
    "tokenizers, encode_batch": tokenizers,
    "datasets, tokenizers": datasets,
    "DataLoader, torchtext": torchtext,
    "tf.data, tensorflow-text (other ids on hard texts)": tensorflow_text,
}
