"""image.decode on files made here: modes, orientation, depths, limits, damage. Pillow is the oracle."""

from __future__ import annotations

import io
import struct
import sys
import time
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError
from tensorflow.errors import OpError

from pipelines import companions
from pipelines.errors import RecordError
from pipelines.image._header import read_header
from pipelines.image.decode import Decode
from pipelines.spec import BYTES, TEXT
from pipelines.step import Example

GRAY = (19595, 38470, 7471)


def encoded(image: Image.Image, **how: Any) -> bytes:
    image.save(file := io.BytesIO(), **how)
    return file.getvalue()


def noise(*shape: int) -> Image.Image:
    # smooth enough for JPEG, so that chroma upsampling has something to do
    small = np.random.default_rng(7).integers(0, 256, (-(-shape[0] // 3), -(-shape[1] // 3), *shape[2:]), np.uint8)
    return Image.fromarray(small).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int = 8, colour: int = 0, pixels: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("how", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 100}])
@pytest.mark.parametrize("shape", [(17, 11, 3), (16, 32, 3), (23, 9)])
def test_jpeg_is_what_libjpeg_says(shape: Any, how: Any, framework: str, run: Any) -> None:
    file = encoded(noise(*shape), format="JPEG", **how)
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    np.testing.assert_array_equal(run(Decode(), BYTES, file, framework), expected)


def test_gray_weighs_red_green_and_blue(framework: str, run: Any) -> None:
    file = encoded(noise(19, 31, 3), format="JPEG")
    rgb = run(Decode(), BYTES, file, framework).astype(np.int64)
    gray = run(Decode(mode="gray"), BYTES, file, framework)
    np.testing.assert_array_equal(gray[..., 0], (rgb @ np.array(GRAY) + 32768) >> 16)
    np.testing.assert_array_equal(gray[..., 0], np.asarray(Image.open(io.BytesIO(file)).convert("RGB").convert("L")))
    flat = encoded(noise(19, 31), format="PNG")
    np.testing.assert_array_equal(
        run(Decode(mode="gray"), BYTES, flat, framework)[..., 0], np.asarray(Image.open(io.BytesIO(flat)))
    )


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "transparent colour", "transparent gray", "JPEG", "WEBP"])
def test_transparency_is_kept_or_dropped(kind: str, framework: str, run: Any) -> None:
    how: dict[str, Any] = {"format": "PNG"}
    image = noise(12, 15, 4)
    if kind in ("LA", "P"):
        image = image.convert(kind)
        how |= {"transparency": 3} if kind == "P" else {}
    elif kind.startswith("transparent"):
        image = image.convert("RGB" if kind.endswith("colour") else "L")
        how |= {"transparency": image.getpixel((2, 2))}
    elif kind == "JPEG":
        image, how = image.convert("RGB"), {"format": "JPEG"}
    elif kind == "WEBP":
        how = {"format": "WEBP", "lossless": True, "exact": True}
    file = encoded(image, **how)
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"))
    np.testing.assert_array_equal(run(Decode(mode="rgba"), BYTES, file, framework), expected)
    np.testing.assert_array_equal(run(Decode(), BYTES, file, framework), expected[..., :3])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(9))
def test_orientation_is_applied_or_ignored(orientation: int, form: str, framework: str, run: Any) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation  # 0 makes no sense, and 1 is upright
    stored = noise(9, 14, 3)
    file = encoded(stored, format=form, exif=tags, **({"lossless": True} if form == "WEBP" else {}))
    plain = encoded(stored, format=form, **({"lossless": True} if form == "WEBP" else {}))
    pixels = np.asarray(Image.open(io.BytesIO(plain)).convert("RGB"))
    turned = Image.fromarray(pixels)
    turned.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(run(Decode(orientation="ignore"), BYTES, file, framework), pixels)
    np.testing.assert_array_equal(run(Decode(), BYTES, file, framework), np.asarray(ImageOps.exif_transpose(turned)))


