from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.reading import image_size, mask_palette, open_image, read_image, read_mask
from semiseg.errors import DataError

ORIENTATION = 0x0112
CORNERS = np.zeros((24, 40, 3), dtype=np.uint8)
"""A picture that tells its orientation: red at the upper left, green at the upper right, blue at the lower left."""
CORNERS[:12, :20, 0] = CORNERS[:12, 20:, 1] = CORNERS[12:, :20, 2] = 255


def png(path: Path, width: int, height: int, bits: int, colour: int, rows: bytes) -> Path:
    """Write a PNG by hand, with header fields that Pillow would not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


def saved(path: Path, pixels: NDArray[np.generic], mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture(autouse=True)
def _pillow_cap() -> Iterator[None]:
    """Put Pillow's process-wide cap back that a test may have raised."""
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stands_upright_and_its_header_says_the_size(tmp_path: Path, suffix: str, orientation: int) -> None:
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # to Pillow's transpositions: what the camera did to the picture
    turned = Image.fromarray(CORNERS)
    if orientation > 1:
        turned = turned.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"x.{suffix}"
    quality = {"quality": 95} if suffix in ("jpg", "webp") else {}
    turned.save(path, None, exif=exif, **quality)

    upright = read_image(path)

    assert upright.size == image_size(path) == (40, 24)
    off = np.abs(np.asarray(upright, dtype=int) - CORNERS)
    assert np.median(off) <= 2
    assert off[3:9, 3:17].mean() < 20


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "LA", "1", "RGB"])
def test_every_8_bit_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / ("x.tif" if mode == "CMYK" else "x.png"), CORNERS, mode)
    image = read_image(path)
    assert image.mode == "RGB"
    assert image.size == image_size(path) == (40, 24)
    if mode not in ("L", "LA", "1"):
        assert np.abs(np.asarray(image, dtype=int) - CORNERS).max() <= 1


def test_alpha_does_not_darken_what_lies_under_it(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), (200, 100, 50, 0), dtype=np.uint8)
    assert np.asarray(read_image(saved(tmp_path / "x.png", pixels)))[0, 0].tolist() == [200, 100, 50]


def test_a_jpeg_of_a_phone_with_a_second_picture_gives_the_first(tmp_path: Path) -> None:
    Image.fromarray(CORNERS).save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert read_image(tmp_path / "x.jpg").size == (40, 24)


def test_16_bits_are_refused_also_where_pillow_would_cut_them_down(tmp_path: Path) -> None:
    wide = [
        saved(tmp_path / "gray.png", np.full((4, 4), 4000, dtype=np.uint16)),
        saved(tmp_path / "float.tif", np.ones((4, 4), dtype=np.float32)),
        png(tmp_path / "rgb.png", 2, 1, 16, 2, bytes(13)),
        png(tmp_path / "gray_alpha.png", 2, 1, 16, 4, bytes(9)),
    ]
    for path in wide:
        for read in (read_image, image_size):
            with pytest.raises(DataError, match=f"(?s)pixels.*{path.name}.*8 bits"):
                read(path)


def test_a_bmp_of_5_and_6_bits_is_no_16_bit_image(tmp_path: Path) -> None:
    pixels = struct.pack("<2H", 0xF800, 0x001F)
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    start = 14 + len(header) + len(masks)
    (tmp_path / "x.bmp").write_bytes(
        b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + masks + pixels
    )
    assert np.asarray(read_image(tmp_path / "x.bmp")).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def unusable(folder: Path) -> dict[str, Path]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    files = {"empty.png": b"", "page.jpg": b"<!DOCTYPE html><html><body>404</body></html>", "text.png": b"hello"}
    for name in ("cut.jpg", "cut.png", "cut.webp"):
        content = saved(folder / name, noise).read_bytes()
        files[name] = content[: len(content) // 2]
    for name, content in files.items():
        (folder / name).write_bytes(content)
    saved(folder / "moving.gif", noise)
    (folder / "moving.gif").rename(folder / "gif.png")
    (folder / "folder.png").mkdir()
    return {name: folder / name for name in (*files, "gif.png", "folder.png", "missing.png")}


UNUSABLE = (
    "empty.png",
    "page.jpg",
    "text.png",
    "cut.jpg",
    "cut.png",
    "cut.webp",
    "gif.png",
    "folder.png",
    "missing.png",
)


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_whole_image_is_named_with_a_remedy(tmp_path: Path, name: str) -> None:
    path = unusable(tmp_path)[name]
    for read in (read_image, read_mask) if not name.startswith("cut") else (read_image,):
        with pytest.raises(DataError) as raised:
            read(path)
        message = str(raised.value)
        assert str(path) in message
        assert "remedy:" in message
        assert ("not found" if name == "missing.png" else "image") in message


def test_a_format_off_the_list_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="JPEG, PNG, BMP, TIFF, WEBP"):
        open_image(unusable(tmp_path)["gif.png"])


