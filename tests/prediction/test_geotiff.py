from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.errors import DataError, FileError
from semiseg.prediction import geotiff
from semiseg.prediction.geotiff import Georeference, GeoTiff, is_georeferenced, write_geotiff

rasterio = pytest.importorskip("rasterio", reason="rasterio (the extra geo) is not installed")

UTM = "EPSG:32633"


def at(x: float = 500_000.0, y: float = 5_000_000.0, pixel: float = 0.5) -> Any:
    """Return the transform of a picture whose upper left corner lies at (x, y)."""
    return rasterio.Affine(pixel, 0, x, 0, -pixel, y)


def bands(count: int = 3, height: int = 40, width: int = 50, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(count).integers(0, 256, (count, height, width)).astype(dtype)


@pytest.mark.parametrize(
    "options", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"}, {"bigtiff": "yes"}]
)
def test_a_geotiff_is_indexed_like_the_array_it_stands_for(
    tmp_path: Path, write_tif: Callable[..., Path], options: dict[str, Any]
) -> None:
    pixels = bands()
    raster = GeoTiff(write_tif(tmp_path / "a.tif", pixels, **options))
    assert raster.shape == (40, 50, 3)
    assert (raster.georeference.crs, raster.georeference.transform) == (rasterio.CRS.from_user_input(UTM), at())
    for rows, columns in [(slice(None), slice(None)), (slice(3, 20), slice(41, 50)), (slice(30, 99), slice(0, 1))]:
        piece = raster[rows, columns]
        assert piece.dtype == np.uint8
        assert np.array_equal(piece, pixels.transpose(1, 2, 0)[rows, columns])


def test_only_the_window_is_read(tmp_path: Path, write_tif: Callable[..., Path]) -> None:
    """Damage elsewhere in the file does not matter."""
    path = write_tif(
        tmp_path / "a.tif", bands(3, 512, 64), tiled=True, blockxsize=64, blockysize=64, compress="deflate"
    )
    path.write_bytes(path.read_bytes()[:-2000])
    assert GeoTiff(path)[0:64, 0:64].shape == (64, 64, 3)
    with pytest.raises(DataError, match="damaged image"):
        GeoTiff(path)[448:512, 0:64]


def test_bands_become_rgb(tmp_path: Path, write_tif: Callable[..., Path]) -> None:
    everything = slice(None), slice(None)
    grey = bands(1)
    assert np.array_equal(GeoTiff(write_tif(tmp_path / "1.tif", grey))[everything], np.repeat(grey[0][..., None], 3, 2))
    grey_alpha = bands(2)
    assert np.array_equal(GeoTiff(write_tif(tmp_path / "2.tif", grey_alpha))[everything][..., 2], grey_alpha[0])
    for count in (4, 8):
        many = bands(count)
        raster = GeoTiff(write_tif(tmp_path / f"{count}.tif", many))
        assert np.array_equal(raster[everything], many[:3].transpose(1, 2, 0))


def test_a_colour_table_is_looked_up(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [2, 1]], dtype=np.uint8)
    palette = ((10, 20, 30), (40, 50, 60), (70, 80, 90))
    write_geotiff(ids, palette, Georeference(None, at()), tmp_path / "a.tif")
    assert np.array_equal(GeoTiff(tmp_path / "a.tif")[:, :], np.array(palette)[ids])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_pixels_are_refused_as_in_other_images(tmp_path: Path, write_tif: Callable[..., Path], dtype: str) -> None:
    path = write_tif(tmp_path / "a.tif", bands(dtype=dtype))
    with pytest.raises(DataError, match=f"(?s){dtype} pixels.*8 bits a channel"):
        GeoTiff(path)


