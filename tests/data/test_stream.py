from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from semiseg.augment import StrongViewConfig, cutmix
from semiseg.data import (
    Batch,
    DataConfig,
    Dataset,
    DatasetSpec,
    Division,
    Sample,
    TrainStream,
    check_dataset,
    iterate,
    load_dataset,
    loader_workers,
    shuffle,
)
from semiseg.data.stream import positions
from semiseg.errors import DataError

CROP = 16
CONFIG = DataConfig(crop=CROP, scale=(0.5, 2.0))
STRONG = StrongViewConfig(cutmix_p=0.8)
SPEC = DatasetSpec(name="noise", classes=("a", "b", "c"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Return 5 labeled and 19 unlabeled pictures of noise, each of its own size; some masks hold ignored pixels."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    samples = []
    for index in range(24):
        height, width = (int(side) for side in rng.integers(10, 40, 2))
        image, mask = root / f"{index}.png", root / f"m{index}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(image)
        Image.fromarray(rng.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)).save(mask)
        samples.append(Sample(str(index), (image,), mask if index < 5 else None))
    return Dataset(SPEC, tuple(samples[:5]), tuple(samples[5:]), ())


def stream(dataset: Dataset, division: Division, **options: object) -> TrainStream:
    settings: dict[str, object] = {"strong": STRONG, "views": 2, "seed": 3} | options
    return TrainStream(dataset, CONFIG, division, **settings)  # type: ignore[arg-type]


def tensors(batch: Batch) -> dict[str, Tensor]:
    found = {"x": batch.labeled.images_BTHWC, "mask": batch.labeled.mask_BHW, "pixels": batch.pixels.stacked()}
    found["places"] = batch.place.positions_B
    if batch.unlabeled:
        found |= {"u": batch.unlabeled.images_BTHWC, "ignore": batch.unlabeled.ignore_BHW}
        for number, view in enumerate(batch.unlabeled.views):
            draws = view.photometric
            named = {"box": view.box_B4, "order": draws.order, "factors": draws.factors, "gray": draws.grayscale}
            found |= {f"{name} {number}": tensor for name, tensor in (named | {"sigma": draws.sigma}).items()}
    return found


def assert_same(one: Batch, other: Batch) -> None:
    assert one.ids == other.ids
    assert (one.place.step, one.place.seed) == (other.place.step, other.place.seed)
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


WHOLE = Division(labeled=4, unlabeled=4)


def test_shapes_and_types_are_those_of_the_contract(dataset: Dataset) -> None:
    batch = stream(dataset, WHOLE)[0]
    assert batch.unlabeled is not None
    for images in (batch.labeled.images_BTHWC, batch.unlabeled.images_BTHWC):
        assert (images.shape, images.dtype) == ((4, 1, CROP, CROP, 3), torch.uint8)
    assert (batch.labeled.mask_BHW.shape, batch.labeled.mask_BHW.dtype) == ((4, CROP, CROP), torch.uint8)
    assert (batch.unlabeled.ignore_BHW.shape, batch.unlabeled.ignore_BHW.dtype) == ((4, CROP, CROP), torch.bool)
    assert len(batch.unlabeled.views) == 2
    assert batch.unlabeled.views[0].box_B4.shape == (4, 4)
    assert batch.unlabeled.views[0].photometric.factors.shape == (4, 1, 4)
    assert len(batch.ids) == 8
    assert set(batch.labeled.mask_BHW.unique().tolist()) <= {0, 1, 2, 255}


# Item n is a pure function


def test_an_item_is_the_same_whenever_it_is_asked_for(dataset: Dataset) -> None:
    source = stream(dataset, WHOLE, steps=12)
    later = source[9]
    for index in (0, 5, 11):
        source[index]
    assert_same(source[9], later)
    assert_same(stream(dataset, WHOLE, steps=12)[9], later)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_the_same_for_any_number_of_workers_and_from_any_step(dataset: Dataset, workers: int) -> None:
    source = stream(dataset, replace(WHOLE, accumulate=2), steps=7)
    batches = list(iterate(source, start=3, workers=workers, pin=False))
    assert len(batches) == 8
    for index, batch in enumerate(batches, 6):
        assert_same(batch, source[index])


def test_the_random_state_of_the_process_plays_no_part(dataset: Dataset) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = list(iterate(stream(dataset, WHOLE, steps=2), start=0, workers=0, pin=False))
    torch.manual_seed(2)
    np.random.seed(2)
    for one, other in zip(first, iterate(stream(dataset, WHOLE, steps=2), start=0, workers=0, pin=False), strict=True):
        assert_same(one, other)


def test_another_seed_gives_other_batches(dataset: Dataset) -> None:
    one, other = stream(dataset, WHOLE)[0], stream(dataset, WHOLE, seed=4)[0]
    assert one.ids != other.ids
    assert not torch.equal(tensors(one)["box 0"], tensors(other)["box 0"])


@pytest.fixture
def cut(dataset: Dataset, tmp_path: Path) -> Dataset:
    """Return the pictures with two of 19 unlabeled ones cut off, which their headers do not tell."""
    unlabeled = list(dataset.unlabeled)
    for number in (3, 11):
        path = tmp_path / f"cut_{number}.png"
        path.write_bytes(unlabeled[number].frames[0].read_bytes()[:-60])
        unlabeled[number] = Sample(path.name, (path,), None)
    return replace(dataset, unlabeled=tuple(unlabeled))


def test_a_labeled_file_that_turns_out_damaged_ends_in_our_error_also_from_a_worker(
    dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(dataset.labeled[0].frames[0].read_bytes()[:-60])
    spoilt = replace(dataset, labeled=(replace(dataset.labeled[0], frames=(path,)),))
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"(?s)damaged image.*cut\.png.*remedy") as raised:
            list(iterate(stream(spoilt, WHOLE), start=0, workers=workers, pin=False))
        assert "Traceback" not in str(raised.value)


def test_in_the_place_of_a_damaged_image_another_is_drawn_and_the_rest_stays(dataset: Dataset, cut: Dataset) -> None:
    met: set[str] = set()
    for step in range(12):
        whole, batch = stream(dataset, WHOLE)[step], stream(cut, WHOLE)[step]
        met |= dict(batch.damaged).keys()
        assert batch.ids[:4] == whole.ids[:4]
        for before, now in zip(whole.ids, batch.ids, strict=True):
            assert "cut" not in now
            assert now == before or before in (dataset.unlabeled[3].id, dataset.unlabeled[11].id)
        assert bool(batch.damaged) == (batch.ids != whole.ids)
        assert all("damaged image" in reason and "cut_" in reason for _, reason in batch.damaged)
    assert met == {"cut_3.png", "cut_11.png"}


@pytest.mark.parametrize("second", [False, True])
def test_what_is_drawn_in_its_place_is_the_same_for_any_division_start_and_number_of_workers(
    cut: Dataset, second: bool
) -> None:
    whole = [stream(cut, WHOLE, steps=12, second=second)[step] for step in range(12)]
    read = list(iterate(stream(cut, WHOLE, steps=12, second=second), start=5, workers=2, pin=False))
    assert [batch.damaged for batch in read] == [batch.damaged for batch in whole[5:]]
    for one, other in zip(read, whole[5:], strict=True):
        assert_same(one, other)
    halves = [stream(cut, replace(WHOLE, processes=2, rank=rank), steps=12, second=second) for rank in range(2)]
    for step, batch in enumerate(whole):
        parts = [half[step] for half in halves]
        assert sorted(name for part in parts for name in part.ids) == sorted(batch.ids)
        assert {item for part in parts for item in part.damaged} == set(batch.damaged)


def test_without_a_quarantine_the_first_damaged_image_ends_the_run(cut: Dataset) -> None:
    source = stream(cut, WHOLE, steps=12)
    source.config = replace(CONFIG, quarantine=0.0)
    with pytest.raises(DataError, match=r"damaged image"):
        list(iterate(source, start=0, workers=0, pin=False))


def test_where_nothing_can_be_read_nothing_is_drawn_for_ever(cut: Dataset) -> None:
    source = stream(replace(cut, unlabeled=(cut.unlabeled[3], cut.unlabeled[11])), WHOLE)
    with pytest.raises(DataError, match=r"(?s)damaged image.*cut_"):
        source[0]


# Any division gives the same global batch


@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.integers(1, 6))
def test_positions_divide_the_batch_and_hold_the_partners_of_cutmix(size: int, chunks: int) -> None:
    batch = size * chunks
    parts = [positions(batch, chunk, chunks) for chunk in range(chunks)]
    assert sorted(place for part in parts for place in part) == list(range(batch))
    assert {len(part) for part in parts} == {size}
    if size % 2 == 0:
        for part in parts:
            assert [batch - 1 - place for place in reversed(part)] == part


