"""Measure which values of images become 0 and 255, band by band, and write it into `dataset.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.bands import are_bands, read_values
from semiseg.data.folders import find_samples
from semiseg.data.prefetch import prefetch
from semiseg.data.reading import MAX_PIXELS
from semiseg.data.spec import read_spec
from semiseg.errors import DataError
from semiseg.files import write_text

_IMAGES, _PIXELS = 200, 100_000
"""How many images are looked at, spread over all, and how many pixels of each: percentiles need no more."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        file: the `dataset.yaml` it was written into.
        bands: the bands that are shown.
        levels: the values that become 0 and 255, for each of them.
        extremes: the smallest and the largest value that were seen, for each of them.
        images: number of images looked at.
    """

    file: Path
    bands: tuple[int, ...]
    levels: tuple[tuple[float, float], ...]
    extremes: tuple[tuple[float, float], ...]
    images: int


def measure_levels(
    root: Path | str,
    *,
    bands: Sequence[int] = (),
    percentiles: tuple[float, float] = (0.5, 99.5),
    max_pixels: int = MAX_PIXELS,
    tick: Callable[[int, int], object] = lambda done, count: None,
) -> Measured:
    """Measure the levels of a data folder's images and add `bands` and `levels` to its `dataset.yaml`.

    One image in so many is looked at, labeled or not, and every so-manieth pixel of it. Values that are no numbers
    (NaN) do not count.

    Args:
        root: the data folder.
        bands: the bands that become red, green and blue, or the one that becomes gray, from 1; empty: those of images
            of one or three.
        percentiles: of each band's values, those that become 0 and 255.
        max_pixels: the largest image that is opened.
        tick: called with the number of images done and of all.

    Raises:
        DataError: no data set, one that has levels already, or images of other or unequal numbers of bands.
        FileError: `dataset.yaml` cannot be written.
    """
    file = Path(root) / "dataset.yaml"
    spec = read_spec(file)
    if spec.bands or spec.levels:
        raise DataError(
            "bands or levels are there already", where=file, remedy="remove these lines to have them measured again"
        )
    if (bands and not are_bands(bands)) or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise DataError(
            f"bands {list(bands)} and percentiles {list(percentiles)}",
            expected="one band or three, from 1; percentiles from 0 to 100, the second above the first",
            remedy="correct --bands and --percentiles",
        )
    samples = find_samples(Path(root), replace(spec, bands=(1,)), masks=False).samples
    paths = [path for sample in samples for path in sample.frames]
    chosen = [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, _IMAGES).round().astype(int))]
    values: list[NDArray[np.float64]] = []
    tick(0, len(chosen))
    for path, found_NC in zip(chosen, prefetch(lambda path: _some(path, bands, max_pixels), chosen), strict=True):
        if values and found_NC.shape[1] != values[0].shape[1]:
            raise DataError(
                f"image of {found_NC.shape[1]} bands, others have {values[0].shape[1]}",
                where=path,
                expected="as many bands in every image",
                remedy="say which are shown as red, green and blue: --bands R G B, or --bands N for one as gray",
            )
        values.append(found_NC)
        tick(len(values), len(chosen))
    levels, extremes = _levels(np.concatenate(values), percentiles, file)
    _add(file, tuple(bands), levels, percentiles, len(chosen))
    return Measured(file=file, bands=tuple(bands), levels=levels, extremes=extremes, images=len(chosen))


def _some(path: Path, bands: Sequence[int], max_pixels: int) -> NDArray[np.float64]:
    """Return values of some pixels, (N, C)."""
    values_HWC = read_values(path, max_pixels, bands)
    step = max(1, round((values_HWC.shape[0] * values_HWC.shape[1] / _PIXELS) ** 0.5))
    return values_HWC[::step, ::step].reshape(-1, values_HWC.shape[2]).astype(np.float64)


def _levels(
    values_NC: NDArray[np.float64], percentiles: tuple[float, float], file: Path
) -> tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]:
    """Return the values at the percentiles, and the extremes, of each band."""
    levels, extremes = [], []
    for number, band_N in enumerate(values_NC.T, 1):
        finite_N = band_N[np.isfinite(band_N)]
        low, high = np.percentile(finite_N, percentiles).tolist() if finite_N.size else (0.0, 0.0)
        if low >= high:
            raise DataError(
                f"band {number} of those shown has one value, {low:g}",
                where=file.parent,
                remedy="choose other --bands, or --percentiles nearer to 0 and 100",
            )
        levels.append((float(f"{low:.6g}"), float(f"{high:.6g}")))
        extremes.append((float(finite_N.min()), float(finite_N.max())))
    return tuple(levels), tuple(extremes)


def _add(
    file: Path,
    bands: tuple[int, ...],
    levels: tuple[tuple[float, float], ...],
    percentiles: tuple[float, float],
    images: int,
) -> None:
    text = file.read_text(encoding="utf-8")
    head = f"# by `semiseg data levels`: percentiles {percentiles[0]:g} and {percentiles[1]:g} of {images} images"
    lines = [head, *([f"bands: {list(bands)}"] if bands else []), f"levels: {[list(pair) for pair in levels]}"]
    write_text(file, text + ("" if text.endswith("\n") else "\n") + "\n".join(lines) + "\n")
