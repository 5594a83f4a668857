"""Frames of videos, as images to learn from or to predict: the verb `data frames`. Read with PyAV (extra `video`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from semiseg.data.extras import require_library
from semiseg.data.folders import files_below
from semiseg.data.reading import MAX_PIXELS, VIDEO_SUFFIXES
from semiseg.errors import DataError
from semiseg.files import whole_file

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

# FFmpeg also reads lists of other files and addresses; none of these formats names any.
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg"
_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What `extract_frames` did.

    Attributes:
        folder: where the frames are.
        made: frames written.
        existed: frames left alone because they existed.
        broken: videos that could not be read to their end, each with the reason; the frames before it are there.
    """

    folder: Path
    made: int
    existed: int
    broken: dict[str, str]


def extract_frames(
    source: Path | str,
    out: Path | str,
    *,
    fps: float = 1.0,
    lossless: bool = False,
    max_pixels: int = MAX_PIXELS,
    tick: Callable[[int], object] = lambda made: None,
) -> Frames:
    """Write frames of a video, or of every video below a folder, as images: `out/drive_000012500.jpg` at 12.5 seconds.

    At each multiple of 1/fps the first frame from then on is taken. The number is the time in milliseconds, so names
    sort by time and another rate adds frames without touching those that are there. A frame that exists is kept, so a
    broken run goes on where it stopped.

    Args:
        source: the video, or a folder.
        out: the folder for the frames; of a video in a subfolder they lie in the same subfolder.
        fps: frames a second of video.
        lossless: PNG instead of JPEG of quality 95.
        max_pixels: the largest frame that is decoded.
        tick: called after each frame with the number written and kept.

    Raises:
        DataError: no video, an unreadable one, PyAV is not installed, or the rate is not above 0.
        FileError: a frame cannot be written.
    """
    source, out = Path(source), Path(out)
    if not 0 < fps <= 1000:
        raise DataError(f"{fps} frames a second", where="--fps", expected="above 0, to 1000", remedy="correct --fps")
    videos = _videos(source)
    require_library("av", "video", reads="a video")
    made = existed = 0
    broken: dict[str, str] = {}
    for video, stem in videos.items():
        try:
            for milliseconds, image in _sampled(video, fps, max_pixels):
                target = out / f"{stem}_{milliseconds:09d}{'.png' if lossless else '.jpg'}"
                if target.exists():
                    existed += 1
                else:
                    _save(image(), target)
                    made += 1
                tick(made + existed)
        except DataError as error:
            if len(videos) == 1 and not made + existed:
                raise
            broken[str(video)] = str(error).splitlines()[0]
    return Frames(folder=out, made=made, existed=existed, broken=broken)


def _videos(source: Path) -> dict[Path, str]:
    """Return the videos, and the beginning of the names of each one's frames."""
    if source.is_file():
        return {source: source.stem}
    names = files_below(source, VIDEO_SUFFIXES) if source.is_dir() else []
    if not names:
        raise DataError(
            "no video found",
            where=source,
            expected="a video, or a folder with files " + ", ".join(VIDEO_SUFFIXES),
            remedy="correct the path",
        )
    stems = {source / name: name.rpartition(".")[0] for name in names}
    if len(set(stems.values())) < len(stems):
        raise DataError(
            "two videos of one name, but for the suffix", where=source, remedy="rename one, or name each by itself"
        )
    return stems


def _sampled(video: Path, fps: float, max_pixels: int) -> Iterator[tuple[int, Callable[[], Image.Image]]]:
    """Yield the time in milliseconds of each frame to take, and what decodes its colours.

    Raises:
        DataError: damaged, no video, or larger than the cap.
    """
    import av

    try:
        with av.open(
            str(video), format=None, options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        ) as container:
            yield from _frames(container, video, fps, max_pixels)
    except av.error.FFmpegError as error:
        raise DataError(
            f"unreadable video ({error.strerror or error})",
            where=video,
            expected=f"a whole file of one of the formats {_CONTAINERS}",
            remedy="replace the file, or convert it to MP4",
        ) from error


def _frames(
    container: InputContainer, video: Path, fps: float, max_pixels: int
) -> Iterator[tuple[int, Callable[[], Image.Image]]]:
    if not container.streams.video:
        raise DataError("a file without a picture", where=video, expected="a video", remedy="leave it out")
    stream = container.streams.video[0]
    _refuse_large(stream.width, stream.height, video, max_pixels)
    stream.thread_type = "AUTO"
    start, due = None, 0
    for frame in container.decode(stream):
        _refuse_large(frame.width, frame.height, video, max_pixels)
        if frame.time is None:
            continue
        start = frame.time if start is None else start
        now = frame.time - start
        if now * fps < due - 1e-6:
            continue
        yield round(1000 * due / fps), partial(_upright, frame)
        due = floor(now * fps + 1e-6) + 1


def _upright(frame: VideoFrame) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24")).rotate(frame.rotation, expand=True)


def _refuse_large(width: int, height: int, video: Path, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DataError(
            f"frames of {width} x {height} pixels are larger than the cap",
            where=video,
            expected=f"at most {max_pixels:,} pixels",
            remedy="scale the video down",
        )


def _save(image: Image.Image, target: Path) -> None:
    with whole_file(target) as draft:
        if target.suffix == ".png":
            image.save(draft, format="PNG")
        else:
            image.save(draft, format="JPEG", quality=_QUALITY)