DIVISIONS = [(1, 2), (2, 1), (2, 2), (4, 1), (1, 4), (3, 2), (1, 12), (4, 3), (1, 3)]


@pytest.mark.parametrize(("processes", "accumulate"), DIVISIONS)
def test_the_chunks_of_any_division_make_up_the_one_batch(dataset: Dataset, processes: int, accumulate: int) -> None:
    whole = Division(labeled=12, unlabeled=12)
    step = 2
    expected = stream(dataset, whole, steps=4)[step]
    wanted = tensors(expected)
    assert expected.unlabeled is not None
    seen: list[int] = []
    for rank in range(processes):
        division = replace(whole, processes=processes, rank=rank, accumulate=accumulate)
        source = stream(dataset, division, steps=4)
        assert len(source) == 4 * accumulate
        for part in range(accumulate):
            chunk = source[step * accumulate + part]
            places = chunk.place.positions_B.tolist()
            size = len(places)
            seen += places
            assert (chunk.place.step, chunk.place.batch, chunk.place.chunks) == (step, 12, processes * accumulate)
            for name, tensor in tensors(chunk).items():
                if name not in ("places", "pixels"):
                    assert torch.equal(tensor, wanted[name][places]), name
            assert chunk.ids[:size] == tuple(expected.ids[place] for place in places)
            assert chunk.ids[size:] == tuple(expected.ids[12 + place] for place in places)
    assert sorted(seen) == list(range(12))


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 2), (2, 1), (2, 3), (3, 1), (6, 1)])
def test_mixing_each_chunk_is_mixing_the_batch_and_the_counts_add_up(
    dataset: Dataset, processes: int, accumulate: int
) -> None:
    whole = Division(labeled=12, unlabeled=12)
    expected = stream(dataset, whole)[0]
    assert expected.unlabeled is not None
    boxes = [view.box_B4 for view in expected.unlabeled.views]
    assert all((box[:, 2] > box[:, 0]).any() for box in boxes)
    mixed = [cutmix(expected.unlabeled.images_BTCHW, box) for box in boxes]
    total = torch.zeros_like(expected.pixels.stacked())
    for rank in range(processes):
        source = stream(dataset, replace(whole, processes=processes, rank=rank, accumulate=accumulate))
        for part in range(accumulate):
            chunk = source[part]
            assert chunk.unlabeled is not None
            for view, images in zip(chunk.unlabeled.views, mixed, strict=True):
                assert torch.equal(cutmix(chunk.unlabeled.images_BTCHW, view.box_B4), images[chunk.place.positions_B])
            total += chunk.pixels.stacked()
    assert torch.equal(total, expected.pixels.stacked())


