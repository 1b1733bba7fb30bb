"""Every real picture file, hard cases included, against Pillow and across the frameworks."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.image.decode import Decode
from pipelines.spec import BYTES

FOLDERS = ("image_hardcases_pillow", "image_dali_formats", "image_torchvision_assets", "image_imagenet_sample")
MOST = 30  # files of a folder of plain photos: more of the same prove nothing more
# what is refused although Pillow alone would give something, each as the class docstring says
REFUSED = ("its samples are 32-bit", "unknown format", "the picture is ", "cut off", "damaged")


@pytest.fixture(scope="session")
def files(data: Path) -> dict[str, bytes]:
    found = {}
    for folder in FOLDERS:
        paths = sorted(p for p in (data / folder).rglob("*") if p.is_file())
        assert len(paths) >= 20, f"{folder} holds {len(paths)} files"
        paths = paths[:MOST] if folder == "image_imagenet_sample" else paths
        found |= {str(p.relative_to(data)): p.read_bytes() for p in paths}
    return found


@pytest.fixture(scope="session")
def decoded(files: dict[str, bytes], run: Any) -> dict[str, dict[str, Any]]:
    """What each framework makes of each file: the pixels, or the error."""

    def attempt(content: bytes, framework: str) -> Any:
        try:
            return run(Decode(), BYTES, content, framework)
        except Exception as error:  # what any framework raises is a failed record
            return error

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # none of Pillow's may come through
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Decode().bind_torch(BYTES)  # binding sets the filter, once for good, which pytest takes away after each test
        return {f: {name: attempt(content, f) for name, content in files.items()} for f in ("torch", "tensorflow")}


def test_both_frameworks_decode_the_same_files_to_the_same_pixels(decoded: dict[str, dict[str, Any]]) -> None:
    counts: Counter[str] = Counter()
    for name, torch in decoded["torch"].items():
        tensorflow = decoded["tensorflow"][name]
        if isinstance(torch, Exception) or isinstance(tensorflow, Exception):
            assert isinstance(torch, Exception), f"{name}: only tensorflow fails: {tensorflow}"
            assert isinstance(tensorflow, Exception), f"{name}: only torch fails: {torch}"
            counts["failed"] += 1
        else:
            assert torch.dtype == np.uint8
            assert np.array_equal(torch, tensorflow), name
            counts["decoded"] += 1
    assert counts["decoded"] + counts["failed"] == len(decoded["torch"]) == len(decoded["tensorflow"])
    assert counts["decoded"] > 10 * counts["failed"] > 0


@pytest.fixture(scope="session")
def pillows(files: dict[str, bytes]) -> dict[str, Any]:
    """What Pillow makes of each file, asked once for both frameworks."""
    return {name: oracle(content) for name, content in files.items()}


def test_pixels_are_those_of_pillow(
    framework: str, files: dict[str, bytes], decoded: dict[str, Any], pillows: dict[str, Any]
) -> None:
    compared, refused, beyond = 0, [], []
    for name, expected in pillows.items():
        ours = decoded[framework][name]
        if isinstance(ours, Exception):
            if expected is not None:
                refused.append(name)
                assert any(reason in str(decoded["torch"][name]) for reason in REFUSED), decoded["torch"][name]
        elif expected is None:
            beyond.append(name)
        else:
            assert np.array_equal(ours, expected), name
            compared += 1
    assert compared > 0.85 * len(files)
    # Pillow gives up on PNGs with a damaged text or colour profile chunk, whose pixels are whole
    assert all(files[name].startswith(b"\x89PNG") for name in beyond), beyond
    assert len(refused) + len(beyond) < 0.05 * len(files), (refused, beyond)


def by_pillow(content: bytes) -> tuple[Image.Image | None, int]:
    """The picture as a viewer turns it, and the bits of a wide sample; None where Pillow cannot read it.

    It is no oracle for such a file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(content))
            image.load()
            bits = image.tag_v2.get(258, (16,))[0] if image.format == "TIFF" else 16
            return ImageOps.exif_transpose(image), bits
        except (OSError, ValueError, Image.DecompressionBombError):
            return None, 0


def oracle(content: bytes) -> Any:
    """What a viewer built on Pillow shows, as RGB; None where Pillow fails. 16-bit gray keeps its upper byte."""
    image, bits = by_pillow(content)
    if image is None:
        return None
    if image.mode.startswith("I"):
        gray = np.asarray(image).astype(np.int64) >> (bits - 8)
        return np.repeat(gray[..., None], 3, -1).astype(np.uint8)
    return np.asarray(image.convert("RGBA" if "A" in image.mode else "RGB"))[..., :3]


def test_the_absurd_picture_is_refused_by_its_header(data: Path, framework: str, run: Any) -> None:
    found = [p for p in (data / "image_hardcases_pillow").iterdir() if p.name.startswith("timeout-041dd17d")]
    for path in found:  # not in every split of the data
        with pytest.raises(Exception, match="128 x 659463"):
            run(Decode(), BYTES, path.read_bytes(), framework)


def test_orientation_of_the_dali_set(data: Path, framework: str, run: Any) -> None:
    folder = data / "image_dali_formats/imgcodec/jpeg/orientation"
    paths = sorted(folder.glob("*.jpg"))
    assert len(paths) >= 5
    shapes = set()
    for path in paths:
        upright = run(Decode(), BYTES, path.read_bytes(), framework)
        stored = run(Decode(orientation="ignore"), BYTES, path.read_bytes(), framework)
        with Image.open(path) as image:
            np.testing.assert_array_equal(stored, np.asarray(image.convert("RGB")))
            np.testing.assert_array_equal(upright, np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
        shapes.add(upright.shape)
    assert len(shapes) == 2, "some are turned by a right angle"


@pytest.mark.parametrize("mode", ["gray", "rgba"])
def test_modes_on_hard_cases(mode: Any, framework: str, files: dict[str, bytes], run: Any) -> None:
    """Gray is Pillow's L of the RGB picture, and RGBA its RGBA, whatever the file holds."""
    compared = 0
    names = [n for n in files if "pillow" in n and files[n][:4] in (b"\x89PNG", b"GIF8", b"RIFF", b"\xff\xd8\xff\xe0")]
    for name in names[::3]:
        image, _ = by_pillow(files[name])
        if image is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.mode in ("1", "I;16"):  # Pillow's own RGBA of a bilevel picture has an alpha of 1
                continue
            rgb = image.convert("RGBA").convert("RGB")
            expected = np.asarray(rgb.convert("L"))[..., None] if mode == "gray" else np.asarray(image.convert("RGBA"))
        np.testing.assert_array_equal(run(Decode(mode=mode), BYTES, files[name], framework), expected, err_msg=name)
        compared += 1
    assert compared > 50