@pytest.mark.parametrize("read", [read_image, read_mask, image_size])
def test_a_header_that_claims_too_much_is_refused_without_decoding(tmp_path: Path, read: object) -> None:
    assert callable(read)
    bomb = png(tmp_path / "bomb.png", 30_000, 30_000, 8, 0, bytes(20_000))
    began = time.perf_counter()
    with pytest.raises(DataError, match=r"(?s)larger than the cap.*bomb\.png.*at most 100,000,000.*data\.max_pixels"):
        read(bomb)
    assert time.perf_counter() - began < 1


def test_the_size_cap_can_be_raised_beyond_that_of_pillow(tmp_path: Path) -> None:
    bomb = png(tmp_path / "large.png", 30_000, 30_000, 8, 0, b"")
    assert image_size(bomb, max_pixels=900_000_000) == (30_000, 30_000)
    with pytest.raises(DataError, match=r"900 x|30000 x 30000"):
        image_size(bomb, max_pixels=899_999_999)


def test_an_image_at_the_cap_is_read_without_a_warning(tmp_path: Path) -> None:
    large = png(tmp_path / "large.png", 10_000, 9_999, 8, 0, b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(large) == (10_000, 9_999)


def test_the_size_of_a_png_is_read_from_its_header_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:200])  # no pixel can be decoded
    assert image_size(path) == (80, 64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_mask_keeps_its_ids_in_any_width(tmp_path: Path, dtype: type[np.generic]) -> None:
    ids = np.array([[0, 1, 2], [7, 254, 255]], dtype=dtype)
    suffix = "tif" if dtype is np.int32 else "png"
    mask = read_mask(saved(tmp_path / f"m.{suffix}", ids))
    assert mask.dtype == np.uint8
    assert mask.tolist() == ids.tolist()


def test_a_palette_mask_gives_its_indices_not_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 255]], dtype=np.uint8), mode="L").convert("P")
    image.putpalette([200, 100, 50] * 256)
    image.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 1], [2, 255]]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_mask_may_have_few_bits(tmp_path: Path, bits: int) -> None:
    ids = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    image = Image.fromarray(ids).convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "m.png", bits=bits)
    assert read_mask(tmp_path / "m.png").tolist() == ids.tolist()


def test_a_1_bit_mask_holds_the_classes_0_and_1(tmp_path: Path) -> None:
    assert read_mask(saved(tmp_path / "m.png", np.array([[True, False]]))).tolist() == [[1, 0]]


@pytest.mark.parametrize(("bits", "rows"), [(2, b"\0\x1b"), (4, b"\0\x1f")])
def test_gray_levels_of_few_bits_are_refused_as_pillow_would_stretch_the_ids(
    tmp_path: Path, bits: int, rows: bytes
) -> None:
    with pytest.raises(DataError, match=f"(?s){bits} bits a pixel.*m.png.*mode L or P"):
        read_mask(png(tmp_path / "m.png", 2, 1, bits, 0, rows))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK", "F"])
def test_a_mask_of_colours_is_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(DataError, match=f"(?s)mask with {mode} pixels.*one channel of class ids.*remedy"):
        read_mask(saved(tmp_path / "m.tif", CORNERS, mode))


@pytest.mark.parametrize("ids", [[[0, 256]], [[3, 65535]]])
def test_ids_above_255_are_refused_not_wrapped(tmp_path: Path, ids: list[list[int]]) -> None:
    with pytest.raises(DataError, match=f"(?s)from {ids[0][0]} to {ids[0][1]}.*0 to 255"):
        read_mask(saved(tmp_path / "m.png", np.array(ids, dtype=np.uint16)))