def test_labeled_only_training_divides_its_doubled_batch_alike(dataset: Dataset) -> None:
    whole = Division(labeled=8, unlabeled=0)
    expected = stream(dataset, whole, views=0)[0]
    chunks = [stream(dataset, replace(whole, processes=2, rank=rank), views=0)[0] for rank in range(2)]
    assert all(chunk.unlabeled is None for chunk in chunks)
    assert sorted(name for chunk in chunks for name in chunk.ids) == sorted(expected.ids)
    assert sum(chunk.pixels.labeled.item() for chunk in chunks) == expected.pixels.labeled.item()
    assert expected.pixels.views.shape == (0,)


# Epochs


def epoch(source: TrainStream, number: int) -> tuple[Counter[str], Counter[str]]:
    """Count how often each labeled and each unlabeled sample comes in an epoch."""
    labeled, unlabeled = source.division.labeled, source.division.unlabeled
    first = number * source.steps_per_epoch
    names = [source[step].ids for step in range(first, first + source.steps_per_epoch)]
    assert all(len(step) == labeled + unlabeled for step in names)
    return (
        Counter(name for step in names for name in step[:labeled]),
        Counter(name for step in names for name in step[labeled:]),
    )


def test_an_epoch_shows_each_unlabeled_image_once_and_repeats_the_labeled_ones_evenly(dataset: Dataset) -> None:
    source = stream(dataset, WHOLE)
    assert len(source) == source.steps_per_epoch == 4  # 19 images in batches of 4; the last 3 wait for a later epoch
    for number in (0, 1):
        labeled, unlabeled = epoch(source, number)
        assert set(unlabeled.values()) == {1}
        assert unlabeled.total() == 16
        assert sorted(labeled.values()) == [3, 3, 3, 3, 4]  # 16 slots for 5 images
    assert source[0].ids != source[4].ids


