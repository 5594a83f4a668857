"""What a prediction reads and writes: the images or pairs, their masks, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg.data.folders import files_below, real_paths
from semiseg.data.lists import line_fields
from semiseg.data.reading import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from semiseg.errors import DataError, ModelError
from semiseg.prediction.geotiff import has_rasterio, is_georeferenced

PAIR_FOLDERS = ("A", "B")
"""Where a folder of pairs holds the first and the second image of each."""
LIST_SUFFIX = ".txt"
"""What ends the name of a list of images."""
LINES = {
    1: "the path of an image a line, relative to the list or from the disk's root, without `..`",
    2: "BEFORE AFTER a line, parted by a tab if a name holds spaces; relative to the list or from the disk's root, "
    "without `..`",
}
"""What a list holds, by the number of frames."""


@dataclass(frozen=True)
class Job:
    """The image or images of one sample, and the files that become of it."""

    images: tuple[Path, ...]
    """One, or before and after."""
    mask: Path
    """A GeoTIFF if one of the images is georeferenced and rasterio is installed, else a PNG."""
    overlay: Path | None
    """Where the tinted image goes, if one is wanted."""
    probabilities: Path | None = None
    """Where the probabilities of the classes go, if they are wanted."""

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files to write."""
        return tuple(path for path in (self.mask, self.overlay, self.probabilities) if path is not None)


def sources(images: Path, second: Path | None, frames: int) -> tuple[Path, ...]:
    """Return the image, folder or list of each frame; one list names all frames.

    Raises:
        ModelError: one source for a model of two frames that is no folder of pairs, or two for a model of one.
        DataError: a list and a second source.
    """
    if is_list(images) and second is not None:
        raise DataError(
            "a list and a second source", where=second, expected=LINES[frames], remedy="leave the second out"
        )
    if is_list(images):
        return (images,) * frames
    pair = tuple(images / folder for folder in PAIR_FOLDERS)
    if frames == 1 and second is not None:
        raise ModelError(
            "the model needs 1 frame a sample, two sources are given", where=second, remedy="leave the second out"
        )
    if frames == 1:
        return (images,)
    if second is not None:
        return images, second
    if all(folder.is_dir() for folder in pair):
        return pair
    raise ModelError(
        f"the model needs {frames} frames a sample, one source is given",
        where=images,
        expected=f"two images, two folders of images, a folder with {' and '.join(PAIR_FOLDERS)} in it, or a list",
        remedy="name the later image or folder with --second",
    )


def is_list(source: Path) -> bool:
    """Whether a source is a list of images."""
    return source.suffix.lower() == LIST_SUFFIX and not source.is_dir()


def plan(
    frames: tuple[Path, ...],
    out: Path,
    *,
    overlays: bool = False,
    probabilities: bool = False,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
) -> tuple[list[Job], tuple[Path, ...]]:
    """List what to read and what to write, and refuse what would destroy something.

    Args:
        frames: the image, folder or list of each frame.
        out: the folder for the masks.
        overlays: also plan the tinted images.
        probabilities: also plan the files of probabilities.
        suffixes: those of images.

    Returns:
        The samples by name, and the images that have no partner of their name.

    Raises:
        DataError: no image or no pair found, two images that would share a mask, or an output in the way.
    """
    if out.exists() and not out.is_dir():
        raise DataError("the output is a file", where=out, expected="a folder", remedy="choose another output folder")
    if out.resolve() in [(source if source.is_dir() else source.parent).resolve() for source in frames]:
        raise DataError(
            "images and masks would share a folder", where=out, remedy="choose another output folder, such as masks/"
        )
    samples, alone = _samples(frames, out, suffixes)
    jobs = [_job(images, out / name, overlays, probabilities) for name, images in samples.items()]
    _refuse_collisions(jobs, alone)
    return jobs, alone


