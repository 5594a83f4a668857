"""Images and masks that are read reduced: of one size, pixel on pixel, and untouched where they are not large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from semiseg.augment import StrongViewConfig
from semiseg.data import DataConfig, DatasetSpec, Division, TrainStream
from semiseg.data.bands import Bands, Shown, read_picture
from semiseg.data.check import check_dataset
from semiseg.data.datasets import load_dataset
from semiseg.data.inspection import inspect_data
from semiseg.data.reading import MAX_PIXELS, read_image
from semiseg.data.reduction import (
    advised_long_side,
    reduce_image,
    reduce_in_strips,
    reduce_mask,
    reduced_size,
)
from semiseg.data.spec import read_class_ids
from semiseg.errors import DataError

SIDES = st.integers(1, 5000)
CLASSES = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


@given(SIDES, SIDES, st.integers(1, 3000))
def test_the_longer_side_becomes_what_is_asked_for_and_the_shape_stays(width: int, height: int, long_side: int) -> None:
    size = reduced_size((width, height), long_side)
    assert reduced_size((height, width), long_side) == size[::-1]
    assert reduced_size((width, height), None) == (width, height)
    if max(width, height) <= long_side:
        assert size == (width, height)
        return
    assert max(size) == long_side
    exact = min(width, height) * long_side / max(width, height)
    assert min(size) == 1 or abs(min(size) - exact) <= 0.5
    assert reduced_size(size, long_side) == size


def test_halves_are_rounded_up() -> None:
    assert reduced_size((200, 101), 100) == (100, 51)
    assert reduced_size((1000, 1), 100) == (100, 1)


def regions(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a mask of large regions of three classes and of what is ignored."""
    coarse = np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], dtype=np.uint8), (4, 5))
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST))


def painted(mask_HW: NDArray[np.uint8]) -> Image.Image:
    """Return a photograph that shows its own mask: what is ignored is black."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[:3] = CLASSES
    return Image.fromarray(colours[mask_HW])


def named(pixels_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return which class, or 255, each pixel of a painted photograph shows."""
    colours = np.array([*CLASSES, (0, 0, 0)])
    nearest = np.abs(pixels_HW3[:, :, None].astype(int) - colours).sum(-1).argmin(-1)
    return np.array([0, 1, 2, 255], dtype=np.uint8)[nearest]


def are_aligned(image_HW3: NDArray[np.uint8], mask_HW: NDArray[np.uint8], blur: float = 0.4) -> bool:
    """Whether a painted photograph shows its mask, but for a part `blur` of the borders; a pixel's shift is about 1.

    Where the mask is ignored it may be padding, of which the photograph says nothing.
    """
    borders = (mask_HW[:, 1:] != mask_HW[:, :-1]).sum() + (mask_HW[1:] != mask_HW[:-1]).sum()
    wrong = (named(image_HW3) != mask_HW) & (mask_HW != 255)
    return bool(wrong.sum() <= blur * borders)


KINDS = [*((f"{orientation}.jpg", orientation) for orientation in range(1, 9)), ("6.png", 6), ("5.webp", 5)]


@pytest.mark.parametrize(("name", "orientation"), KINDS)
@pytest.mark.parametrize("size", [(401, 301), (333, 500)])
def test_image_and_mask_stay_pixel_on_pixel(tmp_path: Path, name: str, orientation: int, size: tuple[int, int]) -> None:
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # to Pillow's transpositions: what the camera did to the picture
    mask_HW = regions(*size)
    photo, exif = painted(mask_HW), Image.Exif()
    exif[0x0112] = orientation
    photo = photo.transpose(Image.Transpose(back[orientation])) if orientation > 1 else photo
    photo.save(tmp_path / name, None, exif=exif, **({} if name.endswith("png") else {"quality": 95}))
    for long_side in (50, 128, 300):
        image, mask = read_image(tmp_path / name, long_side=long_side), reduce_mask(mask_HW, long_side)
        assert image.size == mask.shape[::-1] == reduced_size(size, long_side)
        assert set(np.unique(mask)) <= {0, 1, 2, 255}
        assert are_aligned(np.asarray(image), mask)


def test_what_is_not_larger_is_the_same_to_the_bit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for name in ("x.jpg", "x.png"):
        Image.fromarray(noise).save(tmp_path / name)
        for long_side in (80, 1000):
            assert np.array_equal(read_image(tmp_path / name, long_side=long_side), read_image(tmp_path / name))
    assert np.array_equal(reduce_mask(noise[..., 0], 80), noise[..., 0])