def test_more_pixels_than_the_cap_are_refused(
    tmp_path: Path, write_tif: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tif(tmp_path / "a.tif", bands())
    monkeypatch.setattr(geotiff, "MAX_PIXELS", 40 * 50 - 1)
    with pytest.raises(DataError, match="50 x 40 pixels is larger than the cap"):
        GeoTiff(path)


def test_what_is_georeferenced(tmp_path: Path, write_tif: Callable[..., Path]) -> None:
    assert is_georeferenced(write_tif(tmp_path / "a.TIFF", bands()))
    assert is_georeferenced(write_tif(tmp_path / "big.tif", bands(), bigtiff="yes"))
    assert is_georeferenced(write_tif(tmp_path / "many.tif", bands(8)))
    assert is_georeferenced(write_tif(tmp_path / "no_crs.tif", bands(), crs=None))
    turned = rasterio.Affine(0.4, 0.3, 1.0, 0.3, -0.4, 2.0)
    assert is_georeferenced(write_tif(tmp_path / "turned.tif", bands(), transform=turned))
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.tif")
    (tmp_path / "broken.tif").write_bytes((tmp_path / "a.TIFF").read_bytes()[:6])
    (tmp_path / "text.tif").write_text("<VRTDataset><SourceFilename>secret.tif</SourceFilename></VRTDataset>")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.TIFF").read_bytes())
    for name in ("plain.tif", "broken.tif", "text.tif", "a.png", "missing.tif"):
        assert not is_georeferenced(tmp_path / name), name


def test_no_other_driver_reads_a_tif(tmp_path: Path, write_tif: Callable[..., Path]) -> None:
    """A VRT names other files, also on servers."""
    write_tif(tmp_path / "secret.tif", bands())
    (tmp_path / "a.tif").write_text(
        '<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">secret.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        rasterio.open(tmp_path / "a.tif").close()
    with pytest.raises(DataError, match="damaged image"):
        GeoTiff(tmp_path / "a.tif")


def test_a_mask_is_written_in_place_with_its_colours_and_compressed(tmp_path: Path) -> None:
    ids = np.zeros((300, 400), dtype=np.uint8)
    ids[100:, 50:] = 1
    place = Georeference(rasterio.CRS.from_user_input(UTM), rasterio.Affine(0.4, 0.3, 1.0, 0.3, -0.4, 2.0))
    write_geotiff(ids, ((1, 2, 3), (250, 0, 9)), place, tmp_path / "deep" / "a.tif")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.tif"]
    with rasterio.open(tmp_path / "deep" / "a.tif") as written:
        assert np.array_equal(written.read(1), ids)
        assert (written.count, written.dtypes, written.nodata) == (1, ("uint8",), None)
        assert (written.crs, written.transform) == (place.crs, place.transform)
        assert written.colormap(1)[1] == (250, 0, 9, 255)
    assert (tmp_path / "deep" / "a.tif").stat().st_size < ids.size / 10
    with Image.open(tmp_path / "deep" / "a.tif") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), ids), "other programs read the ids too"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space"):
        write_geotiff(np.zeros((8, 8), np.uint8), ((0, 0, 0),), Georeference(None, at()), tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_places_differ_by_system_or_by_more_than_rounding() -> None:
    utm, other = (rasterio.CRS.from_user_input(name) for name in (UTM, "EPSG:4326"))
    here, shape = Georeference(utm, at()), (4000, 4000, 3)
    assert here.difference(Georeference(utm, at()), shape) is None
    assert here.difference(Georeference(utm, at(x=500_000.04)), shape) is None
    assert here.difference(Georeference(other, at()), shape) == "coordinate systems EPSG:32633 and EPSG:4326"
    assert here.difference(Georeference(None, at()), shape) == "coordinate systems EPSG:32633 and unknown"
    shifted = here.difference(Georeference(utm, at(y=5_000_000.5)), shape)
    assert shifted is not None
    assert "(0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0) and (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.5)" in shifted
    # A hundred-thousandth in the size of a pixel is nothing at first, and more than rounding 40,000 pixels further.
    scaled = Georeference(utm, at(pixel=0.500005))
    assert here.difference(scaled, (400, 400, 3)) is None
    assert here.difference(scaled, (40_000, 40_000, 3)) is not None
