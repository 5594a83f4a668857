"""Whatever stands in a data folder is read or refused by name, never another exception.

`SEMISEG_FUZZ=10000` tries as many cases of each target.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.io import MemoryFile

from semiseg.data import DataConfig, DatasetSpec, check_dataset, load_dataset
from semiseg.data.bands import Bands, Shown, picture_size, read_picture
from semiseg.data.lists import Sample, read_list, write_list
from semiseg.data.looking import look_at_header, look_at_images, look_at_labeled
from semiseg.data.manifest import read_manifest
from semiseg.data.quarantine import read_quarantine
from semiseg.data.reading import image_size, mask_palette, read_image, read_mask
from semiseg.data.record import read_record, write_record
from semiseg.data.spec import PAIRS, read_class_ids, read_spec
from semiseg.errors import SemisegError

EXAMPLES = settings(
    max_examples=int(os.environ.get("SEMISEG_FUZZ", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
MAX_PIXELS = 1_000_000
SPEC = DatasetSpec(name="fields", classes=("a", "b", "c"))
COLOURED = replace(SPEC, palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)), by_colour=True)
BANDS = (Bands(levels=((0, 300),)), Bands(chosen=(3, 1, 2), levels=((0, 9), (0.5, 1e3), (-1, 1))), Bands(chosen=(1,)))


def tried(read: Callable[[], Any]) -> Any:
    """Return what is read; None if it is refused as it should be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read()
        except SemisegError as error:
            assert "remedy:" in str(error)  # noqa: PT017
            assert str(error).replace("\n", "").isprintable()  # noqa: PT017
    return None


# Images: files as programs write them, then changed


