from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semiseg.data.predicted import MARKER
from semiseg.errors import ConfigError, DataError, FileError, ModelError
from semiseg.prediction import Predictor, folder, geotiff, predict
from semiseg.prediction.frames import Frames


def tree(root: Path) -> list[str]:
    """Return all files but those that mark a folder."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != MARKER)
    return sorted(path.relative_to(root).as_posix() for path in files)


def stamps(root: Path) -> dict[str, int]:
    return {name: (root / name).stat().st_mtime_ns for name in tree(root)}


def test_the_tree_is_mirrored_and_each_mask_is_that_of_its_image(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    summary = predict(predictor, photos, tmp_path / "out")
    assert tree(tmp_path / "out") == ["a.png", "b.png", "deep/c.png"]
    for image, mask in {"a.jpg": "a.png", "b.png": "b.png", "deep/c.JPG": "deep/c.png"}.items():
        with Image.open(tmp_path / "out" / mask) as written:
            assert written.mode == "P"
            assert np.array_equal(np.asarray(written), predictor.mask(photos / image))
    assert (summary.images, summary.skipped, summary.unreadable) == (3, 0, ())
    assert summary.images_per_second == pytest.approx(3 / summary.seconds)


def test_reading_the_model_and_writing_overlap(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model holds the first picture until the second is read, and its writing waits until the model has that."""
    read, predicted, written = list[int](), list[int](), list[int]()
    second_is_read, second_is_predicted = threading.Event(), threading.Event()
    open_, predict_frames, write = Predictor.open, Predictor.predict_frames, folder._write

    def opening(self: Predictor, *given: Any) -> Any:
        read.append(1)
        if len(read) == 2:
            second_is_read.set()
        return open_(self, *given)

    def predicting(self: Predictor, *given: Any, **options: Any) -> Any:
        predicted.append(1)
        if len(predicted) == 2:
            second_is_predicted.set()
        assert second_is_read.wait(60), "nothing is read ahead of the model"
        return predict_frames(self, *given, **options)

    def writing(result: Any) -> Any:
        written.append(1)
        assert second_is_predicted.wait(60), "nothing is predicted while something is written"
        return write(result)

    monkeypatch.setattr(Predictor, "open", opening)
    monkeypatch.setattr(Predictor, "predict_frames", predicting)
    monkeypatch.setattr(folder, "_write", writing)
    assert predict(predictor, photos, tmp_path / "out").images == len(written) == 3


def test_one_image_and_a_model_directory_will_do(model: Path, photos: Path, tmp_path: Path) -> None:
    assert predict(model, photos / "a.jpg", tmp_path / "out", device="cpu").images == 1
    assert tree(tmp_path / "out") == ["a.png"]