def test_16_bits_keep_the_upper_byte(framework: str, rng: np.random.Generator, run: Any) -> None:
    values = rng.integers(0, 65536, (13, 10), dtype=np.uint16)
    for form in ("PNG", "TIFF"):
        found = run(Decode(), BYTES, encoded(Image.fromarray(values), format=form), framework)
        np.testing.assert_array_equal(found, np.repeat((values >> 8)[..., None], 3, -1))
    colours = rng.integers(0, 65536, (6, 5, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    np.testing.assert_array_equal(run(Decode(), BYTES, png(5, 6, 16, 2, rows), framework), colours >> 8)


def test_classes_are_the_numbers_as_stored(framework: str, rng: np.random.Generator, run: Any) -> None:
    step, numbers = Decode(mode="classes"), rng.integers(0, 16, (5, 8), dtype=np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette(rng.integers(0, 256, 48, dtype=np.uint8).tobytes())
    nibbles = np.concatenate([np.zeros((5, 1), np.uint8), numbers[:, ::2] << 4 | numbers[:, 1::2]], 1)
    files = {
        "8-bit palette": encoded(palette, format="PNG"),
        "4-bit palette": encoded(palette, format="PNG", bits=4),
        "8-bit grey": encoded(Image.fromarray(numbers), format="PNG"),
        "4-bit grey": png(8, 5, depth=4, pixels=nibbles.tobytes()),
        "16-bit grey": encoded(Image.fromarray(numbers.astype(np.uint16)), format="PNG"),
    }
    for name, file in files.items():
        np.testing.assert_array_equal(run(step, BYTES, file, framework)[..., 0], numbers, err_msg=name)
    ones = run(step, BYTES, encoded(Image.fromarray(numbers > 7), format="PNG"), framework)
    np.testing.assert_array_equal(ones[..., 0], numbers > 7)
    for image, says in (
        (noise(4, 5, 3), "expected classes, a palette or greys, got a picture of mode RGB"),
        (Image.fromarray(numbers.astype(np.uint16) * 100), "expected classes up to 255, got"),
    ):
        with pytest.raises(Exception, match=says):
            run(step, BYTES, encoded(image, format="PNG"), framework)


def test_other_formats_and_first_frames(framework: str, run: Any) -> None:
    image = noise(20, 14, 3)
    pixels = np.asarray(image)
    for form in ("BMP", "TIFF", "PPM", "WEBP"):
        file = encoded(image, format=form, **({"lossless": True} if form == "WEBP" else {}))
        np.testing.assert_array_equal(run(Decode(), BYTES, file, framework), pixels, err_msg=form)
    frames = [noise(20, 14, 3).quantize(30), Image.new("P", (14, 20))]
    for form in ("GIF", "TIFF", "PNG"):
        file = encoded(frames[0], format=form, save_all=True, append_images=frames[1:])
        expected = np.asarray(frames[0].convert("RGB"))
        np.testing.assert_array_equal(run(Decode(), BYTES, file, framework), expected, err_msg=form)
    cmyk = encoded(image.convert("CMYK"), format="JPEG")
    expected = np.asarray(Image.open(io.BytesIO(cmyk)).convert("RGB"))
    np.testing.assert_array_equal(run(Decode(), BYTES, cmyk, framework), expected)


def test_sizes_are_checked_before_decoding(framework: str, run: Any) -> None:
    bomb = png(60_000, 60_000, pixels=b"\0")  # 3.6e9 pixels in 70 bytes
    begin = time.perf_counter()
    with pytest.raises(Exception, match="60000 x 60000"):
        run(Decode(), BYTES, bomb, framework)
    assert time.perf_counter() - begin < 5  # 3.6 GB would take longer
    strip = encoded(Image.new("L", (1, 70_000)), format="PNG")
    with pytest.raises(Exception, match=r"1 x 70000.*max_side"):
        run(Decode(), BYTES, strip, framework)
    assert run(Decode(max_side=70_000), BYTES, strip, framework).shape == (70_000, 1, 3)
    for form in ("JPEG", "PNG", "BMP", "GIF"):
        file = encoded(Image.new("L", (11, 10)), format=form)
        assert run(Decode(max_pixels=110), BYTES, file, framework).shape == (10, 11, 3)
        with pytest.raises(Exception, match=r"11 x 10.*max_pixels"):
            run(Decode(max_pixels=109), BYTES, file, framework)


FILES = {
    "JPEG": encoded(noise(24, 33, 3), format="JPEG"),
    "progressive JPEG": encoded(noise(24, 33, 3), format="JPEG", progressive=True),
    "PNG": encoded(noise(24, 33, 3), format="PNG"),
    "GIF": encoded(noise(24, 33), format="GIF"),
    "BMP": encoded(noise(24, 33, 3), format="BMP"),
    "TIFF": encoded(noise(24, 33, 3), format="TIFF"),
    "WEBP": encoded(noise(24, 33, 3), format="WEBP"),
}


@pytest.mark.parametrize("form", ["JPEG", "progressive JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_a_cut_off_file_fails(form: str, framework: str, run: Any) -> None:
    file = FILES[form]
    for kept in (0.99, 0.8, 0.5, 0.1, 0.02):
        with pytest.raises(Exception, match=r"cut off|cannot be decoded|unknown format|truncated|pixels"):
            run(Decode(), BYTES, file[: int(kept * len(file))], framework)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
    st.floats(0.3, 1),
)
def test_damage_is_the_same_to_both(run: Any, form: str, changes: list[tuple[float, int]], kept: float) -> None:
    """Changed bytes and cut-off ends: both frameworks fail, or both give the same pixels."""
    file = bytearray(FILES[form])
    for place, value in changes:
        file[int(place * len(file))] = value
    file = file[: int(len(file) * kept) if kept < 0.9 else len(file)]
    results = []
    for framework in ("torch", "tensorflow"):
        try:
            results.append(run(Decode(max_pixels=100_000), BYTES, bytes(file), framework))
        except (RecordError, RuntimeError, OpError):  # what we, torch and TensorFlow say of a bad file
            results.append(None)
    assert (results[0] is None) == (results[1] is None)
    if results[0] is not None:
        np.testing.assert_array_equal(*results)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", FILES["JPEG"][:200], FILES["PNG"][:60]]), st.binary()
)
def test_any_bytes_have_a_header_or_a_reason(start: bytes, rest: bytes) -> None:
    """The header reader ends, and raises nothing but RecordError, whatever it is given."""
    try:
        header = read_header(start + rest)
    except RecordError:
        return
    assert 1 <= header.orientation <= 8


def test_what_is_no_picture_fails(framework: str, run: Any) -> None:
    for content, reason in (
        (b"", "empty"),
        (b"not a picture", "unknown format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unknown"),
    ):
        with pytest.raises(Exception, match=reason):
            run(Decode(), BYTES, content, framework)
    with pytest.raises(Exception, match="32-bit numbers"):
        run(Decode(), BYTES, encoded(Image.new("F", (4, 4)), format="TIFF"), framework)


def test_pillow_does_not_warn(framework: str, run: Any) -> None:
    """A palette with bytes of transparency makes Pillow warn when it is converted."""
    file = encoded(noise(8, 8).quantize(8), format="PNG", transparency=b"\x00\x80\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Decode(mode="rgba").bind(framework, BYTES)  # sets the filter that this block took away
        run(Decode(mode="rgba"), BYTES, file, framework)
        run(Decode(), BYTES, file, framework)


@pytest.mark.parametrize("example", Decode.examples, ids=str)
def test_pillow_gives_the_same_where_torchvision_decodes_no_more(
    example: Example, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    assert example.values is not None
    step, files = Decode.model_validate(example.params), example.values(rng)
    expected = [step.bind("torch", BYTES)(file) for file in files]
    monkeypatch.setattr(companions, "why_not", lambda library: "ImportError: cannot import name 'decode_jpeg'")
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    without = step.bind("torch", BYTES)
    for file, pixels in zip(files, expected, strict=True):
        torch.testing.assert_close(without(file), pixels, rtol=0, atol=0)
        with pytest.raises(RecordError):
            without(file[: len(file) // 2])


def test_parameters_and_seam() -> None:
    with pytest.raises(ValidationError, match="rgb"):
        Decode(mode="bgr")
    with pytest.raises(ValidationError, match="178956970"):
        Decode(max_pixels=2**40)  # Pillow itself would refuse
    with pytest.raises(Exception, match="expected bytes"):
        Decode().out_spec(TEXT)
    assert str(Decode(mode="gray").out_spec(BYTES)) == "uint8[height, width, channel 1] level in [0, 255]"