def packed(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def many_bands(noise: Any) -> bytes:
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", height=12, width=16, count=5, dtype="uint16") as file:
            file.write(np.concatenate([noise, noise[..., :2]], axis=-1).astype(np.uint16).transpose(2, 0, 1))
        return bytes(memory.read())


def arrayed(values: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def samples() -> dict[str, list[bytes]]:
    """Return small images of each format, in as many kinds as it has."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture, ids = Image.fromarray(noise), Image.fromarray(noise[..., 0] % 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    painted = ids.copy()
    painted.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    return {
        "png": [
            *(packed(picture.convert(mode), "PNG") for mode in ("RGB", "RGBA", "P", "LA", "1", "I;16")),
            packed(ids, "PNG"),
            packed(painted, "PNG", bits=2),
            packed(picture, "PNG", exif=exif, dpi=(72, 72)),
        ],
        "jpg": [
            *(packed(picture.convert(mode), "JPEG") for mode in ("RGB", "L", "CMYK")),
            packed(picture, "JPEG", exif=exif, progressive=True, icc_profile=bytes(200)),
        ],
        "tif": [
            many_bands(noise),
            *(packed(picture, "TIFF", compression=kind) for kind in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
            packed(picture.convert("1"), "TIFF", compression="group4"),
            packed(ids, "TIFF"),
            packed(painted, "TIFF", tiffinfo={274: 6}),
        ],
        "npy": [arrayed(noise), arrayed(noise.astype(np.uint16)), arrayed(noise[..., 0] / 7), arrayed(noise > 9)],
        "webp": [packed(picture, "WEBP"), packed(picture.convert("RGBA"), "WEBP", lossless=True, exif=exif)],
        "bmp": [packed(picture, "BMP"), packed(painted, "BMP")],
    }


SAMPLES = samples()
EDIT = st.one_of(
    st.tuples(st.just("set"), st.floats(0, 1), st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("set"), st.floats(0, 0.1), st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"])),
    st.tuples(st.just("add"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.binary(max_size=0)),
    st.tuples(st.just("drop"), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
)


def edited(content: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, value in edits:
        place = int(share * len(content))
        if kind == "cut":
            content = content[:place]
        else:
            skipped = {"set": len(value), "add": 0, "drop": len(value)}[kind]
            content = content[:place] + (b"" if kind == "drop" else value) + content[place + skipped :]
    return content


def with_true_sums(png: bytes) -> bytes:
    """Correct the checksums of a PNG's chunks, behind which changes are not looked at."""
    fixed, place = png[:8], 8
    while place + 8 <= len(png):
        length = struct.unpack(">I", png[place : place + 4])[0]
        body = png[place + 4 : place + 8 + length]
        fixed += png[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return fixed


CHANGED = st.lists(EDIT, min_size=1, max_size=4)


def files(kind: str) -> st.SearchStrategy[bytes]:
    """Draw files of a format that are a little wrong, and now and then something else."""
    drawn = st.builds(edited, st.sampled_from(SAMPLES[kind]), CHANGED)
    return st.one_of(drawn, drawn.map(with_true_sums), st.binary(max_size=64)) if kind == "png" else drawn


@EXAMPLES
@pytest.mark.parametrize("kind", SAMPLES)
@given(data=st.data())
def test_fuzz_images(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data.draw(files(kind)))
    size = tried(lambda: image_size(path, MAX_PIXELS))
    image = tried(lambda: read_image(path, MAX_PIXELS))
    if image is not None:
        assert image.mode == "RGB"
        assert image.width * image.height <= MAX_PIXELS
        assert size is not None
        assert sorted(size) == sorted(image.size)
    for bands in BANDS:
        size = tried(lambda bands=bands: picture_size(path, MAX_PIXELS, bands))
        image = tried(lambda bands=bands: read_picture(path, MAX_PIXELS, Shown(bands=bands)))
        if image is not None:
            assert image.mode == "RGB"
            assert size is not None
            # As above: of a TIFF whose tags are broken the orientation may be found on decoding alone.
            assert sorted(size) == sorted(image.size)
    sample = Sample("x", (path,), None)
    for look in (look_at_header, look_at_images):
        tried(lambda look=look: look(sample, MAX_PIXELS))


@EXAMPLES
@pytest.mark.parametrize("kind", ["png", "tif", "bmp"])
@given(data=st.data())
def test_fuzz_masks(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path, image = tmp_path / f"m.{kind}", tmp_path / "x.png"
    path.write_bytes(data.draw(files(kind)))
    image.write_bytes(SAMPLES["png"][0])
    mask_HW = tried(lambda: read_mask(path, MAX_PIXELS))
    if mask_HW is not None:
        assert (mask_HW.dtype, mask_HW.ndim) == (np.uint8, 2)
    tried(lambda: mask_palette(path, MAX_PIXELS))
    for spec in (SPEC, PAIRS, COLOURED):
        ids_HW = tried(lambda spec=spec: read_class_ids(path, spec, MAX_PIXELS))
        if ids_HW is not None:
            assert set(np.unique(ids_HW)) <= {*range(spec.num_classes), spec.ignore_value}
    tried(lambda: look_at_labeled(Sample("x", (image,), path), SPEC, MAX_PIXELS))


# dataset.yaml


TRICKY = [
    "null",
    "[]",
    "{}",
    "../x",
    "/etc",
    "\0",
    "a/../..",
    "255",
    "256",
    "-1",
    "1e9",
    "no",
    "é",
    "\udcff",
    "9" * 300,
]
WORDS = st.one_of(st.sampled_from(TRICKY), st.text(max_size=6), st.integers(-9, 300).map(str))
VALUES = st.recursive(
    WORDS | st.none(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(WORDS, below, max_size=3),
    max_leaves=8,
)
KEYS = ["name", "classes", "ignore_value", "palette", "protocol", "lists", "frames", "masks", "mask_values", "concepts"]
KEYS += ["ignore_colour", "bands", "levels"]
RIGHT: dict[str, Any] = {
    "classes": ["a", "b"],
    "palette": [[1, 2, 3], [4, 5, 6]],
    "lists": {"val": "v.txt"},
    "frames": ["images"],
    "mask_values": {"0": "0", "9": "1"},
    "bands": ["3", "2", "1"],
    "levels": [["0", "9"], ["0.5", "1e3"], ["-1", "1"]],
}
SPECS = st.one_of(
    st.builds(lambda odd: RIGHT | odd, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2)),
    st.dictionaries(st.sampled_from(KEYS) | WORDS, VALUES, max_size=4),
)


def dumped(content: Any) -> bytes:
    return yaml.safe_dump(content, allow_unicode=False).encode("utf-8", "surrogatepass")


@EXAMPLES
@given(
    st.one_of(
        SPECS.map(dumped),
        st.builds(edited, SPECS.map(dumped), CHANGED),
        st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.binary(max_size=40),
    )
)
def test_fuzz_dataset_yaml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.yaml").write_bytes(content)
    spec = tried(lambda: read_spec(tmp_path / "dataset.yaml"))
    if spec is not None:
        assert 2 <= spec.num_classes == len(spec.palette) <= 255
        assert 0 <= spec.ignore_value <= 255
    tried(lambda: load_dataset(DataConfig(root=str(tmp_path))))


# Lists


NAMES = st.one_of(
    st.sampled_from(["images/a.png", "masks/a.png", "None", "..", "/", ".", "a/../b", "images", "\0", "\\", "-"]),
    st.text(max_size=6),
    st.text(st.characters(categories=["Zs", "Cc", "Cf", "Zl"]), max_size=3),
)
LINES = st.lists(st.lists(NAMES, max_size=4).map("\t".join) | NAMES, max_size=4).map("\n".join)
LISTS = st.one_of(
    LINES.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(edited, st.just(b"images/a.png masks/a.png\nimages/b.png\n"), CHANGED),
    st.binary(max_size=40),
)


@EXAMPLES
@given(LISTS, LISTS, st.sampled_from([SPEC, PAIRS]))
def test_fuzz_lists(tmp_path: Path, content: bytes, val: bytes, spec: DatasetSpec) -> None:
    path = tmp_path / "l.txt"
    path.write_bytes(content)
    samples = tried(lambda: read_list(path, tmp_path, spec))
    if samples is not None:
        for sample in samples:
            for file in (*sample.frames, *([sample.mask] if sample.mask else [])):
                assert os.path.abspath(file).startswith(f"{tmp_path}{os.sep}") or os.path.abspath(file) == str(tmp_path)
        if tried(lambda: write_list(path, samples, tmp_path) or True):
            assert read_list(path, tmp_path, spec) == samples
    frames = "frames: [A, B]\nmasks: label\n" if spec is PAIRS else ""
    lists = "lists: {labeled: l.txt, unlabeled: l.txt, val: v.txt}\n"
    (tmp_path / "dataset.yaml").write_text("classes: [a, b]\n" + frames + lists)
    path.write_bytes(content)
    (tmp_path / "v.txt").write_bytes(val)
    dataset = tried(lambda: load_dataset(DataConfig(root=str(tmp_path))))
    for sample in dataset.labeled if dataset else ():
        tried(lambda sample=sample: look_at_labeled(sample, spec, MAX_PIXELS))


@EXAMPLES
@given(st.builds(edited, st.just(b"0" * 64 + b"  images/a.png\n\\" + b"f" * 64 + b" *b\\\\c\n"), CHANGED) | st.binary())
def test_fuzz_checksums(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sums").write_bytes(content)
    tried(lambda: read_manifest(tmp_path / "sums"))


# What a run keeps


@EXAMPLES
@pytest.mark.parametrize("name", ["labeled.txt", "val.txt", "files.tsv", "source.json", "quarantine.json"])
@given(edits=CHANGED)
def test_fuzz_lists_of_a_run(tmp_path_factory: pytest.TempPathFactory, name: str, edits: Any) -> None:
    root = tmp_path_factory.getbasetemp() / "kept"
    kept = root / "run"
    if not root.exists():
        for number in range(4):
            for folder in ("images", "masks"):
                (root / folder).mkdir(parents=True, exist_ok=True)
                (root / folder / f"{number}.png").write_bytes(SAMPLES["png"][6])
        (root / "dataset.yaml").write_text("classes: [a, b, c]\n")
        dataset = load_dataset(DataConfig(root=str(root)))
        write_record(kept, dataset, check_dataset(dataset, MAX_PIXELS, unlabeled=False).files)
        (kept / "quarantine.json").write_text('{"images/0.png": "damaged"}')
    whole = (kept / name).read_bytes()
    (kept / name).write_bytes(edited(whole, edits))
    try:
        tried(lambda: read_record(kept, DataConfig(root=str(root))))
        tried(lambda: read_quarantine(kept))
    finally:
        (kept / name).write_bytes(whole)
