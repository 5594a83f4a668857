"""S7: an image that stands for gigabytes is refused by its header; formats off the list are not opened."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from semiseg.cli import main
from semiseg.data.reading import image_size, mask_palette, open_image, read_image, read_mask
from semiseg.errors import DataError

SIDE = 30_000
READERS = [open_image, read_image, image_size, read_mask, mask_palette]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int = SIDE, height: int = SIDE, *, before: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = zlib.compress(bytes(20_000_000), 9)[:20_000]
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def bmp() -> bytes:
    size = 54 + SIDE * SIDE * 3
    return struct.pack(
        "<2sIHHIIiiHHIIiiII", b"BM", size & 0xFFFFFFFF, 0, 0, 54, 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0
    )


def tiff() -> bytes:
    tags = [
        (256, 4, SIDE),
        (257, 4, SIDE),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (279, 4, 8),
    ]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + packed + bytes(4)


def jpeg() -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(content, "JPEG")
    packed = bytearray(content.getvalue())
    start = packed.index(b"\xff\xc0")
    packed[start + 5 : start + 9] = struct.pack(">HH", SIDE, SIDE)
    return bytes(packed)


BOMBS: dict[str, Callable[[], bytes]] = {"png": png, "bmp": bmp, "tif": tiff, "jpg": jpeg}


@pytest.fixture(autouse=True)
def _pillow_cap() -> Iterator[None]:
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a decoded pixel be a failure."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("pixels were decoded"))


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_s07_a_bomb_is_refused_by_its_header(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(BOMBS[kind]())
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(DataError, match=rf"(?s)larger than the cap.*bomb\.{kind}.*at most 100,000,000 pixels"):
        read(path)
    seconds, (_, most) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20
    assert seconds < 2, "the row says 100 ms; a busy machine may take longer"


def test_s07_the_bomb_is_20_kilobytes_and_is_refused_in_100_ms_at_best(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png())
    assert path.stat().st_size < 21_000
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        with pytest.raises(DataError, match="larger than the cap"):
            read_image(path)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1


@pytest.mark.parametrize("name", [b"iTXt", b"zTXt", b"iCCP"])
def test_s07_compressed_metadata_is_bounded(tmp_path: Path, name: bytes) -> None:
    head = b"Comment\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0")
    path = tmp_path / "text.png"
    path.write_bytes(png(8, 8, before=chunk(name, head + zlib.compress(bytes(500_000_000), 9))))
    tracemalloc.start()
    try:
        image_size(path)
    except DataError as error:
        assert "text.png" in str(error)  # noqa: PT017
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 64 << 20


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO", "PCX", "EPS", "PDF"])
def test_s07_formats_off_the_list_are_not_opened_whatever_they_are_called(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(path, kind)
    for read in READERS:
        with pytest.raises(DataError, match=r"(?s)unreadable image.*x\.png.*JPEG, PNG, BMP, TIFF, WEBP"):
            read(path)


@pytest.mark.parametrize("verb", ["train", "data check"])
def test_s07_a_bomb_among_the_images_stops_a_verb(
    tiny_scenes: Path,
    tmp_path: Path,
    verb: str,
    tiny_words: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bomb = tmp_path / "more/bomb.png"
    bomb.parent.mkdir()
    bomb.write_bytes(png())
    words = tiny_words("x", "--data.unlabeled", str(bomb.parent))
    assert main([*verb.split(), *words]) == (2 if verb == "train" else 1)
    output = capsys.readouterr()
    assert "larger than the cap" in output.err + output.out
    assert "more/bomb.png" in output.err + output.out