def test_images_left_out_of_an_epoch_are_others_in_the_next(dataset: Dataset) -> None:
    source = stream(dataset, WHOLE)
    missing = [{sample.id for sample in dataset.unlabeled} - set(epoch(source, number)[1]) for number in range(3)]
    assert len(set(map(frozenset, missing))) > 1


def test_fewer_unlabeled_images_than_the_batch_are_repeated_evenly(dataset: Dataset) -> None:
    source = stream(replace(dataset, unlabeled=dataset.unlabeled[:3]), Division(labeled=8, unlabeled=8))
    assert source.steps_per_epoch == 1
    labeled, unlabeled = epoch(source, 0)
    assert sorted(unlabeled.values()) == [2, 3, 3]
    assert sorted(labeled.values()) == [1, 1, 2, 2, 2]


def test_one_labeled_image_is_enough(dataset: Dataset) -> None:
    labeled, _ = epoch(stream(replace(dataset, labeled=dataset.labeled[:1]), WHOLE), 0)
    assert list(labeled.values()) == [16]


def test_more_labeled_than_unlabeled_images_take_turns_over_the_epochs(dataset: Dataset) -> None:
    source = stream(replace(dataset, unlabeled=dataset.unlabeled[:4]), Division(labeled=4, unlabeled=4))
    counts = [epoch(source, number)[0] for number in range(12)]
    assert all(set(count.values()) == {1} for count in counts)
    assert len(set().union(*counts)) == 5


@pytest.mark.parametrize(("least", "steps"), [(0, 1), (10, 2), (11, 2), (12, 3)])
def test_a_labeled_only_epoch_is_as_long_as_asked(dataset: Dataset, least: int, steps: int) -> None:
    source = stream(dataset, Division(labeled=4, unlabeled=0), views=0)
    source.config = replace(CONFIG, labeled_epoch=least)
    assert source.steps_per_epoch == steps
    labeled, unlabeled = epoch(source, 0)
    assert not unlabeled
    assert max(labeled.values()) - min(labeled.values()) <= 1


# Draws


def test_the_same_image_is_cut_in_another_way_each_time(dataset: Dataset) -> None:
    one = replace(dataset, labeled=dataset.labeled[:1], unlabeled=dataset.unlabeled[:1])
    batch = stream(one, Division(labeled=4, unlabeled=4))[0]
    again = stream(one, Division(labeled=4, unlabeled=4))[1]
    for source in (batch, again):
        assert len({tuple(image.flatten().tolist()) for image in source.labeled.images_BTHWC}) == 4
    assert not torch.equal(batch.labeled.images_BTHWC, again.labeled.images_BTHWC)


def test_labeled_and_unlabeled_crops_of_a_slot_are_cut_in_different_ways(dataset: Dataset) -> None:
    sample = dataset.labeled[0]
    twins = replace(dataset, labeled=(sample,), unlabeled=(replace(sample, mask=None),))
    batch = stream(twins, Division(labeled=8, unlabeled=8))[0]
    assert batch.unlabeled is not None
    pairs = zip(batch.labeled.images_BTHWC, batch.unlabeled.images_BTHWC, strict=True)
    assert sum(torch.equal(one, other) for one, other in pairs) <= 1


def test_the_two_views_of_an_image_are_drawn_apart(dataset: Dataset) -> None:
    found = tensors(stream(dataset, Division(labeled=8, unlabeled=8))[0])
    assert not torch.equal(found["box 0"], found["box 1"])
    assert not torch.equal(found["factors 0"], found["factors 1"])


