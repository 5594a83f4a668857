from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from semiseg.cli import main
from semiseg.data import DataConfig, load_dataset
from semiseg.data.video import extract_frames
from semiseg.errors import DataError
from semiseg.prediction.plan import plan


def film(path: Path, seconds: int = 3, rate: int = 10, size: tuple[int, int] = (64, 48)) -> Path:
    """Write a video whose frames are gray, brighter from frame to frame: 0, 8, 16, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(seconds * rate):
            pixels = np.full((size[1], size[0], 3), number * 8, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def brightness(folder: Path) -> dict[str, int]:
    return {path.name: round(np.asarray(Image.open(path)).mean() / 8) for path in sorted(folder.iterdir())}


def test_frames_are_taken_at_the_rate_and_named_by_their_time(tmp_path: Path) -> None:
    made = extract_frames(film(tmp_path / "drive.mp4"), tmp_path / "out", fps=2)
    assert (made.made, made.existed, made.broken) == (6, 0, {})
    times = [0, 500, 1000, 1500, 2000, 2500]
    assert brightness(tmp_path / "out") == {f"drive_{time:09d}.jpg": time // 100 for time in times}


def test_frames_that_exist_are_kept_and_other_rates_add_to_them(tmp_path: Path) -> None:
    video = film(tmp_path / "drive.mp4")
    extract_frames(video, tmp_path / "out", fps=1)
    (tmp_path / "out/drive_000001000.jpg").write_bytes(b"mine")
    (tmp_path / "out/drive_000002000.jpg").unlink()
    again = extract_frames(video, tmp_path / "out", fps=1)
    assert (again.made, again.existed) == (1, 2)
    assert (tmp_path / "out/drive_000001000.jpg").read_bytes() == b"mine"
    assert extract_frames(video, tmp_path / "out", fps=2).made == 3
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_a_rate_above_that_of_the_video_takes_every_frame_once(tmp_path: Path) -> None:
    made = extract_frames(film(tmp_path / "drive.mp4", seconds=1), tmp_path / "out", fps=25, lossless=True)
    assert made.made == 10
    assert list(brightness(tmp_path / "out").values()) == list(range(10))
    assert all(path.suffix == ".png" for path in (tmp_path / "out").iterdir())


def test_a_folder_of_videos_becomes_unlabeled_images_of_a_training(tmp_path: Path, tiny_scenes: Path) -> None:
    film(tmp_path / "films/a.mp4")
    film(tmp_path / "films/north/b.mkv")
    (tmp_path / "films/notes.txt").touch()
    assert extract_frames(tmp_path / "films", tmp_path / "out").made == 6
    assert (tmp_path / "out/north/b_000002000.jpg").is_file()
    dataset = load_dataset(DataConfig(root=str(tiny_scenes), unlabeled=str(tmp_path / "out")))
    assert sum("000002000" in sample.id for sample in dataset.unlabeled) == 2


def test_a_damaged_video_leaves_the_frames_before_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film(tmp_path / "films/a.avi")
    (tmp_path / "films/b.avi").write_bytes(b"no video")
    words = ["data", "frames", str(tmp_path / "films"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    output = capsys.readouterr()
    assert "3 frames written, 0 existed" in output.out
    assert "1 videos could not be read to their end; the first: unreadable video" in output.err
    assert "b.avi" in output.err


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"#EXTM3U\n#EXTINF:1,\nsecret.ts\n", "x.mp4"),
        (b"ffconcat version 1.0\nfile secret.mp4\n", "x.mkv"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "x.avi"),
    ],
)
def test_a_list_of_other_files_or_addresses_is_no_video(tmp_path: Path, content: bytes, name: str) -> None:
    film(tmp_path / "secret.mp4")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)unreadable video.*where:.*x\."):
        extract_frames(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_larger_than_the_cap_are_not_decoded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)frames of 64 x 48 pixels are larger than the cap.*at most 3,000"):
        extract_frames(film(tmp_path / "drive.mp4"), tmp_path / "out", max_pixels=3000)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1e9])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(DataError, match="frames a second"):
        extract_frames(tmp_path, tmp_path / "out", fps=fps)


def test_predict_names_the_verb_for_videos(tmp_path: Path) -> None:
    video = film(tmp_path / "drive.mp4")
    with pytest.raises(
        DataError, match=r"(?s)a video, which is predicted frame by frame.*semiseg data frames .*drive\.mp4"
    ):
        plan((video,), tmp_path / "out")
