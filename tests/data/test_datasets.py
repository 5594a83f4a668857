from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.data import DataConfig, Dataset, Sample, find_judges, load_dataset
from semiseg.errors import DataError

CLASSES = "classes: [sky, road, tree]\n"


def touch(root: Path, *names: str) -> None:
    """Make files: whether they are images is another module's question."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def folder(tmp_path: Path, *, masks: int = 6, images: int = 10, yaml: str = CLASSES) -> Path:
    """Return a folder of `images/00.jpg` to 09.jpg, of which the first `masks` have a mask."""
    root = tmp_path / "data"
    touch(root, *(f"images/{index:02}.jpg" for index in range(images)))
    touch(root, *(f"masks/{index:02}.png" for index in range(masks)))
    (root / "dataset.yaml").write_text(yaml)
    return root


def listed(root: Path, name: str, *lines: str) -> str:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n")
    return name


def pairs(*numbers: int) -> list[str]:
    return [f"images/{number:02}.jpg masks/{number:02}.png" for number in numbers]


def ids(samples: tuple[Sample, ...]) -> list[str]:
    return [Path(sample.id).stem for sample in samples]


def load(root: Path, **options: object) -> Dataset:
    return load_dataset(DataConfig(root=str(root), **options))  # type: ignore[arg-type]


def assert_apart(dataset: Dataset) -> None:
    train = {sample.frames for sample in (*dataset.labeled, *dataset.unlabeled)}
    assert not train & {sample.frames for sample in dataset.val}
    assert len(train) == len(dataset.labeled) + len(dataset.unlabeled)
    assert all(sample.mask for sample in (*dataset.labeled, *dataset.val))
    assert not any(sample.mask for sample in dataset.unlabeled)


# Layouts


def test_a_plain_folder_learns_from_masks_holds_some_out_and_says_so(tmp_path: Path) -> None:
    root = folder(tmp_path, masks=10, images=14)
    dataset = load(root)
    assert_apart(dataset)
    assert (len(dataset.labeled), len(dataset.unlabeled), len(dataset.val)) == (8, 4, 2)
    assert ids(dataset.unlabeled) == ["10", "11", "12", "13"]
    assert dataset.notes == ("2 of 10 images with a mask are held out for evaluation (data.held_out)",)
    assert load(root) == dataset
    assert ids(load(root, split_seed=1).val) != ids(dataset.val)
    assert dataset.labeled[0].mask == root / "masks" / f"{ids(dataset.labeled)[0]}.png"


@pytest.mark.parametrize(("part", "count"), [(0.5, 5), (0.9, 9), (0.01, 1), (0.0, 0)])
def test_the_held_out_part_is_as_large_as_asked_but_never_nothing_or_all(
    tmp_path: Path, part: float, count: int
) -> None:
    dataset = load(folder(tmp_path, masks=10, images=10), held_out=part)
    assert (len(dataset.val), len(dataset.labeled)) == (count, 10 - count)
    assert bool(dataset.notes) == bool(count)


def test_a_number_is_drawn_from_the_masks_and_the_rest_become_unlabeled(tmp_path: Path) -> None:
    root = folder(tmp_path, masks=10, images=14)
    three, five = load(root, split="3"), load(root, split="5")
    assert_apart(three)
    assert (len(three.labeled), len(three.unlabeled), len(three.val)) == (3, 9, 2)
    assert set(ids(three.labeled)) < set(ids(five.labeled))  # more labels, not others
    assert ids(three.val) == ids(five.val)
    assert ids(load(root, split="3", split_seed=1).labeled) != ids(three.labeled)


def test_a_number_of_images_keeps_to_the_val_list_of_the_dataset(tmp_path: Path) -> None:
    lists = "lists: {labeled: labeled.txt, val: val.txt}\n"
    root = folder(tmp_path, masks=10, images=10, yaml=CLASSES + lists)
    listed(root, "labeled.txt", *pairs(*range(8)))
    listed(root, "val.txt", *pairs(8, 9))
    dataset = load(root, split="4")
    assert ids(dataset.val) == ["08", "09"]
    assert_apart(dataset)
    assert len(dataset.labeled) == 4


def test_lists_of_the_dataset_yaml_say_everything(tmp_path: Path) -> None:
    yaml = CLASSES + "lists: {labeled: l.txt, unlabeled: u.txt, val: v.txt}\n"
    root = folder(tmp_path, yaml=yaml)
    listed(root, "l.txt", *pairs(1, 0))
    listed(root, "u.txt", "images/07.jpg", "images/02.jpg masks/02.png")
    listed(root, "v.txt", *pairs(3))
    dataset = load(root)
    assert (ids(dataset.labeled), ids(dataset.unlabeled), ids(dataset.val)) == (["01", "00"], ["07", "02"], ["03"])
    assert_apart(dataset)  # the mask of 02 is not looked at
    assert dataset.notes == ()


@pytest.mark.parametrize("name", ["1_8", "92", "seed0/half"])
def test_a_split_is_a_folder_below_splits_also_if_it_is_called_like_a_number(tmp_path: Path, name: str) -> None:
    root = folder(tmp_path)
    listed(root, f"splits/{name}/labeled.txt", *pairs(0, 1))
    listed(root, f"splits/{name}/unlabeled.txt", "images/05.jpg", "images/06.jpg")
    listed(root, "splits/val.txt", *pairs(2))
    dataset = load(root, split=name)
    assert (ids(dataset.labeled), ids(dataset.unlabeled), ids(dataset.val)) == (["00", "01"], ["05", "06"], ["02"])


def test_a_split_may_lie_anywhere_and_leave_out_the_unlabeled_list(tmp_path: Path) -> None:
    root = folder(tmp_path)
    listed(tmp_path, "mine/labeled.txt", "./images/00.jpg masks/00.png")
    listed(tmp_path, "mine/val.txt", "images//01.jpg masks/01.png")
    dataset = load(root, split=str(tmp_path / "mine"), val=str(tmp_path / "mine/val.txt"))
    assert_apart(dataset)
    assert ids(dataset.unlabeled) == [f"{number:02}" for number in range(2, 10)]


def test_folders_of_train_and_val_are_kept_apart(tmp_path: Path) -> None:
    root = tmp_path / "data"
    touch(root, "images/train/a.jpg", "images/train/b.png", "images/val/a.jpg", "images/val/no_mask.jpg")
    touch(root, "masks/train/a.png", "masks/val/a.png")
    (root / "dataset.yaml").write_text(CLASSES)
    dataset = load(root)
    assert [sample.id for sample in dataset.labeled] == ["images/train/a.jpg"]
    assert [sample.id for sample in dataset.unlabeled] == ["images/train/b.png"]
    assert [sample.id for sample in dataset.val] == ["images/val/a.jpg"]
    assert dataset.val[0].mask == root / "masks/val/a.png"
    assert dataset.notes == (f"1 images of {root}/images/val have no mask and are not used",)


def test_folders_beside_train_and_val_are_said_to_be_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "data"
    touch(root, "images/train/a.jpg", "images/val/b.jpg", "images/test/c.jpg", "images/bus/d.jpg", "images/e.jpg")
    touch(root, "masks/train/a.png", "masks/val/b.png")
    (root / "dataset.yaml").write_text(CLASSES)
    dataset = load(root, held_out=0.0)
    assert [sample.id for sample in (*dataset.labeled, *dataset.unlabeled)] == ["images/train/a.jpg"]
    names = ", ".join(f"{root}/images/{name}" for name in ("bus", "e.jpg", "test"))
    assert dataset.notes == (f"not for training and passed over: {names}",)


@pytest.mark.parametrize("beside", ["images/bus/b.jpg", "images/b.jpg"])
def test_a_folder_called_train_among_others_is_not_taken_for_all(tmp_path: Path, beside: str) -> None:
    root = tmp_path / "data"
    touch(root, "images/train/a.jpg", beside, "masks/train/a.png")
    (root / "dataset.yaml").write_text(CLASSES)
    with pytest.raises(
        DataError, match=r"(?s)images beside the folder train.*images/b.*rename train/.*frames: \[images/train\]"
    ):
        load(root, held_out=0.0)
    (root / "dataset.yaml").write_text(CLASSES + "frames: [images/train]\nmasks: masks/train\n")
    assert counts(load(root, held_out=0.0)) == (1, 0, 0)


def test_what_no_one_can_read_is_said_to_be_passed_over(tmp_path: Path) -> None:
    root = folder(tmp_path)
    touch(root, "images/clip.mp4", "images/phone.cr2")
    touch(tmp_path, "more/a.jpg", "more/b.gif")
    notes = load(root, unlabeled=str(tmp_path / "more")).notes
    hint = "; `semiseg data frames` makes images of videos"
    assert f"passed over: 1 .mp4, 1 .cr2 ({root}/images/clip.mp4, {root}/images/phone.cr2){hint}" in notes
    assert f"passed over: 1 .gif ({tmp_path}/more/b.gif)" in notes


def test_an_image_that_folders_name_twice_is_unlabeled_once(tmp_path: Path) -> None:
    root = folder(tmp_path, masks=5)
    listed(root, "splits/val.txt", *pairs(0))
    touch(tmp_path, "more/new.jpg")
    for name in ("09.jpg", "00.jpg"):
        (tmp_path / "more" / name).symlink_to(root / "images" / name)
    (tmp_path / "more/00.jpg").unlink()
    dataset = load(root, unlabeled=(str(tmp_path / "more"), str(tmp_path / "more")))
    assert ids(dataset.unlabeled) == ["05", "06", "07", "08", "09", "new"]
    assert dataset.notes[-1] == "3 unlabeled images are there twice and are used once"


@pytest.mark.parametrize("part", ["labeled", "val"])
@pytest.mark.parametrize("line", ["images/01.jpg masks/01.png", "images/./01.jpg masks/02.png"])
def test_an_image_that_a_list_names_twice_is_refused(tmp_path: Path, part: str, line: str) -> None:
    root = folder(tmp_path)
    listed(root, "splits/few/labeled.txt", *pairs(1, 0) if part == "labeled" else pairs(0))
    listed(root, "splits/val.txt", *pairs(1, 3) if part == "val" else pairs(3))
    with (root / ("splits/few/labeled.txt" if part == "labeled" else "splits/val.txt")).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=rf"(?s)1 {part} images are named more than once|2 {part}.*images/01\.jpg"):
        load(root, split="few")


def test_masks_are_found_by_stem_in_the_same_subfolder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    touch(root, "images/a/x.JPG", "images/b/x.jpg", "images/a.b.jpeg", "images/b/y.webp", "images/notes.txt")
    touch(root, "masks/a/x.png", "masks/a.b.tif", "masks/b/y.bmp")
    (root / "dataset.yaml").write_text(CLASSES)
    dataset = load(root, held_out=0.0)
    assert {sample.id: sample.mask for sample in dataset.labeled} == {
        "images/a/x.JPG": root / "masks/a/x.png",
        "images/a.b.jpeg": root / "masks/a.b.tif",
        "images/b/y.webp": root / "masks/b/y.bmp",
    }
    assert [sample.id for sample in dataset.unlabeled] == ["images/b/x.jpg"]


def test_hidden_files_and_folders_are_not_data(tmp_path: Path) -> None:
    root = folder(tmp_path, masks=2, images=2)
    touch(root, "images/.ipynb_checkpoints/00-checkpoint.jpg", "images/._00.jpg", "masks/._00.png")
    assert len(load(root).unlabeled) == 0


@pytest.mark.parametrize("several", [False, True])
def test_more_unlabeled_images_come_from_folders_anywhere(tmp_path: Path, several: bool) -> None:
    root = folder(tmp_path)
    touch(tmp_path, "more/deep/a.png", "more/b.jpg", "most/c.tif")
    given = (str(tmp_path / "more"), str(tmp_path / "most")) if several else str(tmp_path / "more")
    added = ids(load(root, unlabeled=given).unlabeled)[len(load(root).unlabeled) :]
    assert added == (["b", "a", "c"] if several else ["b", "a"])


def test_the_order_is_that_of_the_names_not_of_the_disk(tmp_path: Path) -> None:
    root = tmp_path / "data"
    names = ["images/c.jpg", "images/a.jpg", "images/z/a.jpg", "images/b/x.jpg", "images/b.jpg"]
    touch(root, *names, "masks/c.png", "masks/a.png")
    (root / "dataset.yaml").write_text(CLASSES)
    assert [sample.id for sample in load(root).unlabeled] == ["images/b.jpg", "images/b/x.jpg", "images/z/a.jpg"]


# Refusals


@pytest.mark.parametrize("kind", ["labeled", "unlabeled", "val"])
@pytest.mark.parametrize("name", ["../out.txt", "/etc/passwd"])
def test_lists_of_a_dataset_yaml_stay_in_its_folder(tmp_path: Path, kind: str, name: str) -> None:
    lists = {"labeled": "l.txt", "val": "v.txt"} | {kind: name}
    root = folder(tmp_path, yaml=CLASSES + f"lists: {lists}\n")
    listed(root, "l.txt", *pairs(0))
    listed(root, "v.txt", *pairs(1))
    with pytest.raises(DataError, match=rf"(?s)leaves the data folder.*lists\.{kind}"):
        load(root)


def test_no_folder_and_no_dataset_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data\.root FOLDER"):
        load_dataset(DataConfig())
    with pytest.raises(DataError, match=r"(?s)data folder not found.*missing"):
        load(tmp_path / "missing")
    with pytest.raises(DataError, match=r"(?s)no dataset\.yaml.*classes: \[NAME"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"(?s)unknown data set 'camvit'; did you mean 'camvid'"):
        load(tmp_path, spec="camvit")


def test_an_empty_folder_and_one_without_masks_are_named(tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    (root / "dataset.yaml").write_text(CLASSES)
    with pytest.raises(DataError, match=r"(?s)no images found.*images.*\.jpg"):
        load(root)
    with pytest.raises(DataError, match=r"(?s)0 with a mask found.*masks.*add masks"):
        load(folder(tmp_path, masks=0))
    with pytest.raises(DataError, match=r"(?s)no images found.*nowhere.*--data\.unlabeled"):
        load(folder(tmp_path), unlabeled=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("split", ["0", "6"])
def test_a_number_that_cannot_be_had_is_refused_with_what_there_is(tmp_path: Path, split: str) -> None:
    with pytest.raises(DataError, match=r"(?s)labeled images wanted, 5 with a mask.*--data\.split"):
        load(folder(tmp_path, masks=6), split=split)


def test_an_unknown_split_is_refused_with_the_closest(tmp_path: Path) -> None:
    root = folder(tmp_path)
    for name in ("1_16", "1_8"):
        listed(root, f"splits/{name}/labeled.txt", *pairs(0))
    with pytest.raises(DataError, match=r"(?s)no split '1_6'; did you mean '1_16'.*expected: 1_16, 1_8"):
        load(root, split="1_6")


def test_a_split_needs_a_val_list(tmp_path: Path) -> None:
    root = folder(tmp_path)
    listed(root, "splits/few/labeled.txt", *pairs(0))
    with pytest.raises(DataError, match=r"(?s)no val list.*--data\.val LIST"):
        load(root, split="few")


def test_a_mask_without_an_image_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path)
    touch(root, "masks/sub/03.png")
    with pytest.raises(DataError, match=r"(?s)mask without an image.*masks/sub/03\.png.*03\.\*"):
        load(root)


@pytest.mark.parametrize("kind", ["labeled", "unlabeled"])
def test_an_image_that_is_trained_and_evaluated_on_is_refused(tmp_path: Path, kind: str) -> None:
    root = folder(tmp_path, yaml=CLASSES + "lists: {labeled: l.txt, unlabeled: u.txt, val: v.txt}\n")
    listed(root, "l.txt", *pairs(0, 3) if kind == "labeled" else pairs(0))
    listed(root, "u.txt", "images/./03.jpg" if kind == "unlabeled" else "images/05.jpg")
    listed(root, "v.txt", *pairs(3, 4))
    with pytest.raises(DataError, match=rf"(?s)1 images are both {kind} and evaluated on.*03\.jpg.*remedy"):
        load(root)


def test_a_val_image_that_comes_in_by_an_extra_folder_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "data/images")
    for extra in (str(tmp_path / "data/images"), "link"):
        with pytest.raises(DataError, match="both unlabeled and evaluated on"):
            load(Path("data"), unlabeled=extra)


# Published data sets


def lines(images: str, masks: str, *numbers: int) -> list[str]:
    return [f"{images}/{number:02}.jpg {masks}/{number:02}.png" for number in numbers]


def published(tmp_path: Path, dataset: str, images: str, masks: str, *, unlabeled: bool) -> str:
    """Write lists as published: 0 and 1 labeled in `few`, 0 to 5 in `all`, 8 and 9 val."""
    splits = tmp_path / "lists"
    listed(splits, f"{dataset}/few/labeled.txt", *lines(images, masks, 0, 1))
    listed(splits, f"{dataset}/val.txt", *lines("val2017" if dataset == "coco" else images, masks, 8, 9))
    if unlabeled:
        listed(splits, f"{dataset}/few/unlabeled.txt", *lines(images, masks, 2, 3, 4, 5))
        listed(splits, f"{dataset}/all/labeled.txt", *lines(images, masks, 0, 1, 2, 3, 4, 5))
    return str(splits)


def pascal(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a miniature Pascal, of which image 7 is in no list, and the options that name it."""
    root = tmp_path / "voc"
    touch(root, *(f"JPEGImages/{number:02}.jpg" for number in range(10)))
    touch(root, *(f"SegmentationClass/{number:02}.png" for number in (*range(6), 8, 9)))
    splits = published(tmp_path, "pascal", "JPEGImages", "SegmentationClass", unlabeled=True)
    return root, {"spec": "pascal", "splits": splits}