def test_both_frames_of_a_pair_are_cut_at_the_same_place(dataset: Dataset) -> None:
    paired = [replace(sample, frames=sample.frames * 2) for sample in dataset.labeled]
    loose = [replace(sample, frames=sample.frames * 2) for sample in dataset.unlabeled]
    batch = stream(replace(dataset, labeled=tuple(paired), unlabeled=tuple(loose)), WHOLE)[0]
    assert batch.unlabeled is not None
    for images in (batch.labeled.images_BTHWC, batch.unlabeled.images_BTHWC):
        assert images.shape[1] == 2
        assert torch.equal(images[:, 0], images[:, 1])
    factors = batch.unlabeled.views[0].photometric.factors
    assert factors.shape == (4, 2, 4)
    assert not torch.equal(factors[:, 0], factors[:, 1])


@pytest.fixture
def real_pairs(levir_root: Path, tmp_path: Path) -> Dataset:
    """Return the real pairs: 4 labeled, 7 unlabeled and without a mask file."""
    names = sorted(path.name for path in (levir_root / "A").iterdir())
    for folder, some in (("A", names), ("B", names), ("label", names[:4])):
        (tmp_path / folder).mkdir()
        for name in some:
            (tmp_path / folder / name).symlink_to(levir_root / folder / name)
    loaded = load_dataset(DataConfig(root=str(tmp_path), held_out=0.0))
    assert (len(loaded.labeled), len(loaded.unlabeled)) == (4, 7)
    return loaded


def test_crops_of_real_pairs_show_both_dates_and_the_mask_at_one_place(real_pairs: Dataset) -> None:
    config = DataConfig(crop=256, scale=(1.0, 1.0))  # at scale 1 a crop is the tile, flipped or not
    check_dataset(real_pairs, 256 * 256, unlabeled=True)
    batch = TrainStream(real_pairs, config, WHOLE, strong=STRONG, views=2, seed=3)[0]
    assert batch.unlabeled is not None
    by_id = {sample.id: sample for sample in (*real_pairs.labeled, *real_pairs.unlabeled)}
    flips = set()
    crops = torch.cat((batch.labeled.images_BTHWC, batch.unlabeled.images_BTHWC))
    for place, (name, crop_THWC) in enumerate(zip(batch.ids, crops, strict=True)):
        tiles = np.stack([np.asarray(Image.open(path)) for path in by_id[name].frames])
        flip = bool((crop_THWC.numpy() == tiles[:, :, ::-1]).all())
        np.testing.assert_array_equal(crop_THWC, tiles[:, :, ::-1] if flip else tiles)
        flips.add(flip)
        if place < 4:
            assert by_id[name].mask
            changed_HW = np.asarray(Image.open(by_id[name].mask)) == 255
            np.testing.assert_array_equal(batch.labeled.mask_BHW[place], changed_HW[:, ::-1] if flip else changed_HW)
    assert flips == {False, True}
    assert set(batch.labeled.mask_BHW.unique().tolist()) == {0, 1}


def test_the_dates_of_a_real_pair_share_the_box_and_not_the_colours(real_pairs: Dataset) -> None:
    batch = TrainStream(real_pairs, DataConfig(crop=64), WHOLE, strong=STRONG, views=2, seed=3)[0]
    assert batch.unlabeled is not None
    assert batch.unlabeled.images_BTHWC.shape == (4, 2, 64, 64, 3)
    for view in batch.unlabeled.views:
        assert view.photometric.factors.shape == (4, 2, 4)
        assert not torch.equal(view.photometric.factors[:, 0], view.photometric.factors[:, 1])
        mixed = cutmix(batch.unlabeled.images_BTCHW, view.box_B4)
        for index, (x0, y0, x1, y1) in enumerate(view.box_B4.tolist()):
            wanted = batch.unlabeled.images_BTCHW[index].clone()
            wanted[..., y0:y1, x0:x1] = batch.unlabeled.images_BTCHW[3 - index, ..., y0:y1, x0:x1]
            assert torch.equal(mixed[index], wanted)


