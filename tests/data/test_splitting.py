from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semiseg.data import DataConfig, load_dataset
from semiseg.data import splitting as module
from semiseg.data.splitting import choose, split_dataset
from semiseg.errors import DataError, FileError

CLASSES = ("sky", "road", "tree", "bird", "ghost")  # no mask shows the ghost


def write_data(root: Path, *masks: tuple[int, ...], unlabeled: int = 2, val: bool = True) -> Path:
    """Write images 00, 01, ... that show the given classes, further ones without a mask, and perhaps `splits/val.txt`.

    The val images are the last two with a mask.
    """
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir(parents=True)
    (root / "dataset.yaml").write_text(f"classes: [{', '.join(CLASSES)}]\n")
    for index in range(len(masks) + unlabeled):
        (root / f"images/{index:02}.png").touch()  # nobody opens an image here
    for index, classes in enumerate(masks):
        mask_HW = np.full((4, 4), 255, np.uint8)
        mask_HW.flat[: len(classes)] = classes
        Image.fromarray(mask_HW).save(root / f"masks/{index:02}.png")
    last = range(len(masks) - 2, len(masks))
    if val:
        (root / "splits/val.txt").write_text("".join(f"images/{i:02}.png masks/{i:02}.png\n" for i in last))
    else:
        (root / "splits").rmdir()
    return root


def common(count: int) -> list[tuple[int, ...]]:
    return [(0, 1)] * count


def stems(path: Path) -> list[str]:
    return [Path(line.split()[0]).stem for line in path.read_text().splitlines()]


