"""R14: images as people have them. Each is used as it should be, or named with its reason before the first step."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semiseg.cli import main

RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def packed(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(RGB).convert(mode)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return packed(picture(), "JPEG", exif=exif)


def wide() -> bytes:
    return packed(Image.fromarray(RGB[..., 0].astype(np.uint16) * 200), "PNG")


def claims(width: int, height: int) -> bytes:
    """Return a PNG whose header claims another size than its pixels have."""
    content = bytearray(packed(picture(), "PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


GOOD: dict[str, bytes] = {
    "cmyk.jpg": packed(picture("CMYK"), "JPEG"),
    "palette.png": packed(picture("P"), "PNG"),
    "alpha.png": packed(picture("RGBA"), "PNG"),
    "alpha_of_gray.png": packed(picture("LA"), "PNG"),
    "gray.jpg": packed(picture("L"), "JPEG"),
    "bilevel.tif": packed(picture("1"), "TIFF", compression="group4"),
    "turned.jpg": turned(),
    "one_pixel.png": packed(Image.new("RGB", (1, 1)), "PNG"),
    "strip.png": packed(Image.new("RGB", (4000, 1)), "PNG"),
    "progressive.jpg": packed(picture(), "JPEG", progressive=True),
    "called_wrong.png": packed(picture(), "JPEG"),
    "lossless.webp": packed(picture(), "WEBP", lossless=True),
}
BAD: dict[str, tuple[bytes, str]] = {
    "truncated.jpg": (packed(picture(), "JPEG")[:900], "damaged image"),
    "truncated.png": (packed(picture(), "PNG")[:-2000], "damaged image"),
    "truncated.tif": (packed(picture(), "TIFF")[:5000], "image"),
    "truncated.webp": (packed(picture(), "WEBP")[:700], "image"),
    "empty.jpg": (b"", "unreadable image"),
    "page.jpg": (b"<!DOCTYPE html><title>403 Forbidden</title>", "unreadable image"),
    "16bit.png": (wide(), "8 bits a channel"),
    "float.tif": (packed(Image.fromarray(RGB[..., 0].astype(np.float32)), "TIFF"), "8 bits a channel"),
    "other_size.png": (claims(6400, 4800), "damaged image"),
    "zeros.jpg": (bytes(4096), "unreadable image"),
}


@pytest.fixture
def zoo(tiny_scenes: Path, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Return `zoo(files)`: the tiny scenes, found by searching, with these files among the unlabeled images."""

    def build(files: dict[str, bytes]) -> Path:
        root = tmp_path / "zoo"
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
            for path in sorted((tiny_scenes / folder).glob("*.png"))[:4]:
                (root / folder / path.name).write_bytes(path.read_bytes())
        (root / "dataset.yaml").write_text((tiny_scenes / "dataset.yaml").read_text().split("lists:")[0])
        for name, content in files.items():
            (root / "images" / name).write_bytes(content)
        return root

    return build


def check(root: Path, tmp_path: Path) -> tuple[int, dict[str, Any]]:
    code = main(["data", "check", str(root), "--json", str(tmp_path / "found.json")])
    return code, json.loads((tmp_path / "found.json").read_text())


def test_r14_twenty_files_and_more() -> None:
    assert len(GOOD) + len(BAD) >= 20


def test_r14_what_can_be_used_is_sound_and_trained_on(
    zoo: Callable[[dict[str, bytes]], Path], tmp_path: Path, tiny_words: Callable[..., list[str]]
) -> None:
    root = zoo(GOOD)
    code, facts = check(root, tmp_path)
    assert (code, facts["faults"], facts["samples"]["unlabeled"]) == (0, [], len(GOOD))
    assert main(["train", str(root), *tiny_words("x", "--schedule.steps", "6")[1:]]) == 0
    assert not (tmp_path / "x/data/quarantine.json").exists()


def test_r14_each_broken_file_is_listed_with_its_reason(
    zoo: Callable[[dict[str, bytes]], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = zoo({name: content for name, (content, _) in BAD.items()})
    code, facts = check(root, tmp_path)
    assert code == 1
    assert not facts["sound"]
    for name, (_, reason) in BAD.items():
        named = [fault for fault in facts["faults"] if f"images/{name}" in fault]
        assert len(named) == 1, name
        assert reason in named[0], name
        assert "remedy:" in named[0]
    assert len(facts["faults"]) == len(BAD)
    output = capsys.readouterr()
    assert f"{len(BAD)} faults" in output.out
    assert "Traceback" not in output.out + output.err