def test_image_mask_and_padding_of_a_crop_belong_together(tmp_path: Path) -> None:
    ids = np.kron(np.arange(12).reshape(3, 4) % 3, np.ones((10, 8))).astype(np.uint8)
    shown = np.stack([ids * 100 + 50] * 3, axis=-1)
    Image.fromarray(shown).save(tmp_path / "x.png")
    Image.fromarray(ids).save(tmp_path / "m.png")
    sample = Sample("x", (tmp_path / "x.png",), tmp_path / "m.png")
    dataset = Dataset(SPEC, (sample,), (replace(sample, mask=None),), ())
    batch = stream(dataset, Division(labeled=32, unlabeled=32))[0]
    seen, mask = batch.labeled.images_BTHWC[:, 0, ..., 0], batch.labeled.mask_BHW
    assert torch.equal(seen == 0, mask == 255)
    assert (seen == 0).any()
    flat = (seen == 50) | (seen == 150) | (seen == 250)  # away from the blurred borders
    assert flat.float().mean() > 0.5
    at_borders = (seen == 150) & (mask != 1) & flat  # the blur from 50 to 250 passes 150
    assert torch.equal(seen[flat & ~at_borders], (mask * 100 + 50)[flat & ~at_borders])
    assert at_borders.float().mean() < 0.02
    assert batch.unlabeled is not None
    assert torch.equal(batch.unlabeled.images_BTHWC[:, 0, ..., 0] == 0, batch.unlabeled.ignore_BHW)


# Counts


@pytest.mark.parametrize("step", [0, 3])
def test_pixel_counts_are_those_of_a_recount(dataset: Dataset, step: int) -> None:
    source = stream(dataset, Division(labeled=6, unlabeled=6), steps=4)
    source.config = replace(CONFIG, crop=32)  # larger than many images
    batch = source[step]
    assert batch.unlabeled is not None
    valid = ~batch.unlabeled.ignore_BHW
    views = []
    for view in batch.unlabeled.views:
        mixed = valid.clone()
        for index, (x0, y0, x1, y1) in enumerate(view.box_B4.tolist()):
            mixed[index, y0:y1, x0:x1] = valid[5 - index, y0:y1, x0:x1]
        views.append(mixed.sum().item())
    expected = [(batch.labeled.mask_BHW != 255).sum().item(), valid.sum().item(), *views]
    assert batch.pixels.stacked().tolist() == expected
    assert batch.pixels.stacked().dtype == torch.float64
    assert 0 < expected[0] < 6 * 32 * 32
    assert len(set(expected[1:])) == 3


def test_ignored_pixels_are_those_of_the_dataset(dataset: Dataset) -> None:
    masked = replace(dataset, spec=replace(SPEC, ignore_value=1, mask_values={0: 0, 1: 1, 2: 2, 255: 2}))
    batch = stream(masked, WHOLE)[0]
    assert batch.pixels.labeled.item() == (batch.labeled.mask_BHW != 1).sum().item()


# Workers


def test_workers_are_as_asked_or_the_cores_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert loader_workers(0, 4) == 0
    assert loader_workers(5, 4) == 5
    assert loader_workers(-1, 4) == 3
    assert loader_workers(-1, 1) == 8
    assert loader_workers(-1, 32) == 0


def test_a_second_unlabeled_batch_is_drawn_independently_and_counted_in_the_mixed_pixels(tiny_scenes: Path) -> None:
    config = DataConfig(root=str(tiny_scenes), crop=32, scale=(0.3, 0.6))
    strong, division = StrongViewConfig(cutmix_p=1), Division(labeled=4, unlabeled=4)
    one, two = (
        TrainStream(load_dataset(config), config, division, strong=strong, views=2, seed=1, second=second)[0]
        for second in (False, True)
    )
    assert one.second is None
    assert two.unlabeled is not None
    assert two.second is not None
    assert one.unlabeled is not None
    assert torch.equal(one.unlabeled.images_BTHWC, two.unlabeled.images_BTHWC)
    assert not torch.equal(two.second.images_BTHWC, two.unlabeled.images_BTHWC)
    assert not torch.equal(two.second.views[0].photometric.sigma, two.unlabeled.views[0].photometric.sigma)
    valid, content = ~two.unlabeled.ignore_BHW, ~two.second.ignore_BHW
    mixed = [cutmix(valid, view.box_B4, content).sum().item() for view in two.unlabeled.views]
    assert two.pixels.views.tolist() == mixed
    assert mixed != [cutmix(valid, view.box_B4).sum().item() for view in two.unlabeled.views]
    assert len(two.ids) == 12


