"""Weights of pretrained models: read without unpickling, checked before a run, hashed, fetched or refused in words."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretrained import no_network  # noqa: F401  # a fixture

from pipelines import weights
from pipelines.errors import SourceError, SpecError
from pipelines.image import Embed
from pipelines.spec import picture

PICTURE = picture(64, 64)


def saved(path: Path, state: Any) -> Path:
    torch.save(state, path)
    return path


def linear(seed: int = 0) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 2)


def test_a_state_dict_is_read_and_put_in(tmp_path: Path) -> None:
    path, module = saved(tmp_path / "w.pt", linear(1).state_dict()), linear(2)
    weights.fill_torch(module, weights.read_torch(path), path, ())
    assert torch.equal(module.weight, linear(1).weight)
    assert not module.training
    assert not module.weight.requires_grad


class Harm:
    """An object that does something when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    for path in (saved(tmp_path / "zip.pt", {"weight": Harm(harm)}), tmp_path / "old.pth"):
        if path.suffix == ".pth":
            path.write_bytes(pickle.dumps(Harm(harm)))
        with pytest.raises(SpecError, match=r"holds no weights that can be read without unpickling"):
            weights.read_torch(path)
    assert not harm.exists()


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"state_dict": {}, "epoch": 3}, r"expected names and tensors, .* got entries 'state_dict', 'epoch'"),
        ([torch.zeros(1)], "expected names and tensors"),
    ],
)
def test_a_checkpoint_is_no_state_dict(state: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=says):
        weights.read_torch(saved(tmp_path / "w.pt", state))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with pytest.raises(SpecError, match=r"w\.pt does not fit the model: size mismatch for weight: .*3"):
        weights.fill_torch(linear(), {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, path, ())
    with pytest.raises(SpecError, match=r"it has no weight; it has no bias; a\.1 has no place; and 2 more"):
        weights.fill_torch(linear(), {f"a.{n}": torch.zeros(1) for n in (1, 2, 3)}, path, ())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("no.pt", None, r"cannot read the weights .*no\.pt: No such file"),
        ("page.pt", b"<!DOCTYPE html>", r"page\.pt holds no weights: it begins with b'<!DOCTYP'"),
        ("empty.pth", b"", "holds no weights"),
        ("w.h5", b"\x89HDF\r\n\x1a\n", r"expected weights in a file \.pt or \.pth or \.safetensors, .*got w\.h5"),
        ("w.pkl", b"\x80\x04", r"expected weights in a file"),
    ],
)
def test_a_wrong_file_is_a_fault_before_the_run(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    step = Embed(model="resnet18", library="torchvision", file=tmp_path / name)
    with pytest.raises(SpecError, match=says):
        step.out_spec(PICTURE)


@pytest.mark.parametrize("given", [{}, {"file": "w.pt", "download": True}, {"file": "w.pt", "download": "DEFAULT"}])
def test_weights_have_one_place(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected either file, with weights, or download: true"):
        Embed(model="resnet18", library="torchvision", **given)


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"first")
    assert weights.file_sha256(path) == hashlib.sha256(b"first").hexdigest()
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    assert weights.file_sha256(path) == hashlib.sha256(b"other").hexdigest()
    with pytest.raises(SourceError, match="cannot read the weights"):
        weights.file_sha256(tmp_path / "none")
    one: np.ndarray[Any, Any] = np.arange(6, dtype=np.float32)
    two: np.ndarray[Any, Any] = np.zeros((2, 1))
    assert weights.values_sha256([one, two]) == weights.values_sha256([one.copy(), two])
    others = ([two, one], [one.reshape(2, 3), two], [one.astype(np.float64), two])
    assert len({weights.values_sha256(held) for held in ([one, two], *others)}) == 4


def test_what_the_hub_keeps_is_used_and_checked(tmp_path: Path, no_network: list[Any]) -> None:  # noqa: F811
    kept = tmp_path / "torch" / "hub" / "checkpoints"
    kept.mkdir(parents=True)
    path = saved(kept / "w.pt", linear().state_dict())
    hashed = path.rename(kept / f"model-{weights.file_sha256(path)[:8]}.pth")
    assert weights.from_hub(f"https://example.org/a/{hashed.name}", "a model", hashed=True) == hashed
    (kept / "model-00000000.pth").write_bytes(b"PK")
    with pytest.raises(SourceError, match=r"model-00000000\.pth is damaged"):
        weights.from_hub("https://example.org/a/model-00000000.pth", "a model", hashed=True)
    assert no_network == []


def test_without_a_network_the_download_is_one_sentence(no_network: list[Any]) -> None:  # noqa: F811
    with pytest.raises(
        SourceError, match=r"the weights of a model could not be downloaded \(.*network.*\); get the"
    ) as e:
        weights.from_hub("https://example.org/w.pt", "a model", hashed=False)
    assert "\n" not in str(e.value)
    assert no_network


def test_each_device_has_one_copy() -> None:
    module = linear()
    held = weights.on_device_of(module)
    assert held(torch.zeros(1)) is module
    other = held(torch.zeros(1, device="meta"))
    assert other is held(torch.zeros(2, device="meta"))
    assert {p.device.type for p in other.parameters()} == {"meta"}
    assert {p.device.type for p in module.parameters()} == {"cpu"}


def test_safetensors_are_read_where_the_library_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\0" * 16)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(SpecError, match="needs the library safetensors: pip install safetensors"):
        weights.read_torch(path)
    stand_in = types.SimpleNamespace(load_file=lambda file: {"weight": torch.zeros(1)})
    monkeypatch.setitem(sys.modules, "safetensors.torch", stand_in)
    assert list(weights.read_torch(path)) == ["weight"]