def coco(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a miniature COCO, whose masks of both parts share a folder; images 6 and 7 have none."""
    root = tmp_path / "coco"
    touch(root, *(f"train2017/{number:02}.jpg" for number in range(8)), "val2017/08.jpg", "val2017/09.jpg")
    touch(root, *(f"masks/{number:02}.png" for number in (*range(6), 8, 9)))
    return root, {"spec": "coco", "splits": published(tmp_path, "coco", "train2017", "masks", unlabeled=False)}


def counts(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.labeled), len(dataset.unlabeled), len(dataset.val)


def test_a_published_split_brings_its_lists_and_its_val_images(tmp_path: Path) -> None:
    root, options = pascal(tmp_path)
    dataset = load(root, split="few", **options)
    assert_apart(dataset)
    assert (ids(dataset.labeled), ids(dataset.unlabeled)) == (["00", "01"], ["02", "03", "04", "05"])
    assert ids(dataset.val) == ["08", "09"]
    assert dataset.spec.num_classes == 21
    assert dataset.notes == ()


def test_unlabeled_images_of_a_published_split_need_no_masks(tmp_path: Path) -> None:
    root, options = pascal(tmp_path)
    for number in range(2, 6):
        (root / f"SegmentationClass/{number:02}.png").unlink()
    assert ids(load(root, split="few", **options).unlabeled) == ["02", "03", "04", "05"]


@pytest.mark.parametrize("split", ["all", None])
def test_where_all_is_labeled_only_further_folders_are_unlabeled(tmp_path: Path, split: str | None) -> None:
    root, options = pascal(tmp_path)
    assert counts(load(root, split=split, **options)) == (6, 0, 2)
    touch(tmp_path, "more/a.png", "more/b.jpg")
    dataset = load(root, split=split, unlabeled=str(tmp_path / "more"), **options)
    assert counts(dataset) == (6, 2, 2)
    assert ids(dataset.unlabeled) == ["a", "b"]
    assert_apart(dataset)


def test_the_unlabeled_list_of_all_is_used_by_all_alone(tmp_path: Path) -> None:
    root, options = pascal(tmp_path)
    listed(tmp_path, "lists/pascal/all/unlabeled.txt", "extra/20k.jpg None")
    assert ids(load(root, split="all", **options).unlabeled) == ["20k"]
    assert "20k" not in ids(load(root, split="3", **options).unlabeled)


def test_a_number_is_drawn_from_the_images_that_all_labels(tmp_path: Path) -> None:
    root, options = pascal(tmp_path)
    touch(root, "SegmentationClass/07.png")  # of an image that is in no list
    dataset = load(root, split="4", **options)
    assert_apart(dataset)
    assert sorted(ids(dataset.labeled) + ids(dataset.unlabeled)) == [f"{number:02}" for number in range(6)]
    assert counts(dataset) == (4, 2, 2)
    assert dataset.notes == ("no published split 4: so many labeled images are drawn (data.split_seed)",)


def test_without_an_unlabeled_list_every_other_training_image_is_unlabeled(tmp_path: Path) -> None:
    root, options = coco(tmp_path)
    dataset = load(root, split="few", **options)
    assert_apart(dataset)
    assert ids(dataset.unlabeled) == [f"{number:02}" for number in range(2, 8)]
    assert {sample.frames[0].parent.name for sample in dataset.unlabeled} == {"train2017"}


def test_without_a_list_all_is_every_training_image_with_a_mask(tmp_path: Path) -> None:
    root, options = coco(tmp_path)
    dataset = load(root, split="all", **options)
    assert_apart(dataset)
    assert (ids(dataset.labeled), ids(dataset.unlabeled)) == ([f"{number:02}" for number in range(6)], ["06", "07"])
    assert dataset.labeled[0].mask == root / "masks/00.png"
    assert dataset.notes == ()


def test_masks_of_val_images_in_the_same_folder_are_no_slips_but_others_are(tmp_path: Path) -> None:
    root, options = coco(tmp_path)
    touch(root, "masks/99.png")
    with pytest.raises(DataError, match=r"(?s)mask without an image.*masks/99\.png.*below train2017/"):
        load(root, split="all", **options)


def test_lists_of_the_data_folder_go_before_published_ones(tmp_path: Path) -> None:
    root, options = pascal(tmp_path)
    listed(root, "splits/few/labeled.txt", *lines("JPEGImages", "SegmentationClass", 5))
    listed(root, "splits/val.txt", *lines("JPEGImages", "SegmentationClass", 9))
    dataset = load(root, split="few", **options)
    assert (ids(dataset.labeled), ids(dataset.val)) == (["05"], ["09"])
    assert "08" in ids(dataset.unlabeled)


def test_the_published_val_list_is_found_alone(tmp_path: Path) -> None:
    root, options = pascal(tmp_path)
    shutil.rmtree(root / "JPEGImages")
    judges = find_judges(DataConfig(root=str(root), **options), None, tmp_path / "none")  # type: ignore[arg-type]
    assert (judges.spec.name, ids(judges.val.samples)) == ("pascal", ["08", "09"])
    assert judges.val.origin == str(tmp_path / "lists/pascal/val.txt")


def test_images_that_a_test_list_names_are_not_drawn(tmp_path: Path) -> None:
    root = folder(tmp_path, masks=10, images=10)
    listed(root, "splits/test.txt", *pairs(0, 1, 2, 3, 4))
    dataset = load(root)
    assert_apart(dataset)
    assert sorted(ids(dataset.labeled) + ids(dataset.val)) == [f"{number:02}" for number in range(5, 10)]


# Pairs


def pairs_folder(tmp_path: Path, *, masks: int = 6, pairs: int = 10, yaml: str | None = None) -> Path:
    """Return a folder of pairs `A/00.png` and `B/00.png` to 09.png, of which the first `masks` have a mask."""
    root = tmp_path / "pairs"
    touch(root, *(f"{folder}/{index:02}.png" for folder in ("A", "B") for index in range(pairs)))
    touch(root, *(f"label/{index:02}.png" for index in range(masks)))
    if yaml is not None:
        (root / "dataset.yaml").write_text(yaml)
    return root


CHANGES = "classes: [same, new]\nframes: [A, B]\nmasks: label\n"


@pytest.mark.parametrize("yaml", [None, CHANGES])
def test_a_folder_of_pairs_is_a_data_set(tmp_path: Path, yaml: str | None) -> None:
    root = pairs_folder(tmp_path, yaml=yaml)
    dataset = load(root)
    assert_apart(dataset)
    assert counts(dataset) == (5, 4, 1)
    assert dataset.spec.score == "changed_iou"
    assert dataset.spec.mask_values == (None if yaml else {0: 0, 1: 1, 255: 1})
    assert dataset.spec.name == "pairs"
    for sample in (*dataset.labeled, *dataset.unlabeled, *dataset.val):
        assert sample.frames == (root / "A" / sample.id, root / "B" / sample.id)
        assert sample.mask in (None, root / "label" / sample.id)


def test_images_beside_a_and_b_are_no_data_set_of_pairs(tmp_path: Path) -> None:
    root = pairs_folder(tmp_path)
    touch(root, "images/a.png")
    with pytest.raises(DataError, match=r"(?s)no dataset\.yaml.*A/ and B/ with masks in label/"):
        load(root)


def test_a_number_of_pairs_is_drawn(tmp_path: Path) -> None:
    assert counts(load(pairs_folder(tmp_path), split="2")) == (2, 7, 1)


def test_pairs_of_train_and_val_are_kept_apart(tmp_path: Path) -> None:
    for folder in ("A", "B", "label"):
        touch(tmp_path, f"{folder}/train/x.png", f"{folder}/val/x.png")
    touch(tmp_path, "A/train/y.png", "B/train/y.png")
    dataset = load(tmp_path)
    parts = dataset.labeled, dataset.unlabeled, dataset.val
    assert [[sample.id for sample in part] for part in parts] == [["train/x.png"], ["train/y.png"], ["val/x.png"]]


@pytest.mark.parametrize("missing", ["A/03.png", "B/03.png", "B/08.png"])
def test_half_a_pair_is_named(tmp_path: Path, missing: str) -> None:
    root = pairs_folder(tmp_path)
    (root / missing).unlink()
    with pytest.raises(DataError, match=rf"(?s)without .*{missing[2:4]}\.png.*remedy"):
        load(root)


def test_lists_name_pairs_of_which_unlabeled_ones_need_no_masks(tmp_path: Path) -> None:
    root = pairs_folder(tmp_path)
    listed(root, "splits/few/labeled.txt", "00.png", "A/01.png B/01.png label/01.png")
    listed(root, "splits/few/unlabeled.txt", "08.png", "02.png")
    listed(root, "splits/val.txt", "05.png")
    dataset = load(root, split="few")
    assert_apart(dataset)
    assert (ids(dataset.labeled), ids(dataset.unlabeled), ids(dataset.val)) == (["00", "01"], ["08", "02"], ["05"])
    (root / "splits/few/unlabeled.txt").unlink()
    assert ids(load(root, split="few").unlabeled) == ["02", "03", "04", "06", "07", "08", "09"]


def test_more_unlabeled_pairs_come_from_folders_anywhere(tmp_path: Path) -> None:
    root = pairs_folder(tmp_path)
    touch(tmp_path, "more/A/n/x.png", "more/B/n/x.jpg", "more/label/n/x.png")
    added = load(root, unlabeled=str(tmp_path / "more")).unlabeled[-1]
    frames = (tmp_path / "more/A/n/x.png", tmp_path / "more/B/n/x.jpg")
    assert added == Sample(f"{tmp_path}/more/A/n/x.png", frames, None)
    (tmp_path / "more/B/n/x.jpg").unlink()
    with pytest.raises(DataError, match=r"(?s)without the other image.*more/A/n/x\.png"):
        load(root, unlabeled=str(tmp_path / "more"))
    with pytest.raises(DataError, match=r"(?s)no images found.*more/B/A.*--data\.unlabeled"):
        load(root, unlabeled=str(tmp_path / "more/B"))


@pytest.mark.parametrize("shared", ["A/05.png B/09.png", "A/09.png B/05.png"])
def test_no_frame_of_a_pair_may_be_trained_and_evaluated_on(tmp_path: Path, shared: str) -> None:
    root = pairs_folder(tmp_path, pairs=9)
    touch(root, "A/09.png", "B/09.png")
    listed(root, "splits/few/labeled.txt", "00.png")
    listed(root, "splits/few/unlabeled.txt", shared)
    listed(root, "splits/val.txt", "05.png")
    with pytest.raises(DataError, match=r"(?s)1 images are both unlabeled and evaluated on.*0[59]\.png"):
        load(root, split="few")


# Real data


@pytest.mark.parametrize(("split", "labeled"), [("1_16", 23), ("1_8", 46), ("1_4", 92)])
def test_camvid_has_its_published_counts(camvid_root: Path, split: str, labeled: int) -> None:
    dataset = load(camvid_root, spec="camvid", split=split)
    assert (len(dataset.labeled), len(dataset.unlabeled), len(dataset.val)) == (labeled, 367 - labeled, 101)
    assert dataset.spec.num_classes == 11
    for sample in (dataset.labeled[0], dataset.unlabeled[-1], dataset.val[0]):
        assert Image.open(sample.frames[0]).size == (480, 360)
    assert dataset.val[0].mask is not None
    assert set(np.unique(np.asarray(Image.open(dataset.val[0].mask)))) <= {*range(11), 255}


@pytest.mark.parametrize(
    ("name", "split", "labeled", "unlabeled", "val"),
    [
        ("pascal", "92", 92, 10490, 1449),
        ("pascal", "all", 10582, 0, 1449),
        ("cityscapes", "1_16", 186, 2789, 500),
        ("cityscapes", "all", 2975, 19998, 500),
        ("ade20k", "1_64", 316, 19894, 2000),
        ("ade20k", "all", 20210, 0, 2000),
        ("levir", "5", 356, 6764, 2048),
        ("levir", "10", 712, 6408, 2048),
        ("levir", "20", 1424, 5696, 2048),
        ("levir", "40", 2848, 4272, 2048),
        ("levir", "all", 7120, 0, 2048),
        ("levir", None, 7120, 0, 2048),
        ("whu", "5", 297, 5650, 744),
        ("whu", "10", 594, 5353, 744),
        ("whu", "20", 1189, 4758, 744),
        ("whu", "40", 2378, 3569, 744),
        ("whu", "100", 100, 5847, 744),
    ],
)
def test_published_splits_have_their_published_counts(
    published_splits: Path, tmp_path: Path, name: str, split: str | None, labeled: int, unlabeled: int, val: int
) -> None:
    dataset = load(tmp_path, spec=name, split=split, splits=str(published_splits))
    assert counts(dataset) == (labeled, unlabeled, val)
    assert_apart(dataset)
