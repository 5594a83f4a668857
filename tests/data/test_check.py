from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.data import DataConfig, Dataset, check_dataset, check_labeled, load_dataset, looking
from semiseg.data.reading import MAX_PIXELS
from semiseg.errors import DataError


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Return six images of 8x6, four of them with a mask, of two classes."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for index in range(6):
        Image.new("RGB", (8, 6)).save(tmp_path / f"images/{index}.png")
    for index in range(4):
        Image.fromarray(np.array([[0, 1, 255, 0]] * 6, dtype=np.uint8).repeat(2, 1)).save(
            tmp_path / f"masks/{index}.png"
        )
    (tmp_path / "dataset.yaml").write_text("classes: [a, b]")
    return load_dataset(DataConfig(root=str(tmp_path)))


def fault(dataset: Dataset, *, unlabeled: bool = True) -> str:
    with pytest.raises(DataError) as raised:
        check_dataset(dataset, MAX_PIXELS, unlabeled=unlabeled)
    return str(raised.value)


def mask_of(dataset: Dataset) -> Path:
    mask = dataset.labeled[0].mask
    assert mask is not None
    return mask


def test_sound_data_passes_in_silence(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    check_dataset(dataset, MAX_PIXELS, unlabeled=True)
    assert capsys.readouterr() == ("", "")


FAULTS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "sizes": (lambda image, mask: Image.new("L", (6, 8)).save(mask), "image of 8 x 6 and mask of 6 x 8 pixels"),
    "turned": (lambda image, mask: Image.new("RGB", (6, 8)).save(image), "image of 6 x 8 and mask of 8 x 6 pixels"),
    "value": (lambda image, mask: Image.new("L", (8, 6), 7).save(mask), "mask values [7] are no class"),
    "beside ignore": (lambda image, mask: Image.new("L", (8, 6), 254).save(mask), "mask values [254] are no class"),
    "colours": (lambda image, mask: Image.new("RGB", (8, 6)).save(mask), "mask with RGB pixels"),
    "missing mask": (lambda image, mask: mask.unlink(), "not found"),
    "missing image": (lambda image, mask: image.unlink(), "not found"),
    "cut image": (lambda image, mask: image.write_bytes(image.read_bytes()[:45]), "damaged image"),
    "cut mask": (lambda image, mask: mask.write_bytes(mask.read_bytes()[:45]), "damaged mask"),
    "page": (lambda image, mask: image.write_text("<html>"), "unreadable image"),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("part", ["labeled", "val"])
def test_a_fault_is_found_and_its_file_named(dataset: Dataset, kind: str, part: str) -> None:
    spoil, says = FAULTS[kind]
    sample = getattr(dataset, part)[0]
    spoil(sample.frames[0], sample.mask)
    message = fault(dataset)
    assert says in message
    assert "remedy:" in message
    assert str(sample.mask) in message or str(sample.frames[0]) in message
    assert message == fault(dataset, unlabeled=False)


def test_the_classes_and_the_ignore_value_are_named_beside_a_wrong_value(dataset: Dataset) -> None:
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(mask_of(dataset))
    message = fault(dataset)
    assert "[2, 3, 4, 5, 6, 7, 8, 9]" in message
    assert "0 to 1, or 255 to ignore" in message


def test_the_ignore_value_of_the_dataset_counts(dataset: Dataset) -> None:
    spec = replace(dataset.spec, ignore_value=9)
    Image.new("L", (8, 6), 9).save(mask_of(dataset))
    check_labeled(dataset.labeled[:1], spec, MAX_PIXELS)
    with pytest.raises(DataError, match=r"\[255\] are no class"):
        check_labeled(dataset.labeled[1:], spec, MAX_PIXELS)


def test_several_faults_come_in_one_message(dataset: Dataset) -> None:
    Image.new("RGB", (8, 6)).save(mask_of(dataset))
    dataset.labeled[1].frames[0].write_bytes(b"")
    message = fault(dataset)
    assert message.startswith("2 files cannot be used\n")
    assert "mask with RGB pixels" in message
    assert str(dataset.labeled[1].frames[0]) in message


def test_of_many_faults_the_first_ten_are_shown_and_the_rest_counted(dataset: Dataset) -> None:
    gone = tuple(replace(dataset.unlabeled[0], frames=(Path(f"gone_{index:02}.png"),)) for index in range(13))
    message = fault(replace(dataset, unlabeled=gone))
    assert message.startswith("13 files cannot be used\n")
    assert "gone_09.png" in message
    assert "gone_10.png" not in message
    assert message.endswith("... and 3 more")


@dataclass
class Shares:
    """Processes of which each looks at its share, one after the other; a text waits until all have given theirs."""

    rank: int
    texts: list[str]
    count: int = 3

    def gather_texts(self, text: str) -> list[str]:
        self.texts.append(text)
        return self.texts


def test_processes_share_the_work_and_all_know_what_each_found(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = check_dataset(dataset, MAX_PIXELS, unlabeled=True)
    reads: list[Path] = []
    read = looking.read_picture
    monkeypatch.setattr(looking, "read_picture", lambda path, *rest: (reads.append(path), read(path, *rest))[1])
    texts: list[str] = []
    found = [check_dataset(dataset, MAX_PIXELS, unlabeled=True, peers=Shares(rank, texts)) for rank in range(3)]
    assert found[2] == alone
    assert sorted(reads) == sorted(sample.frames[0] for sample in (*dataset.labeled, *dataset.val))
    assert set(alone.files) == {str(path) for path in dataset.root.rglob("*.png")}


def test_faults_of_all_processes_come_in_the_order_of_the_samples(dataset: Dataset) -> None:
    for sample in dataset.labeled:
        sample.frames[0].write_bytes(b"")
    texts: list[str] = []
    for rank in range(2):
        with pytest.raises(DataError):
            check_dataset(dataset, MAX_PIXELS, unlabeled=True, peers=Shares(rank, texts))
    with pytest.raises(DataError) as raised:
        check_dataset(dataset, MAX_PIXELS, unlabeled=True, peers=Shares(2, texts))
    assert str(raised.value) == fault(dataset)


def test_classes_that_no_mask_shows_are_named(dataset: Dataset) -> None:
    assert check_dataset(dataset, MAX_PIXELS, unlabeled=True).notes(dataset.spec) == ()
    spec = replace(dataset.spec, classes=("a", "b", "c", "d"))
    for sample in dataset.val:
        assert sample.mask
        Image.new("L", (8, 6), 2).save(sample.mask)
    found = check_dataset(replace(dataset, spec=spec), MAX_PIXELS, unlabeled=True)
    assert found.notes(spec) == (
        "no labeled mask shows c, d: cannot be learned",
        "no val mask shows a, b, d: cannot be evaluated",
    )
    assert found.pixels["val"] == {2: 48}
    assert found.images["labeled"] == {0: 3, 1: 3, 255: 3}


def paint(mask: Path, *colours: tuple[int, int, int]) -> None:
    """Save a mask as before, of values 0, 1 and 255, with a palette."""
    levels = [level for colour in colours for level in colour]
    image = Image.fromarray(np.asarray(Image.open(mask)))
    image.putpalette(levels + [0] * (768 - len(levels)))
    image.save(mask)


RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def test_palettes_that_number_classes_anew_in_each_file_are_refused(dataset: Dataset) -> None:
    masks = [sample.mask for sample in (*dataset.labeled, *dataset.val) if sample.mask]
    paint(masks[0], RED, BLUE, GREEN)  # the third colour is of no pixel
    paint(masks[2], RED, BLUE, RED)
    check_dataset(dataset, MAX_PIXELS, unlabeled=True)
    paint(masks[3], BLUE, RED)
    message = fault(dataset)
    assert "value 0 is of the colour (255, 0, 0) in one mask and (0, 0, 255) in another" in message
    assert f"{masks[0]} and {masks[3]}" in message
    assert "mode L" in message
    texts: list[str] = []
    for rank in range(3):
        with suppress(DataError):
            check_dataset(dataset, MAX_PIXELS, unlabeled=True, peers=Shares(rank, texts))
    with pytest.raises(DataError, match=r"value 0 is of the colour"):
        check_dataset(dataset, MAX_PIXELS, unlabeled=True, peers=Shares(2, texts[:2]))


def test_a_sample_without_a_mask_cannot_be_learned_from_or_evaluated_on(dataset: Dataset) -> None:
    bare = dataset.unlabeled[:1]
    for spoilt in (replace(dataset, labeled=bare), replace(dataset, val=bare)):
        message = fault(spoilt)
        assert "no mask listed" in message
        assert dataset.unlabeled[0].id in message


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_an_unlabeled_image_is_looked_at_only_where_it_is_used(dataset: Dataset, content: bytes | None) -> None:
    path = dataset.unlabeled[0].frames[0]
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert str(path) in fault(dataset)
    check_dataset(dataset, MAX_PIXELS, unlabeled=False)


def test_an_unlabeled_image_that_cannot_be_read_later_is_refused_now(dataset: Dataset) -> None:
    path = dataset.unlabeled[0].frames[0]
    Image.fromarray(np.zeros((6, 8), dtype=np.uint16)).save(path)
    assert "8 bits a channel" in fault(dataset)


def test_a_method_that_uses_unlabeled_images_needs_some(dataset: Dataset) -> None:
    without = replace(dataset, unlabeled=())
    message = fault(without)
    assert "no unlabeled images" in message
    assert "--method supervised" in message
    check_dataset(without, MAX_PIXELS, unlabeled=False)


def test_the_size_cap_holds_for_every_file(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"(?s)larger than the cap.*at most 47 pixels"):
        check_dataset(dataset, 47, unlabeled=True)
    with pytest.raises(DataError, match=r"(?s)larger than the cap.*at most 47 pixels"):
        check_dataset(replace(dataset, labeled=(), val=()), 47, unlabeled=True)
    check_dataset(dataset, 48, unlabeled=True)


def test_the_values_of_the_files_are_those_that_the_dataset_names(dataset: Dataset) -> None:
    spec = replace(dataset.spec, mask_values={0: 0, 255: 1})
    Image.fromarray(np.array([[0, 255]] * 6, dtype=np.uint8).repeat(4, 1)).save(mask_of(dataset))
    check_labeled(dataset.labeled[:1], spec, MAX_PIXELS)
    with pytest.raises(DataError, match=r"(?s)mask values \[1\] are no class.*expected: 0, 255\n.*mask_values"):
        check_labeled(dataset.labeled[1:2], spec, MAX_PIXELS)


@pytest.mark.parametrize("values", [{0: 0, 255: 1}, None])
def test_a_second_class_that_would_be_ignored_is_no_slip_that_passes(
    dataset: Dataset, values: dict[int, int] | None
) -> None:
    for sample in (*dataset.labeled, *dataset.val):
        assert sample.mask
        Image.fromarray(np.array([[0, 255]] * 6, dtype=np.uint8).repeat(4, 1)).save(sample.mask)
    spoilt = replace(dataset, spec=replace(dataset.spec, mask_values=values))
    if values:
        check_dataset(spoilt, MAX_PIXELS, unlabeled=True)
    else:
        assert "write `mask_values: {0: 0, 255: 1}` in dataset.yaml" in fault(spoilt)


@pytest.fixture
def pairs(tmp_path: Path) -> Dataset:
    """Return five pairs of 8x6, three of them labeled, of which one is held out."""
    for name in ("A", "B", "label"):
        (tmp_path / name).mkdir()
    for index in range(5):
        for name in ("A", "B"):
            Image.new("RGB", (8, 6)).save(tmp_path / f"{name}/{index}.png")
    for index in range(3):
        Image.fromarray(np.array([[0, 255]] * 6, dtype=np.uint8).repeat(4, 1)).save(tmp_path / f"label/{index}.png")
    return load_dataset(DataConfig(root=str(tmp_path)))


def test_sound_pairs_pass(pairs: Dataset) -> None:
    check_dataset(pairs, MAX_PIXELS, unlabeled=True)


@pytest.mark.parametrize("part", ["labeled", "unlabeled", "val"])
def test_both_frames_of_a_pair_are_of_one_size(pairs: Dataset, part: str) -> None:
    sample = getattr(pairs, part)[0]
    Image.new("RGB", (8, 7)).save(sample.frames[1])
    message = fault(pairs)
    assert "images of 8 x 6 and 8 x 7 pixels" in message
    assert f"{sample.frames[0]} and {sample.frames[1]}" in message


@pytest.mark.parametrize("part", ["labeled", "val"])
def test_a_pair_and_its_mask_are_of_one_size(pairs: Dataset, part: str) -> None:
    sample = getattr(pairs, part)[0]
    Image.new("L", (6, 8)).save(sample.mask)
    assert "image of 8 x 6 and mask of 6 x 8 pixels" in fault(pairs)


@pytest.mark.parametrize("part", ["labeled", "unlabeled", "val"])
def test_a_damaged_second_frame_is_named(pairs: Dataset, part: str) -> None:
    later = getattr(pairs, part)[0].frames[1]
    later.write_bytes(b"<html>")
    assert str(later) in fault(pairs)
