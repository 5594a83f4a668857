from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semiseg.errors import DataError
from semiseg.prediction import geotiff
from semiseg.prediction.frames import georeference, open_frames, read_piece
from semiseg.prediction.geotiff import GeoTiff

Writer = Callable[..., Path]


def photo(seed: int = 0, height: int = 30, width: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_piece_is_the_same_of_all_frames(tmp_path: Path, write_tif: Writer) -> None:
    """An array, and a file that is read where it is asked for."""
    before, after = photo(0), photo(1)
    frames = open_frames((before, write_tif(tmp_path / "b.tif", after.transpose(2, 0, 1))), 2).pictures
    assert isinstance(frames[1], GeoTiff)
    piece = read_piece(frames, slice(5, 12), slice(3, 20))
    assert np.array_equal(piece, np.stack([before[5:12, 3:20], after[5:12, 3:20]]))


def test_pairs_of_different_places_are_refused_with_both_values(tmp_path: Path, write_tif: Writer) -> None:
    pixels = photo().transpose(2, 0, 1)
    here = write_tif(tmp_path / "a.tif", pixels)
    with pytest.raises(DataError, match="frames of different coordinate systems EPSG:32633 and EPSG:3857"):
        open_frames((here, write_tif(tmp_path / "b.tif", pixels, crs="EPSG:3857")), 2)
    with pytest.raises(DataError, match=r"frames of different transforms .*500000\.0.* and .*500100\.0"):
        open_frames((here, write_tif(tmp_path / "c.tif", pixels, x=500_100.0)), 2)
    with pytest.raises(DataError, match="frames of different sizes: 20 x 30, 20 x 29"):
        open_frames((here, write_tif(tmp_path / "d.tif", pixels[:, 1:])), 2)


def test_the_place_is_that_of_whichever_frame_says(tmp_path: Path, write_tif: Writer) -> None:
    path = write_tif(tmp_path / "a.tif", photo().transpose(2, 0, 1))
    place = GeoTiff(path).georeference
    for pictures in [(path, path), (path, photo()), (photo(), path)]:
        assert georeference(open_frames(pictures, 2).pictures) == place
    assert georeference(open_frames((photo(), photo()), 2).pictures) is None


def test_without_rasterio_a_geotiff_is_a_tiff(
    tmp_path: Path, write_tif: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tif(tmp_path / "a.tif", photo().transpose(2, 0, 1))
    monkeypatch.setattr(geotiff, "find_spec", lambda name: None)
    frames = open_frames((path,), 1).pictures
    assert isinstance(frames[0], np.ndarray)
    assert np.array_equal(frames[0], photo())


def test_a_plain_tiff_never_needs_rasterio(tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.tif")
    frames = open_frames((tmp_path / "a.tif",), 1).pictures
    assert isinstance(frames[0], np.ndarray)
    assert np.array_equal(frames[0], photo())