def pictures_of(images: Path, frames: int, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[tuple[Path, ...]]:
    """Return the image or the pair of each sample that a file, a folder or a list holds; raises as `plan`."""
    samples, _ = _samples(sources(images, None, frames), None, suffixes)
    return list(samples.values())


def _samples(
    frames: tuple[Path, ...], out: Path | None, suffixes: Sequence[str]
) -> tuple[dict[Path, tuple[Path, ...]], tuple[Path, ...]]:
    """Return the images of each sample by their name below the folders, and the images without a partner."""
    if is_list(frames[0]):
        return _listed(frames[0], len(frames)), ()
    for source in frames:
        if source.suffix.lower() in VIDEO_SUFFIXES:
            raise DataError(
                "a video, which is predicted frame by frame",
                where=source,
                remedy=f"semiseg data frames {source} --out FRAMES --fps 1, then predict the folder FRAMES",
            )
    if all(source.is_file() for source in frames):
        return {Path(frames[0].name): frames}, ()
    found = [_images(source, out, suffixes) for source in frames]
    names = [name for name in found[0] if all(name in images for images in found)]
    if not names:
        raise DataError(
            "no image has a partner of the same name",
            where=" and ".join(str(source) for source in frames),
            expected="pairs of one name, suffix and subfolder included",
            remedy="rename the images, or name the two files of a single pair",
        )
    alone = [path for images in found for name, path in images.items() if name not in names]
    return {name: tuple(images[name] for images in found) for name in names}, tuple(alone)


def _listed(path: Path, frames: int) -> dict[Path, tuple[Path, ...]]:
    """Return the images that a list names, relative to its own folder or from the disk's root, by their names."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"unreadable list ({error})", where=path, remedy="name an existing list file") from error
    samples = {}
    for number, line in enumerate(lines, 1):
        names = line_fields(line) if frames > 1 else [line.strip()]
        if not line.strip():
            continue
        if len(names) != frames or any("\0" in name or ".." in Path(name).parts for name in names):
            raise DataError(
                "no line for a list of images",
                where=f"{path}, line {number}",
                expected=LINES[frames],
                remedy="correct the line",
            )
        first = Path(names[0])
        samples[first.relative_to(first.anchor)] = tuple(path.parent / name for name in names)
    if not samples:
        raise DataError("empty list", where=path, expected=LINES[frames], remedy="fill the list")
    return samples


def _images(folder: Path, out: Path | None, suffixes: Sequence[str]) -> dict[Path, Path]:
    """Return all images below a folder by their path in it, as training finds them; those in `out` are left out."""
    if not folder.is_dir():
        kind = "folder, as the other frame is one" if folder.is_file() else "such image or folder"
        raise DataError(f"no {kind}", where=folder, remedy="correct the path")
    names = [Path(name) for name in files_below(folder, suffixes)]
    masks = out.resolve() if out else None
    if masks and not folder.resolve().is_relative_to(masks):
        real = real_paths(folder / name for name in names)
        names = [name for name, path in zip(names, real, strict=True) if masks not in Path(path).parents]
    if not names:
        raise DataError(
            "no image found", where=folder, expected=f"files ending in {', '.join(suffixes)}", remedy="correct the path"
        )
    return {name: folder / name for name in names}


def _job(images: tuple[Path, ...], target: Path, overlays: bool, probabilities: bool) -> Job:
    """Name the outputs of a sample whose mask lies at `target`, but for the suffix."""
    kept = has_rasterio() and any(is_georeferenced(image) for image in images)
    return Job(
        images,
        target.with_name(f"{target.stem}{'.tif' if kept else '.png'}"),
        target.with_name(f"{target.stem}_overlay.jpg") if overlays else None,
        target.with_name(f"{target.stem}_probabilities.npz") if probabilities else None,
    )


def _refuse_collisions(jobs: Sequence[Job], alone: tuple[Path, ...]) -> None:
    images = {image.resolve(): image for image in (*alone, *(image for job in jobs for image in job.images))}
    makers: dict[Path, Path] = {}
    for job in jobs:
        for path in job.outputs:
            if image := images.get(path.resolve()):
                raise DataError("a mask would replace an image", where=image, remedy="choose another output folder")
            other = makers.setdefault(path.resolve(), job.images[0])
            if other != job.images[0]:
                raise DataError(
                    f"{other.name} and {job.images[0].name} would share one mask",
                    where=path,
                    remedy="rename one of the two images, or predict them into different folders",
                )