def test_the_labeled_images_show_every_class_and_val_images_stay_out(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", *common(9), (2,), *common(5), (0, 3), *common(3), (3,), (2,))
    summary = split_dataset(root, 4, seed=0, name="few")
    assert summary.folder == root / "splits/few"
    assert (summary.labeled, summary.unlabeled, summary.val) == (4, 15 + 2, 2)
    assert (summary.covered, summary.absent, summary.missed) == (("sky", "road", "tree", "bird"), ("ghost",), ())
    labeled, unlabeled = stems(summary.folder / "labeled.txt"), stems(summary.folder / "unlabeled.txt")
    assert {"09", "15"} < set(labeled)  # the only ones with a tree and a bird but for val
    assert sorted(labeled + unlabeled) == [f"{index:02}" for index in (*range(19), 21, 22)]
    assert summary.val_list is None


def test_training_takes_the_split_as_it_was_written(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", *common(8))
    summary = split_dataset(root, 2, seed=0, name="few")
    dataset = load_dataset(DataConfig(root=str(root), split="few"))
    assert [len(part) for part in (dataset.labeled, dataset.unlabeled, dataset.val)] == [2, 6, 2]
    assert (summary.labeled, summary.unlabeled, summary.val) == (2, 6, 2)
    assert all(sample.mask and sample.mask.is_file() for sample in dataset.labeled)
    assert {sample.id for sample in dataset.labeled}.isdisjoint(sample.id for sample in dataset.unlabeled)


def test_classes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", (0,), (1,), (0,), (2,), (0, 3), (0,), (0,))
    summary = split_dataset(root, 1, seed=0, name="one")
    assert summary.covered == ("sky", "bird")  # what one image can show at most
    assert (summary.absent, summary.missed) == (("ghost",), ("road", "tree"))


def test_val_images_are_held_out_where_none_are_named(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", *common(10), val=False)
    before = {sample.id for sample in load_dataset(DataConfig(root=str(root))).val}
    summary = split_dataset(root, 3, seed=0, name="few")
    assert (summary.labeled, summary.unlabeled, summary.val) == (3, 5 + 2, 2)
    assert summary.val_list == root / "splits/val.txt"
    dataset = load_dataset(DataConfig(root=str(root), split="few"))
    assert {sample.id for sample in dataset.val} == before  # those that training without a split holds out
    assert split_dataset(root, 3, seed=1, name="other").val_list is None


def test_a_split_of_everything_has_no_unlabeled_list(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", *common(5), unlabeled=0)
    summary = split_dataset(root, 3, seed=0, name="most")
    assert summary.unlabeled == 0
    assert load_dataset(DataConfig(root=str(root), split="most")).unlabeled == ()


def test_the_same_seed_gives_the_same_split_and_another_seed_another(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", *common(30))
    written = {
        name: (split_dataset(root, 5, seed=seed, name=name).folder / "labeled.txt").read_bytes()
        for name, seed in {"a": 0, "b": 0, "c": 1, "d": 2}.items()
    }
    assert written["a"] == written["b"]
    assert len(set(written.values())) == 3


@pytest.mark.parametrize("labeled", [0, -1, 9])
def test_a_number_that_cannot_be_had_is_refused_with_what_there_is(tmp_path: Path, labeled: int) -> None:
    root = write_data(tmp_path / "d", *common(10))
    with pytest.raises(DataError, match=rf"(?s){labeled} labeled images wanted, 8 with a mask.*1 to 8.*remedy"):
        split_dataset(root, labeled, seed=0, name="few")
    assert not (root / "splits/few").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", *common(6))
    text = (split_dataset(root, 2, seed=0, name="few").folder / "labeled.txt").read_bytes()
    with pytest.raises(DataError, match=r"(?s)a split 'few' is there already.*another name"):
        split_dataset(root, 2, seed=1, name="few")
    assert (root / "splits/few/labeled.txt").read_bytes() == text


def test_a_published_split_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a split '92' is published already"):
        split_dataset(tmp_path, 2, seed=0, name="92", spec="pascal")


@pytest.mark.parametrize("name", ["../few", "/tmp/few", "a/../../few"])
def test_a_split_stays_in_the_data_folder(tmp_path: Path, name: str) -> None:
    root = write_data(tmp_path / "d", *common(6))
    before = sorted(tmp_path.rglob("*"))
    if name.startswith("/"):
        assert split_dataset(root, 2, seed=0, name=name).folder == root / "splits/tmp/few"
    else:
        with pytest.raises(DataError, match="leaves the data folder"):
            split_dataset(root, 2, seed=0, name=name)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_mask_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    root = write_data(tmp_path / "d", *common(6))
    (root / "masks/01.png").write_bytes(b"no mask")
    with pytest.raises(DataError, match=r"(?s)unreadable.*masks/01\.png"):
        split_dataset(root, 2, seed=0, name="few")
    assert not (root / "splits/few").exists()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_split_that_cannot_be_written_whole_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    root = write_data(tmp_path / "d", *common(6), val=False)
    write_list = module.write_list

    def fail(path: Path, *rest: object) -> None:
        if path.name == "val.txt":
            raise error
        write_list(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_list", fail)
    with pytest.raises((FileError, KeyboardInterrupt)):
        split_dataset(root, 2, seed=0, name="few")
    assert list(root.rglob("splits/**/*")) == []


PRESENCE = st.integers(1, 7).flatmap(
    lambda classes: st.lists(st.lists(st.booleans(), min_size=classes, max_size=classes), min_size=1, max_size=9)
)


def shown(present_NK: np.ndarray, rows: tuple[int, ...] | list[int]) -> int:
    return int(present_NK[list(rows)].any(axis=0).sum())


@settings(max_examples=150, deadline=None)
@given(PRESENCE, st.integers(1, 9), st.integers(0, 3))
def test_as_many_classes_are_shown_as_greedy_choices_promise(presence: list[list[bool]], count: int, seed: int) -> None:
    present_NK = np.array(presence)
    count = min(count, len(present_NK))
    chosen = choose(present_NK, count, seed=seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    assert chosen == choose(present_NK, count, seed=seed)
    classes = shown(present_NK, range(len(present_NK)))  # type: ignore[arg-type]
    if count >= classes:
        assert shown(present_NK, chosen) == classes
    best = max(shown(present_NK, rows) for rows in itertools.combinations(range(len(present_NK)), count))
    # Nemhauser, Wolsey and Fisher, An analysis of approximations for maximizing submodular set functions, 1978.
    assert shown(present_NK, chosen) >= math.ceil((1 - 1 / math.e) * best - 1e-9)


@pytest.mark.parametrize(
    ("sets", "cover"),
    [
        # The widest image is a detour: the rarest classes lead to the other two.
        ([{0, 1, 2, 3}, {0, 1, 4}, {2, 3, 5}], [1, 2]),
        # The rarest class leads astray: each of the last three shows two classes, of which one is as rare as can be.
        ([{0, 1, 2}, {3, 4, 5}, {0, 3}, {1, 4}, {2, 5}], [0, 1]),
    ],
)
def test_a_cover_is_found_by_rare_classes_or_by_wide_images(sets: list[set[int]], cover: list[int]) -> None:
    present_NK = np.array([[index in shown for index in range(6)] for shown in sets])
    assert [choose(present_NK, 2, seed=seed) for seed in range(5)] == [cover] * 5


def test_images_with_many_classes_are_not_preferred_where_there_is_room() -> None:
    # A split of many images should look like the data. Class 2 is in every tenth image, half of these show class 1 too.
    present_NK = np.zeros((100, 3), bool)
    present_NK[:, 0] = True
    present_NK[:50, 1] = True
    present_NK[::10, 2] = True
    with_rare = [index for seed in range(20) for index in choose(present_NK, 2, seed=seed) if index % 10 == 0]
    assert {index < 50 for index in with_rare} == {True, False}


def test_pairs_are_split_so_that_changes_are_shown(tmp_path: Path) -> None:
    for index in range(12):
        for folder in ("A", "B"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{index:02}.png").touch()
    (tmp_path / "label").mkdir()
    for index in range(10):
        Image.new("L", (4, 4), 255 if index == 7 else 0).save(tmp_path / f"label/{index:02}.png")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/val.txt").write_text("00.png\n")
    summary = split_dataset(tmp_path, 2, seed=0, name="two")
    assert (summary.labeled, summary.unlabeled, summary.val) == (2, 9, 1)
    assert summary.covered == ("unchanged", "changed")
    dataset = load_dataset(DataConfig(root=str(tmp_path), split="two"))
    assert "07.png" in {sample.id for sample in dataset.labeled}
    assert [len(part) for part in (dataset.labeled, dataset.unlabeled, dataset.val)] == [2, 9, 1]


def test_real_masks_are_split_so_that_every_class_is_shown(camvid_root: Path, tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).symlink_to(camvid_root / name)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/val.txt").symlink_to(camvid_root / "splits/val.txt")
    summary = split_dataset(tmp_path, 10, seed=0, name="ten", spec="camvid")
    assert (summary.labeled, summary.unlabeled, summary.val) == (10, 357, 101)
    assert len(summary.covered) == 11
    assert summary.absent == summary.missed == ()