def test_negative_ids_are_refused_not_wrapped(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="from -1 to 2"):
        read_mask(saved(tmp_path / "m.tif", np.array([[-1, 2]], dtype=np.int32)))


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", CORNERS)
    mask = saved(tmp_path / "m.tif", CORNERS[..., 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(3):
            read_image(path), image_size(path), read_mask(mask)


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(CORNERS).save(buffer, kind, **({} if kind == "BMP" else {"exif": exif}))
    return buffer.getvalue()


def refusal(read: Callable[[Path, int], object], path: Path) -> str | None:
    try:
        read(path, 1_000_000)
    except DataError as error:
        return str(error)
    return None


ENCODED = {kind: _encoded(kind) for kind in ("JPEG", "PNG", "BMP", "WEBP")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(ENCODED)),
    kept=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_file_gives_an_image_or_a_data_error(
    tmp_path: Path, kind: str, kept: float, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(ENCODED[kind])
    for place, value in changes:
        content[int(place**3 * len(content))] = value  # most of them in the header
    path = tmp_path / "x.img"
    path.write_bytes(content[: int(kept * len(content)) or None] if kept < 0.9 else content)
    for read in (read_image, image_size, read_mask):
        assert str(path) in (refusal(read, path) or str(path))


# Bands, palettes and metadata


def tiff(path: Path, bands: int, photometric: int, extra: tuple[int, ...]) -> Path:
    """Write an uncompressed TIFF of 8-bit bands, 3 x 2 pixels, as programs for satellite images do."""
    pixels = bytes(range(6 * bands))
    at = 8 + 2 + 12 * 10 + 4
    depths = struct.pack(f"<{bands}H", *[8] * bands)
    extras = struct.pack(f"<{len(extra)}H", *extra)
    tags = [
        (256, 3, 1, 3),
        (257, 3, 1, 2),
        (258, 3, bands, at),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, at + len(depths) + len(extras)),
        (277, 3, 1, bands),
        (278, 3, 1, 2),
        (279, 4, 1, len(pixels)),
        (338, 3, len(extra), at + len(depths)),
    ]
    packed = [struct.pack("<HHI", *tag[:3]) + _value(tag[2], tag[3], tag[1], depths, extras, at) for tag in tags]
    ifd = struct.pack("<H", len(tags)) + b"".join(packed) + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + ifd + depths + extras + pixels)
    return path


def _value(count: int, value: int, kind: int, depths: bytes, extras: bytes, at: int) -> bytes:
    """Return the last four bytes of a tag: the values if they fit, else where they are."""
    inline = {at: depths, at + len(depths): extras}.get(value)
    if inline is not None and len(inline) <= 4 and kind == 3:
        return inline.ljust(4, b"\0")
    return struct.pack("<I", value)


def test_a_tiff_of_colours_and_alpha_is_read(tmp_path: Path) -> None:
    for alpha in (1, 2):
        path = tiff(tmp_path / f"{alpha}.tif", 4, 2, (alpha,))
        assert image_size(path) == (3, 2)
        assert np.asarray(read_image(path)).shape == (2, 3, 3)


@pytest.mark.parametrize(("bands", "extra"), [(4, (0,)), (5, (0, 0)), (6, (0, 0, 0))])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_a_tiff_of_more_bands_than_colours_is_refused(
    tmp_path: Path, read: Callable[[Path], object], bands: int, extra: tuple[int, ...]
) -> None:
    path = tiff(tmp_path / "sentinel.tif", bands, 2, extra)
    with pytest.raises(
        DataError, match=rf"(?s)image with {bands - 3} more bands? than.*sentinel\.tif.*semiseg data levels"
    ):
        read(path)


@pytest.mark.parametrize(
    ("suffix", "options"), [("jpg", {}), ("png", {"format": "JPEG"}), ("tif", {"compression": "jpeg"})]
)
def test_a_mask_in_a_format_that_changes_values_is_refused(
    tmp_path: Path, suffix: str, options: dict[str, str]
) -> None:
    path = tmp_path / f"mask.{suffix}"
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(path, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"(?s)mask with JPEG compression.*mask\..*PNG"):
        read_mask(path)


def test_the_palette_of_a_mask_is_that_of_its_file(tmp_path: Path) -> None:
    mask = Image.fromarray(np.array([[0, 2]], np.uint8)).convert("P")
    mask.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    mask.save(tmp_path / "p.png")
    assert mask_palette(tmp_path / "p.png")[:3] == [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    assert mask_palette(saved(tmp_path / "l.png", np.zeros((2, 2), np.uint8))) == []


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"rubbish", b"Exif\0\0"]
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_broken_metadata_do_not_spoil_good_pixels(tmp_path: Path, suffix: str, exif: bytes) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(CORNERS).save(path, exif=b"Exif\0\0" + exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert read_image(path).size == image_size(path) == (40, 24)


def test_metadata_that_pillow_cannot_write_again_do_not_spoil_a_turned_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "x.jpg"
    Image.fromarray(CORNERS).save(path, exif=exif, xmp=b"\xff\xfe not text")
    assert read_image(path).size == image_size(path) == (24, 40)


def test_an_upright_rgb_image_is_decoded_into_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", CORNERS)
    for name in ("copy", "convert", "transpose"):
        monkeypatch.setattr(Image.Image, name, lambda *_: pytest.fail("a second copy"))
    assert np.array_equal(np.asarray(read_image(path)), CORNERS)


def test_whatever_a_parser_raises_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", CORNERS)
    monkeypatch.setattr(Image.Image, "load", lambda *_: {}["strange"])
    with pytest.raises(DataError, match=r"(?s)damaged image \('strange'\).*x\.png"):
        read_image(path)
