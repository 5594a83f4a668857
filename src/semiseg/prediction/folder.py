"""Masks for a folder of images or of pairs: streamed, resumable, written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semiseg.data.bands import image_suffixes
from semiseg.data.predicted import MARK, mark_archive, png_mark
from semiseg.data.prefetch import prefetch
from semiseg.data.reading import MAX_PIXELS
from semiseg.engine.config import Precision
from semiseg.engine.pictures import save_picture
from semiseg.errors import DataError
from semiseg.files import whole_file
from semiseg.models import find_model, read_card
from semiseg.prediction.frames import Frames, georeference, shown_to
from semiseg.prediction.geotiff import has_rasterio, is_georeferenced, write_geotiff
from semiseg.prediction.plan import Job, plan, sources
from semiseg.prediction.predictor import Look, Predictor
from semiseg.prediction.protection import is_written, mark_folder, output_folders, refuse_foreign
from semiseg.prediction.result import Prediction

_AHEAD = 3
"""How many samples are read ahead of the model, and how many predictions written behind it."""


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """What `predict` did. A sample is an image, or for change detection a pair."""

    images: int
    """Samples predicted and written."""
    skipped: int
    """Samples left alone because their prediction existed."""
    unreadable: tuple[tuple[Path, str], ...]
    """First images of the samples that could not be used, each with the reason; no file was written for them."""
    unpaired: tuple[Path, ...]
    """Images that only one of the two folders has; no file was written for them."""
    georeferences_lost: int
    """Samples whose mask is a PNG though an image is georeferenced, because rasterio is not installed."""
    seconds: float
    """Wall time from the first image to the last file, without loading the model."""

    @property
    def images_per_second(self) -> float:
        """Predicted samples a second; 0 if there were none."""
        return self.images / self.seconds if self.images else 0.0


@dataclass(frozen=True)
class _Result:
    """What was read of a job and what the model says of it, or why there is none."""

    job: Job
    frames: Frames | None = None
    prediction: Prediction | None = None
    fault: str | None = None


def predict(
    model: Path | str | Predictor,
    images: Path | str,
    out: Path | str,
    *,
    second: Path | str | None = None,
    tile: int | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    max_pixels: int = MAX_PIXELS,
    overlays: bool = False,
    probabilities: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> PredictionSummary:
    """Write a mask for one image or pair, for every one below a folder, or for those that a list names.

    The tree of `images` is mirrored: `images/a/b.jpg` becomes `out/a/b.png`, a single-channel PNG whose pixels are
    class ids and whose palette holds the colours of the classes; of a georeferenced TIFF it becomes a GeoTIFF at the
    same place (needs rasterio). A sample whose files exist is skipped, so a broken run goes on where it stopped. One
    that cannot be used is noted in the summary and stops nothing.

    Every mask carries a mark, and every folder of masks a file `predicted_by_semiseg.json`, so that training does not
    take them for labels. A folder of a data set is no output, nor is one that holds other masks.

    Args:
        model: a model directory, or a predictor that is already loaded.
        images: an image, or a folder; hidden files and `out` itself, if it lies inside, are left out. For a model of
            two frames the earlier ones, or without `second` a folder with `A` and `B` in it. Or a text file (`.txt`)
            with the path of an image, or the two of a pair, in each line: the mask takes the path as it stands there,
            below `out`.
        out: the folder for the masks, another one than that of the images.
        second: the later image, or a folder in which it has the same name.
        tile: pictures with a longer side are predicted in tiles; None: as the model was evaluated.
        scales: the sizes at which each is seen, as factors; the mean of the probabilities counts.
        flip: whether each is seen mirrored too.
        max_pixels: the largest image that is decoded whole, as `data.max_pixels`; a GeoTIFF is read in pieces.
        overlays: also write `out/a/b_overlay.jpg`, the image (of a pair the later one) tinted with its mask.
        probabilities: also write `out/a/b_probabilities.npz`, with `probabilities_KHW` (float16) and `classes`.
        overwrite: predict again what exists, if it carries the mark.
        device: as in `Predictor.load`; a loaded predictor stays where it is, and as precise as it is.
        precision: as in `Predictor.load`.
        progress: called at the start and after each sample with the number done and the number of all.

    Raises:
        DataError: nothing found or nothing usable, two images that would share a mask, an output in the way, or an
            output folder that is part of a data set.
        ModelError: no usable model, or one that needs another number of frames.
        ConfigError: a tile smaller than a patch, or a scale out of range.
        FileError: a mask cannot be written; those before it are kept.
    """
    card = model.card if isinstance(model, Predictor) else read_card(find_model(model))
    frames = sources(Path(images), None if second is None else Path(second), card.frames)
    jobs, unpaired = plan(
        frames,
        Path(out),
        overlays=overlays,
        probabilities=probabilities,
        suffixes=image_suffixes(shown_to(card).bands),
    )
    refuse_foreign(jobs, Path(out), overwrite=overwrite)
    predictor = model if isinstance(model, Predictor) else Predictor.load(model, device, precision)
    look = Look(tile=tile, scales=scales, flip=flip)
    predictor.inference(**look)  # refuses what cannot be, before anything is read
    start = time.perf_counter()
    waiting = jobs if overwrite else [job for job in jobs if not all(map(is_written, job.outputs))]
    skipped = len(jobs) - len(waiting)
    report = progress or (lambda done, count: None)
    report(skipped, len(jobs))
    for folder in output_folders(waiting, Path(out)) if waiting else ():
        mark_folder(folder)
    unreadable = _run(predictor, waiting, look, max_pixels, lambda done: report(skipped + done, len(jobs)))
    if waiting and len(unreadable) == len(jobs):
        raise DataError(
            f"none of {len(jobs)} images or pairs can be used; the first: {unreadable[0][1]}",
            where=unreadable[0][0],
            remedy="check that these files are images, and that those of a pair show one place",
        )
    return PredictionSummary(
        images=len(waiting) - len(unreadable),
        skipped=skipped,
        unreadable=tuple(unreadable),
        unpaired=unpaired,
        georeferences_lost=_georeferences_lost(waiting),
        seconds=time.perf_counter() - start,
    )


def _run(
    predictor: Predictor, jobs: list[Job], look: Look, max_pixels: int, done: Callable[[int], object]
) -> list[tuple[Path, str]]:
    """Predict and write all jobs, reading ahead and writing behind; return those that could not be used."""
    read = prefetch(lambda job: _read(job, predictor, max_pixels), jobs, ahead=_AHEAD)
    results = (_predicted(predictor, result, look) for result in read)
    unreadable = []
    for count, result in enumerate(prefetch(_write, results, ahead=_AHEAD), start=1):
        if result.fault is not None:
            unreadable.append((result.job.images[0], result.fault))
        done(count)
    return unreadable


def _read(job: Job, predictor: Predictor, max_pixels: int) -> _Result:
    try:
        return _Result(job, predictor.open(job.images, max_pixels))
    except DataError as error:
        return _Result(job, fault=_reason(error))


def _predicted(predictor: Predictor, result: _Result, look: Look) -> _Result:
    if result.frames is None:
        return result
    probabilities = result.job.probabilities is not None
    try:
        found = predictor.predict_frames(result.frames, probabilities=probabilities, **look)
        return _Result(result.job, result.frames, found)
    except DataError as error:  # of a file that is read piece by piece
        return _Result(result.job, fault=_reason(error))


def _reason(error: DataError) -> str:
    return str(error).splitlines()[0]


def _write(result: _Result) -> _Result:
    """Write the mask last: where it stands, the sample is done."""
    job, found = result.job, result.prediction
    if found is None or result.frames is None:
        return result
    place = georeference(result.frames.pictures)
    if job.overlay is not None:
        save_picture(found.overlay(), job.overlay, quality=92, comment=MARK)
    if job.probabilities is not None:
        _write_probabilities(found, job.probabilities)
    if place is None:
        save_picture(found.indexed(), job.mask, pnginfo=png_mark())
    else:
        write_geotiff(found.mask_HW, found.palette, place, job.mask)
    return result


def _write_probabilities(found: Prediction, path: Path) -> None:
    assert found.probabilities_KHW is not None
    half_KHW = found.probabilities_KHW.astype(np.float16)
    with whole_file(path) as draft:
        with draft.open("wb") as file:  # NumPy would change the name of the draft
            np.savez_compressed(file, probabilities_KHW=half_KHW, classes=np.array(found.classes))
        mark_archive(draft)


def _georeferences_lost(jobs: list[Job]) -> int:
    if has_rasterio():
        return 0
    return sum(any(is_georeferenced(image) for image in job.images) for job in jobs)
