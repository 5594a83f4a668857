"""Images of 16 bits, of floats and of many bands are shown to a model as dataset.yaml says, in training and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image

import semiseg
from semiseg.api import recipe_config, train
from semiseg.cli import main
from semiseg.data import DataConfig, load_dataset
from semiseg.data.bands import Bands, Shown, picture_size, read_picture, read_values
from semiseg.data.folders import find_samples
from semiseg.data.levels import measure_levels
from semiseg.data.spec import read_spec
from semiseg.errors import DataError
from semiseg.models import read_card

Values = NDArray[Any]
FIVE = (np.arange(5 * 24 * 32) % 4096).reshape(24, 32, 5).astype(np.uint16)
"""Five bands, of which each begins where the one before does and one more: 0, 1, 2, 3, 4, 5, ..."""


def save(values: Values, path: Path, **options: Any) -> Path:
    """Write (H, W, C) as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
        return path
    height, width, count = values.shape
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    shape: dict[str, Any] = {"height": height, "width": width, "count": count, "dtype": values.dtype}
    with rasterio.open(path, "w", driver=driver, **shape, **options) as file:
        file.write(values.transpose(2, 0, 1))
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestReading:
    """What a file holds is shown by bands and levels."""

    @pytest.mark.parametrize("suffix", [".tif", ".npy"])
    def test_three_of_many_bands_are_shown_in_their_order(self, tmp_path: Path, suffix: str) -> None:
        path = save(FIVE, tmp_path / f"a{suffix}")
        bands = Bands(chosen=(4, 3, 1), levels=((0, 1000), (500, 1500), (0, 4095)))
        shown = np.asarray(read_picture(path, shown=Shown(bands=bands)))
        wanted = [FIVE[..., 3] / 1000 * 255, (FIVE[..., 2] - 500.0) / 1000 * 255, FIVE[..., 0] / 4095 * 255]
        np.testing.assert_allclose(shown, np.stack(wanted, -1).clip(0, 255), atol=0.51)
        assert picture_size(path, bands=bands) == (32, 24)

    @pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.png"])
    def test_one_band_is_gray(self, tmp_path: Path, name: str) -> None:
        path = save(FIVE[..., :1], tmp_path / name)
        shown = np.asarray(read_picture(path, shown=Shown(bands=Bands(levels=((0, 4095),)))))
        assert shown.shape == (24, 32, 3)
        np.testing.assert_allclose(shown, np.repeat(FIVE[..., :1] / 4095 * 255, 3, -1), atol=0.51)

    @pytest.mark.parametrize("name", ["a.tif", "a.png"])
    def test_colours_of_16_bits_are_read_whole(self, tmp_path: Path, name: str) -> None:
        path = save(FIVE[..., :3] + np.uint16(1), tmp_path / name)
        np.testing.assert_array_equal(read_values(path), FIVE[..., :3] + 1)
        with pytest.raises(DataError, match=r"(?s)16.* pixels.*semiseg data levels|unreadable image"):
            read_picture(path)

    def test_floats_and_what_is_no_number(self, tmp_path: Path) -> None:
        values = np.array([[[0.0], [0.5], [np.nan]], [[1.0], [-np.inf], [np.inf]]], dtype=np.float32)
        for name in ("a.npy", "a.tif"):
            unit = Shown(bands=Bands(levels=((0, 1),)))
            shown = np.asarray(read_picture(save(values, tmp_path / name), shown=unit))
            assert shown[..., 0].tolist() == [[0, 128, 0], [255, 0, 255]]

    def test_photographs_beside_them_are_read_upright(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (8, 4), (10, 20, 30)).save(tmp_path / "a.png", exif=exif)
        bands = Bands(levels=((0, 255),) * 3)
        shown = read_picture(tmp_path / "a.png", shown=Shown(bands=bands))
        assert shown.size == picture_size(tmp_path / "a.png", bands=bands) == (4, 8)
        assert shown.getpixel((0, 0)) == (10, 20, 30)

    @pytest.mark.parametrize(
        ("bands", "message"),
        [
            (Bands(levels=((0, 1),)), "image of 5 bands"),
            (Bands(chosen=(1, 2, 6), levels=((0, 1),) * 3), "image of 5 bands, of which 1, 2, 6 are wanted"),
            (Bands(chosen=(1, 2, 3)), "image with uint16 pixels"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".tif", ".npy"])
    def test_what_does_not_fit_is_named(self, tmp_path: Path, suffix: str, bands: Bands, message: str) -> None:
        path = save(FIVE, tmp_path / f"a{suffix}")
        with pytest.raises(DataError, match=rf"(?s){message}.*a\{suffix}.*remedy"):
            read_picture(path, shown=Shown(bands=bands))

    def test_arrays_are_bounded_and_hold_numbers(self, tmp_path: Path) -> None:
        bands = Bands(levels=((0, 1),))
        header = "{'descr': '<u2', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + "\n"
        (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.encode())
        np.save(tmp_path / "b.npy", np.array([["x"]]))
        np.save(tmp_path / "c.npy", np.array([[{}]]), allow_pickle=True)
        np.save(tmp_path / "d.npy", np.zeros((40, 40)))
        for name in "abcd":
            with pytest.raises(DataError, match=rf"(?s)unreadable image.*{name}\.npy"):
                picture_size(tmp_path / f"{name}.npy", 1000, bands)


def folder(root: Path, suffix: str, count: int = 6, **options: Any) -> Path:
    """Return a data folder of images of five bands, four with a mask; the left half is the second class."""
    for number in range(count):
        values = np.random.default_rng(number).integers(100, 300, (48, 48, 5)).astype(np.uint16)
        values[:, :24, 3] += 2000
        save(values, root / f"images/{number}{suffix}", **options)
        if number < 4:
            mask = np.zeros((48, 48), dtype=np.uint8)
            mask[:, :24] = 1
            (root / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / f"masks/{number}.png")
    (root / "dataset.yaml").write_text("classes: [land, water]")
    return root


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_levels_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder(tmp_path / "data", ".tif")
    with pytest.raises(DataError, match=r"(?s)image of 5 bands.*--bands R G B"):
        measure_levels(root)
    assert main(["data", "levels", str(root), "--bands", "4", "2", "1", "--percentiles", "0", "100"]) == 0
    said = capsys.readouterr().out
    assert "band 4: 100 becomes 0, 2299 becomes 255 (seen: 100 to 2299)" in said
    spec = read_spec(root / "dataset.yaml")
    assert (spec.bands, spec.levels) == ((4, 2, 1), ((100, 2299), (100, 299), (100, 299)))
    assert spec.classes == ("land", "water")
    notes = load_dataset(DataConfig(root=str(root))).notes
    assert notes[0] == "images are shown as bands 4, 2, 1, values 100 to 2299, 100 to 299, 100 to 299"
    with pytest.raises(DataError, match="bands or levels are there already"):
        measure_levels(root, bands=[1])


def test_arrays_are_images_only_where_levels_say_how_they_are_shown(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", ".npy")
    with pytest.raises(DataError, match=r"(?s)no images found.*not 6 \.npy"):
        find_samples(root, read_spec(root / "dataset.yaml"))
    measure_levels(root, bands=[4])
    assert len(find_samples(root, read_spec(root / "dataset.yaml")).samples) == 6


@pytest.mark.parametrize("line", ["bands: [1, 2]", "bands: [0]", "bands: x", "levels: [[2, 1]]", "levels: [[0, .nan]]"])
def test_bands_and_levels_are_checked(tmp_path: Path, line: str) -> None:
    (tmp_path / "dataset.yaml").write_text(f"classes: [a, b]\n{line}\n")
    with pytest.raises(DataError, match=line.partition(":")[0] + " is"):
        read_spec(tmp_path / "dataset.yaml")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("suffix", [".npy", ".tif", "geo"])
def test_a_model_sees_new_images_as_it_saw_those_it_learned_from(
    tmp_path: Path, tiny_words: Callable[..., list[str]], suffix: str
) -> None:
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)} if suffix == "geo" else {}
    root = folder(tmp_path / "data", ".tif" if suffix == "geo" else suffix, **place)
    measure_levels(root, bands=[4, 2, 1])
    words = [str(root), *tiny_words("run", "--schedule.steps", "20")[1:]]
    run = train(recipe_config(words[0], words[1:]))
    card = read_card(run.path / "model")
    spec = read_spec(root / "dataset.yaml")
    assert (card.bands, card.levels) == (spec.bands, spec.levels)
    summary = semiseg.predict(run.path, root / "images", tmp_path / "out", device="cpu")
    assert (summary.images, summary.unreadable) == (6, ())
    file = next((root / "images").iterdir())
    shown = np.asarray(read_picture(file, shown=spec.shown))
    by_file, by_array = (semiseg.load(run.path, "cpu").mask(picture) for picture in (file, shown))
    np.testing.assert_array_equal(by_file, by_array)
    config = json.loads((run.path / "model/config.json").read_text())
    assert config["bands"] == [4, 2, 1]
    found = semiseg.evaluate(run.path, device="cpu")
    assert found.images == 1
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("[4, 2, 1]", "[1, 2, 4]"))
    with pytest.raises(DataError, match=r"(?s)shows its images in another way than the model knows.*\[4, 2, 1\]"):
        semiseg.evaluate(run.path, DataConfig(root=str(root)), device="cpu")