def test_labeled_images_get_strong_views_where_asked(tiny_scenes: Path) -> None:
    config = DataConfig(root=str(tiny_scenes), crop=32)
    dataset, division = load_dataset(config), Division(labeled=4, unlabeled=0)
    plain, changed = (
        TrainStream(dataset, config, division, strong=StrongViewConfig(), views=0, seed=1, labeled_views=views)[0]
        for views in (0, 1)
    )
    assert plain.labeled.views == ()
    (view,) = changed.labeled.views
    assert view.box_B4.shape == (4, 4)
    assert torch.equal(plain.labeled.images_BTHWC, changed.labeled.images_BTHWC)


@pytest.mark.parametrize("division", [WHOLE, Division(labeled=4, unlabeled=4, processes=2, rank=1, accumulate=2)])
def test_steps_that_learn_from_labels_alone_read_nothing_else_and_change_no_other_step(
    division: Division, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = stream(dataset, division, steps=6, second=True)
    later = stream(dataset, division, steps=6, second=True, warm_up=0.5)
    monkeypatch.setattr(TrainStream, "_draw_unlabeled", lambda *_: pytest.fail("an unlabeled image is drawn"))
    for index in range(3 * division.accumulate):
        found = later[index]
        assert found.unlabeled is found.second is None
        assert found.pixels.weak == 0
        assert found.pixels.views.tolist() == [0, 0]
        assert {*found.ids} <= {sample.id for sample in dataset.labeled}
    monkeypatch.undo()
    for index in range(len(always)):
        one, other = always[index], later[index]
        if index < 3 * division.accumulate:
            assert torch.equal(one.labeled.images_BTHWC, other.labeled.images_BTHWC)
            assert torch.equal(one.labeled.mask_BHW, other.labeled.mask_BHW)
        else:
            assert_same(one, other)


def test_a_batch_knows_its_time(tiny_scenes: Path) -> None:
    config = DataConfig(root=str(tiny_scenes), crop=32)
    division = Division(labeled=2, unlabeled=2)
    dataset = load_dataset(config)
    place = TrainStream(dataset, config, division, strong=StrongViewConfig(), views=1, seed=1, steps=7)[4].place
    assert (place.step, place.steps, place.steps_per_epoch) == (4, 7, 3)


@pytest.mark.parametrize("near", [False, True])
def test_orders_that_are_computed_are_the_same_for_any_division_and_from_any_step_on(
    dataset: Dataset, near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HELD", 3), ("BLOCK", 2), ("WINDOW", 3)):
        monkeypatch.setattr(shuffle, name, value)
    computed = shuffle.shuffled.__wrapped__  # not those that earlier tests have left in its memory
    monkeypatch.setattr("semiseg.data.stream.shuffled", lambda *counters, **_: computed(*counters, near=near))

    def drawn(division: Division) -> dict[int, Counter[str]]:
        """Return the samples of each step over all processes, beginning in the middle of an epoch."""
        found: dict[int, Counter[str]] = {step: Counter() for step in range(3, 10)}
        for rank in range(division.processes):
            chunks = stream(dataset, replace(division, rank=rank), views=0, steps=10)
            for number in range(3 * division.accumulate, len(chunks)):
                found[number // division.accumulate].update(chunks[number].ids)
        return found

    whole = drawn(Division(labeled=4, unlabeled=4))
    for processes, accumulate in ((2, 1), (1, 2), (2, 2), (4, 1)):
        assert drawn(Division(labeled=4, unlabeled=4, processes=processes, accumulate=accumulate)) == whole
    second_epoch = sum((whole[step] for step in range(4, 8)), Counter[str]())
    unlabeled = [id_ for id_ in second_epoch if int(id_) >= 5]
    assert len(unlabeled) == 16, "no unlabeled sample comes twice in an epoch of four steps of four"
