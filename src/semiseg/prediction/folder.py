"""Masks for a folder of images: streamed, resumable, written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.data.palette import Palette
from semiseg.data.prefetch import prefetch
from semiseg.data.reading import IMAGE_SUFFIXES, read_image
from semiseg.engine.pictures import indexed_image, overlay, save_picture
from semiseg.errors import DataError, ModelError
from semiseg.prediction.predictor import Predictor

_AHEAD = 3
"""How many images are read ahead of the model, and how many predictions written behind it."""


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """What `predict` did."""

    images: int
    """Images predicted and written."""
    skipped: int
    """Images left alone because their prediction existed."""
    unreadable: tuple[tuple[Path, str], ...]
    """Images that could not be read, each with the reason; no file was written for them."""
    seconds: float
    """Wall time from the first image to the last file, without loading the model."""

    @property
    def images_per_second(self) -> float:
        """Predicted images a second; 0 if there were none."""
        return self.images / self.seconds if self.images else 0.0


@dataclass(frozen=True)
class _Job:
    """One image and the files that become of it."""

    image: Path
    mask: Path
    overlay: Path | None

    @property
    def outputs(self) -> tuple[Path, ...]:
        return (self.mask,) if self.overlay is None else (self.mask, self.overlay)


@dataclass(frozen=True)
class _Result:
    """What was read of a job, or why it was not, and its mask."""

    job: _Job
    image: Image.Image | DataError
    mask_HW: NDArray[np.uint8] | None


def predict(
    model: Path | str | Predictor,
    inputs: Path | str,
    out: Path | str,
    *,
    overlays: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> PredictionSummary:
    """Write a mask for one image or for every image below a folder.

    The tree of `inputs` is mirrored: `inputs/a/b.jpg` becomes `out/a/b.png`, a single-channel PNG whose pixels are
    class ids and whose palette holds the colours of the classes. An image whose files exist is skipped, so a broken run
    goes on where it stopped. An image that cannot be read is noted in the summary and stops nothing.

    Args:
        model: a model directory, or a predictor that is already loaded.
        inputs: an image, or a folder; hidden files and `out` itself, if it lies inside, are left out.
        out: the folder for the masks, another one than that of the images.
        overlays: also write `out/a/b_overlay.jpg`, the image tinted with its mask.
        overwrite: predict again what exists.
        device: as in `Predictor.load`; a loaded predictor stays where it is.
        progress: called at the start and after each image with the number done and the number of all.

    Raises:
        DataError: no image found or none readable, two images that would share a mask, or an output in the way.
        ModelError: no usable model, or one that needs several frames a sample.
    """
    jobs = _plan(Path(inputs), Path(out), overlays)
    predictor = model if isinstance(model, Predictor) else Predictor.load(model, device)
    if predictor.card.frames != 1:
        raise ModelError(
            f"the model needs {predictor.card.frames} frames a sample, a folder of images gives one",
            where=inputs,
            remedy="call Predictor.mask with a tuple of pictures",
        )
    start = time.perf_counter()
    waiting = jobs if overwrite else [job for job in jobs if not all(path.exists() for path in job.outputs)]
    skipped = len(jobs) - len(waiting)
    report = progress or (lambda done, count: None)
    report(skipped, len(jobs))
    unreadable = _run(predictor, waiting, lambda done: report(skipped + done, len(jobs)))
    if waiting and len(unreadable) == len(jobs):
        raise DataError(
            f"none of {len(jobs)} images can be read; the first: {unreadable[0][1]}",
            where=unreadable[0][0],
            remedy="check that these files are images",
        )
    return PredictionSummary(
        images=len(waiting) - len(unreadable),
        skipped=skipped,
        unreadable=tuple(unreadable),
        seconds=time.perf_counter() - start,
    )


def _run(predictor: Predictor, jobs: list[_Job], done: Callable[[int], object]) -> list[tuple[Path, str]]:
    """Predict and write all jobs, reading ahead and writing behind; return the images that could not be read."""
    palette = predictor.card.palette
    results = (
        _Result(job, image, None if isinstance(image, DataError) else predictor.mask(image))
        for job, image in prefetch(_read, jobs, ahead=_AHEAD)
    )
    unreadable = []
    for count, result in enumerate(prefetch(lambda result: _write(result, palette), results, ahead=_AHEAD), start=1):
        if isinstance(result.image, DataError):
            unreadable.append((result.job.image, str(result.image).splitlines()[0]))
        done(count)
    return unreadable


def _read(job: _Job) -> tuple[_Job, Image.Image | DataError]:
    try:
        return job, read_image(job.image)
    except DataError as error:
        return job, error


def _write(result: _Result, palette: Palette) -> _Result:
    """Write the mask last: where it stands, the image is done."""
    job, image, mask_HW = result.job, result.image, result.mask_HW
    if isinstance(image, DataError) or mask_HW is None:
        return result
    try:
        if job.overlay is not None:
            save_picture(Image.fromarray(overlay(np.asarray(image), mask_HW, palette)), job.overlay, quality=92)
        save_picture(indexed_image(mask_HW, palette), job.mask)
    except OSError as error:
        raise DataError(
            f"cannot write a prediction ({error.strerror or error})",
            where=job.mask,
            remedy="free space or choose another output folder, and run again: what is written is kept",
        ) from error
    return result


def _plan(inputs: Path, out: Path, overlays: bool) -> list[_Job]:
    """List what to read and what to write, and refuse what would destroy something."""
    if out.exists() and not out.is_dir():
        raise DataError("the output is a file", where=out, expected="a folder", remedy="choose another output folder")
    root = inputs if inputs.is_dir() else inputs.parent
    if out.resolve() == root.resolve():
        raise DataError(
            "images and masks would share a folder", where=out, remedy="choose another output folder, such as masks/"
        )
    jobs = []
    for image in _images(inputs, out):
        stem = out / image.relative_to(root).with_suffix("")
        picture = stem.with_name(f"{stem.name}_overlay.jpg") if overlays else None
        jobs.append(_Job(image, stem.with_name(f"{stem.name}.png"), picture))
    _refuse_collisions(jobs)
    return jobs


def _images(inputs: Path, out: Path) -> list[Path]:
    if inputs.is_file():
        return [inputs]
    if not inputs.is_dir():
        raise DataError("no such image or folder", where=inputs, remedy="correct the path")
    masks = out.resolve()
    images = [
        path
        for path in sorted(inputs.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and not _hidden(path.relative_to(inputs)) and path.is_file()
    ]
    if inputs.resolve() in masks.parents:
        images = [path for path in images if masks not in path.resolve().parents]
    if not images:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise DataError(
            "no image found", where=inputs, expected=f"files ending in {suffixes}", remedy="correct the path"
        )
    return images


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _refuse_collisions(jobs: list[_Job]) -> None:
    makers = {job.image.resolve(): job.image for job in jobs}
    for job in jobs:
        for path in job.outputs:
            other = makers.setdefault(path.resolve(), job.image)
            if path.resolve() == other.resolve():
                raise DataError("a mask would replace an image", where=other, remedy="choose another output folder")
            if other != job.image:
                raise DataError(
                    f"{other.name} and {job.image.name} would share one mask",
                    where=path,
                    remedy="rename one of the two images, or predict them into different folders",
                )
