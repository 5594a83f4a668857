from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from semiseg.augment import StrongViewConfig
from semiseg.data import DataConfig, Division, TrainStream, load_dataset
from semiseg.data import stream as stream_module
from semiseg.data.decoded import DecodedCache

PIXELS = np.arange(6000, dtype=np.uint8).reshape(20, 100, 3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> DecodedCache:
    return DecodedCache(tmp_path / "cache", 20_000)


def decoding(calls: list[int], pixels: NDArray[np.uint8] = PIXELS) -> Callable[[], NDArray[np.uint8]]:
    return lambda: (calls.append(1), pixels)[1]


def used(cache: DecodedCache) -> int:
    return sum(entry.stat().st_size for entry in cache.folder.rglob("*.npy"))


def test_a_file_is_decoded_once(cache: DecodedCache, file: Path) -> None:
    calls: list[int] = []
    for _ in range(3):
        np.testing.assert_array_equal(cache.array(file, "image", decoding(calls)), PIXELS)
    assert len(calls) == 1


def test_another_content_or_another_way_of_decoding_is_another_entry(cache: DecodedCache, file: Path) -> None:
    calls: list[int] = []
    cache.array(file, "image", decoding(calls))
    cache.array(file, "mask", decoding(calls))
    status = file.stat()
    file.write_bytes(b"Content")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache.array(file, "image", decoding(calls))
    assert len(calls) == 3


@pytest.mark.parametrize("kept", [0, 50, 3000])
def test_a_part_of_an_entry_is_decoded_anew(cache: DecodedCache, file: Path, kept: int) -> None:
    calls: list[int] = []
    cache.array(file, "image", decoding(calls))
    (entry,) = cache.folder.rglob("*.npy")
    os.truncate(entry, kept)
    for _ in range(2):
        np.testing.assert_array_equal(cache.array(file, "image", decoding(calls)), PIXELS)
    assert len(calls) == 2


def test_the_limit_holds_and_half_of_it_can_be_kept_for_others(cache: DecodedCache, file: Path) -> None:
    for number in range(5):
        cache.array(file, f"unlabeled {number}", decoding([]), share=0.5)
    assert used(cache) < 10_000
    for number in range(5):
        cache.array(file, f"labeled {number}", decoding([]))
    assert 15_000 < used(cache) <= 20_000


def test_what_was_not_used_for_a_day_makes_room(cache: DecodedCache, file: Path) -> None:
    for name in "abc":
        cache.array(file, name, decoding([]))
    for entry in cache.folder.rglob("*.npy"):
        os.utime(entry, (0, time.time() - 90_000))
    calls: list[int] = []
    cache.array(file, "b", decoding(calls))  # used again
    assert not calls
    later = DecodedCache(cache.folder, cache.limit)
    for name in "de":
        later.array(file, name, decoding([]))
    assert used(cache) <= 20_000
    later.array(file, "b", decoding(calls))
    assert not calls
    later.array(file, "e", decoding(calls))
    assert not calls


def test_a_disk_that_takes_nothing_does_not_matter(file: Path, tmp_path: Path) -> None:
    (tmp_path / "no folder").write_text("")
    calls: list[int] = []
    for _ in range(2):
        cache = DecodedCache(tmp_path / "no folder", 20_000)
        np.testing.assert_array_equal(cache.array(file, "image", decoding(calls)), PIXELS)
    assert len(calls) == 2


def test_a_file_that_is_gone_is_left_to_the_decoder(cache: DecodedCache, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        cache.array(tmp_path / "gone.png", "image", lambda: {}["gone"])


def _store(folder: Path, file: Path) -> None:
    for number in range(20):
        got = DecodedCache(folder, 10**6).array(file, str(number), lambda: PIXELS)
        assert (got == PIXELS).all()


def test_processes_share_a_folder(cache: DecodedCache, file: Path) -> None:
    others = [multiprocessing.get_context("fork").Process(target=_store, args=(cache.folder, file)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert len(list(cache.folder.rglob("*"))) == len(list(cache.folder.rglob("*.npy"))) + len(
        list(cache.folder.glob("*"))
    )


def test_a_stream_gives_the_same_batches_from_the_cache(
    tiny_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path))
    config = DataConfig(root=str(tiny_scenes), crop=32)
    dataset, division = load_dataset(config), Division(labeled=4, unlabeled=4)

    def batch(config: DataConfig) -> list[torch.Tensor]:
        found = TrainStream(dataset, config, division, strong=StrongViewConfig(), views=1, seed=1)[0]
        assert found.unlabeled is not None
        return [found.labeled.images_BTHWC, found.labeled.mask_BHW, found.unlabeled.images_BTHWC]

    plain, cached = batch(config), replace(config, cache=1.0)
    first = batch(cached)
    monkeypatch.setattr(stream_module, "read_picture", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(stream_module, "read_class_ids", lambda *_: pytest.fail("decoded again"))
    for found in (first, batch(cached)):
        assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))


def test_an_entry_shows_the_picture_as_it_was_decoded(cache: DecodedCache, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(PIXELS).save(path)
    for _ in range(2):
        shown = cache.array(path, "image", lambda: np.asarray(Image.open(path)))
        np.testing.assert_array_equal(shown, PIXELS)