def test_a_jpeg_is_as_if_it_had_been_decoded_whole(tmp_path: Path) -> None:
    """A half, a quarter, an eighth of the sides are decoded, never fewer pixels than asked for."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((803, 605), Image.Resampling.BICUBIC).save(tmp_path / "x.jpg", quality=95)
    whole = read_image(tmp_path / "x.jpg")
    for long_side in (80, 100, 200, 201, 400, 402, 700):
        size = reduced_size(whole.size, long_side)
        difference = np.asarray(read_image(tmp_path / "x.jpg", long_side=long_side), dtype=float)
        difference -= np.asarray(reduce_image(whole, size), dtype=float)
        assert np.sqrt((difference**2).mean()) < 10  # of noise of about 60: a shift by half a pixel makes twice as much
        assert abs(difference.mean()) < 0.5


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_every_mode_is_mixed_and_not_picked(tmp_path: Path, mode: str) -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.fromarray(stripes).convert(mode).save(path)
    assert abs(np.asarray(read_image(path, long_side=32), dtype=float).mean() - 127.5) < 2


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60))
def test_strips_of_a_large_file_make_the_image_that_is_made_at_once(width: int, height: int, long_side: int) -> None:
    # No extremes: Pillow chooses by the size which sides come first, and cuts off in between what leaves 0 to 255.
    pixels = np.random.default_rng(width).integers(64, 192, (height, width, 3), dtype=np.uint8)
    size = reduced_size((width, height), long_side)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semiseg.data.reduction._STRIP", width * 7)
        found = reduce_in_strips(lambda rows: pixels[rows], (width, height), long_side)
    assert found.shape == (size[1], size[0], 3)
    assert np.abs(found.astype(int) - np.asarray(reduce_image(Image.fromarray(pixels), size)).astype(int)).max() <= 2


def test_bands_and_arrays_are_reduced_as_photographs_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4000, (60, 90, 3)).astype(np.uint16)
    np.save(tmp_path / "x.npy", values)
    bands = Bands(levels=((0, 4000),) * 3)
    whole = read_picture(tmp_path / "x.npy", shown=Shown(bands=bands))
    shown = read_picture(tmp_path / "x.npy", shown=Shown(bands=bands, long_side=45))
    assert np.array_equal(shown, reduce_image(whole, (45, 30)))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return a data folder of photographs of 400 x 300 that show their own masks, in colours."""
    root = tmp_path / "large"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(4):
        mask_HW = regions(400, 300, number)
        painted(mask_HW).save(root / f"images/{number}.jpg", quality=95)
        if number < 3:
            painted(mask_HW).save(root / f"masks/{number}.png")
    palette = [list(colour) for colour in CLASSES]
    text = f"classes: [a, b, c]\npalette: {palette}\nignore_colour: [0, 0, 0]\nlists: {{val: val.txt}}\n"
    (root / "dataset.yaml").write_text(text)
    (root / "val.txt").write_text("images/2.jpg masks/2.png\n")
    return root


def stream(root: Path, **settings: object) -> TrainStream:
    config = DataConfig(root=str(root), crop=48, scale=(0.5, 1.5), **settings)  # type: ignore[arg-type]
    division = Division(labeled=2, unlabeled=1)
    return TrainStream(load_dataset(config), config, division, strong=StrongViewConfig(), views=1, seed=0, steps=4)


def test_training_sees_reduced_images_and_masks_and_the_cache_keeps_these(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    for cache in (0.0, 0.1, 0.1):
        for settings in ({"long_side": 100}, {}):
            chunks = stream(large, cache=cache, **settings)
            for batch in (chunks[number] for number in range(len(chunks))):
                images, masks = batch.labeled.images_BTHWC[:, 0], batch.labeled.mask_BHW
                for image, mask in zip(images.numpy(), masks.numpy(), strict=True):
                    assert are_aligned(image, mask, blur=0.7)  # resized a second time
    entries = [np.load(path) for path in (tmp_path / "cache").rglob("*.npy")]
    assert {entry.shape[:2] for entry in entries} == {(75, 100), (300, 400)}


def test_a_wrong_value_or_size_is_found_though_no_crop_would_show_it(large: Path) -> None:
    config = DataConfig(root=str(large), long_side=64)
    wrong = np.asarray(Image.open(large / "masks/0.png")).copy()
    wrong[0, 0] = (7, 7, 7)
    Image.fromarray(wrong).save(large / "masks/0.png")
    Image.open(large / "masks/1.png").resize((200, 150), Image.Resampling.NEAREST).save(large / "masks/1.png")
    with pytest.raises(DataError, match=r"(?s)\(7, 7, 7\).*400 x 300 and mask of 200 x 150"):
        check_dataset(load_dataset(config), MAX_PIXELS, unlabeled=False)


def test_images_far_larger_than_a_crop_are_pointed_out(large: Path) -> None:
    def notes(**settings: object) -> str:
        return "\n".join(inspect_data(DataConfig(root=str(large), **settings)).notes)  # type: ignore[arg-type]

    assert "400 pixels long (median) and crops 98" in notes(crop=98)
    assert "--data.long_side 392 reads photographs smaller" in notes(crop=98)
    assert "long_side" not in notes(crop=100)
    assert "read reduced to that (data.long_side)" in notes(crop=98, long_side=200)
    assert "reads photographs smaller" not in notes(crop=98, long_side=200)


def test_the_advice_is_four_crops() -> None:
    assert advised_long_side([4000, 4000, 300], 256) == 1024
    assert advised_long_side([1024, 1024], 256) is None
    assert advised_long_side([], 256) is None


def test_a_mask_of_ids_keeps_its_values_and_what_is_ignored(tmp_path: Path) -> None:
    mask_HW = regions(200, 120)
    Image.fromarray(mask_HW).save(tmp_path / "m.png")
    spec = DatasetSpec(name="x", classes=("a", "b", "c"), long_side=50)
    found = read_class_ids(tmp_path / "m.png", spec)
    assert found.shape == (30, 50)
    # The value at the centre of each pixel: of an even number of pixels the one behind the middle.
    assert np.array_equal(found, mask_HW[2::4, 2::4])