def test_overlays_lie_beside_the_masks(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    predict(predictor, photos, tmp_path / "out", overlays=True)
    assert tree(tmp_path / "out") == [
        "a.png",
        "a_overlay.jpg",
        "b.png",
        "b_overlay.jpg",
        "deep/c.png",
        "deep/c_overlay.jpg",
    ]
    with Image.open(tmp_path / "out" / "a_overlay.jpg") as image:
        assert image.size == (40, 50)


def test_probabilities_lie_beside_the_masks(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(predictor, photos / "a.jpg", out, probabilities=True, flip=True)
    assert tree(out) == ["a.png", "a_probabilities.npz"]
    found = predictor.predict(photos / "a.jpg", probabilities=True, flip=True)
    with np.load(out / "a_probabilities.npz") as kept:
        assert kept["classes"].tolist() == ["field", "road", "water"]
        assert kept["probabilities_KHW"] == pytest.approx(found.probabilities_KHW, abs=1e-3)
    before = stamps(out)
    assert predict(predictor, photos / "a.jpg", out, probabilities=True).skipped == 1
    assert predict(predictor, photos / "a.jpg", out, probabilities=True, overwrite=True).images == 1
    assert stamps(out) != before
    np.savez(out / "a_probabilities.npz", mine=1)
    with pytest.raises(DataError, match="has not written"):
        predict(predictor, photos / "a.jpg", out, probabilities=True, overwrite=True)


def test_a_list_names_the_images_and_the_masks_take_its_paths(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"photos/a.jpg\n\n{photos / 'deep/c.JPG'}\nphotos/gone.jpg\n")
    summary = predict(predictor, listed, tmp_path / "out")
    absolute = (photos / "deep/c.png").relative_to("/").as_posix()
    assert tree(tmp_path / "out") == sorted([absolute, "photos/a.png"])
    assert [path.name for path, _ in summary.unreadable] == ["gone.jpg"]
    assert predict(predictor, listed, tmp_path / "out").skipped == 2


def test_a_list_of_pairs_has_two_paths_a_line(change: Predictor, photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "pairs.txt"
    listed.write_text("photos/a.jpg photos/a.jpg\nphotos/b.png\tphotos/b.png\n")
    predict(change, listed, tmp_path / "out")
    assert tree(tmp_path / "out") == ["photos/a.png", "photos/b.png"]
    with pytest.raises(DataError, match="a list and a second source"):
        predict(change, listed, tmp_path / "out", second=photos)


@pytest.mark.parametrize("line", ["../a.jpg", "photos/../a.jpg", "a\0b.jpg", "", "\xff"])
def test_a_list_that_leaves_its_place_or_names_nothing_is_refused(
    predictor: Predictor, tmp_path: Path, line: str
) -> None:
    (tmp_path / "list.txt").write_bytes(line.encode("latin-1"))
    with pytest.raises(DataError, match=r"list\.txt"):
        predict(predictor, tmp_path / "list.txt", tmp_path / "out")


def test_a_second_run_writes_only_what_is_missing(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(predictor, photos, out)
    (out / "b.png").unlink()
    before = stamps(out)
    summary = predict(predictor, photos, out)
    assert (summary.images, summary.skipped) == (1, 2)
    assert {name: stamps(out)[name] for name in before} == before
    assert predict(predictor, photos, out).images_per_second == 0.0


def test_overwrite_predicts_again_what_exists(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(predictor, photos, out)
    (out / "a.png").write_bytes(b"")
    summary = predict(predictor, photos, out, overwrite=True)
    assert (summary.images, summary.skipped) == (3, 0)
    assert (out / "a.png").stat().st_size > 0


def test_overlays_can_be_asked_for_later(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    predict(predictor, photos, tmp_path / "out")
    assert predict(predictor, photos, tmp_path / "out", overlays=True).images == 3


def test_an_unreadable_image_is_reported_and_stops_nothing(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").write_bytes((photos / "a.jpg").read_bytes()[:200])
    summary = predict(predictor, photos, tmp_path / "out")
    assert tree(tmp_path / "out") == ["b.png", "deep/c.png"]
    assert summary.images == 2
    [(path, reason)] = summary.unreadable
    assert path == photos / "a.jpg"
    assert "image" in reason


def test_it_is_an_error_if_no_image_can_be_read(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_text("not an image")
    with pytest.raises(DataError, match="none of 1 images or pairs can be used"):
        predict(predictor, tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_no_image_is_an_error(predictor: Predictor, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no image found|no such image or folder"):
        predict(predictor, tmp_path / name, tmp_path / "out")


def test_hidden_files_are_left_out(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (photos / "._a.jpg").write_bytes(b"resource fork")
    (photos / ".trash").mkdir()
    (photos / ".trash" / "old.jpg").write_bytes(b"")
    assert predict(predictor, photos, tmp_path / "out").unreadable == ()


def test_an_output_inside_the_input_is_not_predicted_itself(predictor: Predictor, photos: Path) -> None:
    predict(predictor, photos, photos / "masks", overlays=True)
    summary = predict(predictor, photos, photos / "masks", overlays=True)
    assert (summary.images, summary.skipped) == (0, 3)


def test_the_folder_of_the_images_is_no_output(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    before = stamps(photos)
    for inputs, out in [(photos, photos), (photos, tmp_path / "link"), (photos / "a.jpg", photos)]:
        with pytest.raises(DataError, match="share a folder"):
            predict(predictor, inputs, out)
    assert stamps(photos) == before


def test_a_mask_never_replaces_an_image(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    # photos/photos/b.png would become photos/b.png, which is an image itself.
    (photos / "photos").mkdir()
    (photos / "photos" / "b.png").write_bytes((photos / "b.png").read_bytes())
    before = (photos / "b.png").read_bytes()
    with pytest.raises(DataError, match="would replace an image"):
        predict(predictor, photos, tmp_path)
    assert (photos / "b.png").read_bytes() == before


def test_two_images_that_would_share_a_mask_are_an_error(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(photos / "a.png")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would share one mask"):
        predict(predictor, photos, tmp_path / "out")


def test_an_output_that_is_a_file_is_an_error(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mask.png").touch()
    with pytest.raises(DataError, match="the output is a file"):
        predict(predictor, photos, tmp_path / "mask.png")


def test_a_folder_that_cannot_be_written_is_an_error(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("a file where a folder should be")
    with pytest.raises(FileError, match="cannot write"):
        predict(predictor, photos, tmp_path / "out")


def test_a_write_that_fails_leaves_no_half_mask(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="No space left on device"):
        predict(predictor, photos, tmp_path / "out")
    assert tree(tmp_path / "out") == []


def test_names_as_long_as_the_file_system_allows(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").rename(photos / ("é" * 125 + ".jpg"))
    assert predict(predictor, photos, tmp_path / "out").images == 3


def test_progress_counts_to_the_end_with_skipped_images(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    predict(predictor, photos / "a.jpg", tmp_path / "out")
    calls: list[tuple[int, int]] = []
    predict(predictor, photos, tmp_path / "out", progress=lambda done, count: calls.append((done, count)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_long_folder_is_streamed(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and writing there are never more than a few images."""
    (tmp_path / "in").mkdir()
    for index in range(40):
        Image.new("RGB", (14, 14)).save(tmp_path / "in" / f"{index:02}.png")
    open_now = most = 0
    read = Predictor.open
    save = predict.__globals__["save_picture"]

    def counted_read(*arguments: Any) -> Frames:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        return read(*arguments)

    def counted_save(*arguments: object, **options: object) -> None:
        nonlocal open_now
        save(*arguments, **options)
        open_now -= 1

    monkeypatch.setattr(Predictor, "open", counted_read)
    monkeypatch.setitem(predict.__globals__, "save_picture", counted_save)
    assert predict(predictor, tmp_path / "in", tmp_path / "out").images == 40
    assert most <= 10


# Pairs


def pairs(root: Path, *names: str, size: tuple[int, int] = (40, 50)) -> Path:
    """Write pairs of noise below A/ and B/."""
    for seed, path in enumerate(root / frame / name for frame in "AB" for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def test_a_folder_of_pairs_is_predicted_like_a_folder_of_images(change: Predictor, tmp_path: Path) -> None:
    root = pairs(tmp_path / "in", "a.png", "deep/b.png")
    summary = predict(change, root, tmp_path / "out", overlays=True)
    assert tree(tmp_path / "out") == ["a.png", "a_overlay.jpg", "deep/b.png", "deep/b_overlay.jpg"]
    with Image.open(tmp_path / "out" / "deep" / "b.png") as mask:
        assert np.array_equal(np.asarray(mask), change.mask(root / "A/deep/b.png", root / "B/deep/b.png"))
    assert (summary.images, summary.skipped, summary.unreadable, summary.unpaired) == (2, 0, (), ())
    assert predict(change, root / "A", tmp_path / "out", second=root / "B").skipped == 2


def test_two_files_are_predicted_as_a_pair(change_model: Path, tmp_path: Path) -> None:
    root = pairs(tmp_path / "in", "a.png")
    summary = predict(change_model, root / "A/a.png", tmp_path / "out", second=str(root / "B/a.png"), device="cpu")
    assert summary.images == 1
    assert tree(tmp_path / "out") == ["a.png"]


def test_images_without_a_partner_and_pairs_that_do_not_fit_are_named(change: Predictor, tmp_path: Path) -> None:
    root = pairs(tmp_path / "in", "a.png", "old.png", "resized.png", "broken.png")
    (root / "B" / "old.png").unlink()
    Image.new("RGB", (10, 12)).save(root / "B" / "resized.png")
    (root / "B" / "broken.png").write_bytes(b"")
    summary = predict(change, root, tmp_path / "out")
    assert tree(tmp_path / "out") == ["a.png"]
    assert summary.unpaired == (root / "A/old.png",)
    reasons = dict(summary.unreadable)
    assert set(reasons) == {root / "A/broken.png", root / "A/resized.png"}
    assert "image" in reasons[root / "A/broken.png"]
    assert reasons[root / "A/resized.png"] == "frames of different sizes: 50 x 40, 10 x 12"


def test_a_model_of_other_frames_is_refused_before_it_is_loaded(
    model: Path, change_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "load", None)
    with pytest.raises(ModelError, match="1 frame a sample, two sources"):
        predict(model, photos, tmp_path / "out", second=photos)
    with pytest.raises(ModelError, match="2 frames a sample, one source"):
        predict(change_model, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Large images


def test_the_tile_reaches_the_model(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    predict(predictor, photos / "b.png", tmp_path / "out", tile=24)
    with Image.open(tmp_path / "out" / "b.png") as mask:
        assert np.array_equal(np.asarray(mask), predictor.mask(photos / "b.png", tile=24))
    assert not np.array_equal(predictor.mask(photos / "b.png", tile=24), predictor.mask(photos / "b.png"))
    with pytest.raises(ConfigError, match="smaller than a patch"):
        predict(predictor, photos, tmp_path / "none", tile=1)
    assert not (tmp_path / "none").exists()


# GeoTIFF


def test_a_mask_lies_where_its_image_does(
    predictor: Predictor, photos: Path, tmp_path: Path, write_tif: Callable[..., Path]
) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 70, 90), dtype=np.uint8)
    path = write_tif(photos / "deep" / "scene.tif", pixels, x=123_456.0)
    summary = predict(predictor, photos, tmp_path / "out", tile=48, overlays=True)
    assert (summary.images, summary.georeferences_lost) == (4, 0)
    assert [name for name in tree(tmp_path / "out") if "scene" in name] == ["deep/scene.tif", "deep/scene_overlay.jpg"]
    with rasterio.open(tmp_path / "out" / "deep" / "scene.tif") as mask, rasterio.open(path) as image:
        assert (mask.crs, mask.transform, mask.shape) == (image.crs, image.transform, image.shape)
        assert np.array_equal(mask.read(1), predictor.mask(pixels.transpose(1, 2, 0), tile=48))
    assert predict(predictor, photos, tmp_path / "out").skipped == 4


def test_geotiffs_of_two_places_are_no_pair(change: Predictor, tmp_path: Path, write_tif: Callable[..., Path]) -> None:
    pixels = np.zeros((3, 40, 40), dtype=np.uint8)
    for name, shift in {"a.tif": 0.0, "moved.tif": 7.0}.items():
        write_tif(tmp_path / "in" / "A" / name, pixels)
        write_tif(tmp_path / "in" / "B" / name, pixels, x=500_000.0 + shift)
    summary = predict(change, tmp_path / "in", tmp_path / "out")
    assert tree(tmp_path / "out") == ["a.tif"]
    [(path, reason)] = summary.unreadable
    assert path == tmp_path / "in/A/moved.tif"
    assert "500000.0" in reason
    assert "500007.0" in reason


def test_damage_in_a_piece_of_a_geotiff_stops_nothing(
    predictor: Predictor, photos: Path, tmp_path: Path, write_tif: Callable[..., Path]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 512, 64), dtype=np.uint8)
    path = write_tif(photos / "scene.tif", pixels, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[:-2000])
    summary = predict(predictor, photos, tmp_path / "out", tile=64)
    assert summary.images == 3
    [(unreadable, reason)] = summary.unreadable
    assert unreadable == path
    assert "damaged image (scene.tif, band 1: IReadBlock failed" in reason


def test_without_rasterio_masks_are_png_and_lost_georeferences_are_counted(
    predictor: Predictor,
    photos: Path,
    tmp_path: Path,
    write_tif: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_tif(photos / "scene.tif", np.zeros((3, 40, 40), dtype=np.uint8))
    monkeypatch.setattr(geotiff, "find_spec", lambda name: None)
    summary = predict(predictor, photos, tmp_path / "out")
    assert (summary.images, summary.georeferences_lost) == (4, 1)
    assert "scene.png" in tree(tmp_path / "out")


# What is found, and what is opened


def test_links_are_followed_as_training_follows_them(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "north").symlink_to(photos)
    (tmp_path / "in" / "single.png").symlink_to(photos / "b.png")
    predict(predictor, tmp_path / "in", tmp_path / "out")
    assert tree(tmp_path / "out") == ["north/a.png", "north/b.png", "north/deep/c.png", "single.png"]


def test_predictions_are_not_found_again_by_a_link(predictor: Predictor, photos: Path) -> None:
    (photos / "before").symlink_to(photos / "masks")
    predict(predictor, photos, photos / "masks")
    assert predict(predictor, photos, photos / "masks").skipped == 3


def test_a_larger_image_is_opened_for_who_trusts_it(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    summary = predict(predictor, photos, tmp_path / "out", max_pixels=1800)
    assert [path.name for path, _ in summary.unreadable] == ["a.jpg", "c.JPG"]
    assert predict(predictor, photos, tmp_path / "out", max_pixels=2000).images == 2
