from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.augment import StrongViewConfig
from semiseg.data import DataConfig, Dataset, Division, TrainStream, load_dataset, open_data
from semiseg.data import indexing as module
from semiseg.data.index import BATCH, Contents, ImageIndex, IndexedSamples, Place, index_of, path_key, schema
from semiseg.data.indexing import current_index, write_index
from semiseg.data.inspection import inspect_data
from semiseg.data.record import same_samples
from semiseg.data.scenes import write_scenes
from semiseg.data.spec import read_spec
from semiseg.errors import DataError

pa = pytest.importorskip("pyarrow", reason="pyarrow is missing: pip install '.[scale]'")
STRONG = StrongViewConfig()


def write_image(path: Path, seed: int, width: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (36, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def age(folder: Path) -> None:
    """Let folders and archives look as if they had been there for long."""
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names if name.endswith(".tar"))):
            os.utime(path, (1e9, 1e9))


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Return a data set of scenes and a pool of images in folders, with an index that is still to be written."""
    write_scenes(tmp_path / "scenes", labeled=3, unlabeled=2, val=2, size=32)
    for seed, name in enumerate(("b.png", "a.png", "c/d.png", "c/e/f.jpg")):
        write_image(tmp_path / "pool" / name, seed)
    (tmp_path / "pool/notes.txt").write_text("none")
    age(tmp_path / "pool")
    return DataConfig(
        root=str(tmp_path / "scenes"),
        unlabeled=str(tmp_path / "pool"),
        index=str(tmp_path / "pool.arrow"),
        crop=16,
        workers=0,
    )


def index(config: DataConfig) -> ImageIndex:
    return current_index(config, read_spec(Path(config.root or "") / "dataset.yaml"))


def names(config: DataConfig) -> list[str]:
    images = index(config)
    return [str((images.place_of(row) / images.name(row)).relative_to(images.sources[0])) for row in range(len(images))]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the images that were looked at, as they are."""
    seen: list[str] = []
    look = module.picture_size

    def noted(path: Path, *arguments: object) -> tuple[int, int]:
        seen.append(path.name)
        return look(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "picture_size", noted)
    return seen


def test_an_index_changes_nothing_but_how_long_a_start_takes(config: DataConfig) -> None:
    plain, indexed = load_dataset(replace(config, index=None)), load_dataset(config)
    assert isinstance(indexed.unlabeled, IndexedSamples)
    assert len(indexed.unlabeled) == 6
    for one, other in zip(plain.unlabeled, indexed.unlabeled, strict=True):
        assert (one.id, one.frames, one.mask) == (other.id, other.frames, other.mask)
    assert indexed.unlabeled[-1] == indexed.unlabeled[5]
    assert indexed.unlabeled[1:3] == tuple(indexed.unlabeled)[1:3]
    division = Division(labeled=2, unlabeled=2)
    streams = [TrainStream(data, config, division, strong=STRONG, views=1, seed=0) for data in (plain, indexed)]
    for number in range(3):
        one, other = streams[0][number], pickle.loads(pickle.dumps(streams[1]))[number]
        assert one.ids == other.ids
        assert one.unlabeled.images_BTHWC.equal(other.unlabeled.images_BTHWC)


def test_an_image_is_looked_at_once(config: DataConfig, looked: list[str]) -> None:
    index(config)
    assert sorted(looked) == ["a.png", "b.png", "d.png", "f.jpg"]
    written = os.stat(config.index or "").st_mtime_ns
    index(config)
    assert len(looked) == 4
    assert os.stat(config.index or "").st_mtime_ns == written


@pytest.mark.parametrize(
    ("change", "seen", "there"),
    [
        (
            lambda pool: write_image(pool / "c/new.png", 9),
            ["new.png"],
            ["a.png", "b.png", "c/d.png", "c/new.png", "c/e/f.jpg"],
        ),
        (lambda pool: (pool / "a.png").unlink(), [], ["b.png", "c/d.png", "c/e/f.jpg"]),
        (lambda pool: (pool / "a.png").rename(pool / "z.png"), ["z.png"], ["b.png", "z.png", "c/d.png", "c/e/f.jpg"]),
        (lambda pool: shutil.rmtree(pool / "c/e"), [], ["a.png", "b.png", "c/d.png"]),
        (
            lambda pool: write_image(pool / "c/g/h.png", 9),
            ["h.png"],
            ["a.png", "b.png", "c/d.png", "c/e/f.jpg", "c/g/h.png"],
        ),
        (lambda pool: write_image(pool / "a.png", 9, 50), ["a.png"], ["a.png", "b.png", "c/d.png", "c/e/f.jpg"]),
    ],
    ids=["added", "removed", "renamed", "folder removed", "folder added", "written into"],
)
def test_what_changed_is_looked_at_and_nothing_else(
    config: DataConfig, looked: list[str], change: Callable[[Path], object], seen: list[str], there: list[str]
) -> None:
    index(config)
    looked.clear()
    change(Path(str(config.unlabeled)))
    assert names(config) == there
    assert looked == seen


def test_another_folder_is_added_without_looking_again(config: DataConfig, looked: list[str], tmp_path: Path) -> None:
    index(config)
    looked.clear()
    write_image(tmp_path / "more/x.png", 7)
    assert len(index(replace(config, unlabeled=(str(tmp_path / "more"), str(config.unlabeled))))) == 5
    assert looked == ["x.png"]


def test_a_folder_that_moved_is_not_looked_at_again(config: DataConfig, looked: list[str], tmp_path: Path) -> None:
    index(config)
    looked.clear()
    (tmp_path / "pool").rename(tmp_path / "moved")
    assert len(names(replace(config, unlabeled=str(tmp_path / "moved")))) == 4
    assert looked == []


def test_another_index_in_its_place_is_not_taken_for_it(config: DataConfig) -> None:
    sent = pickle.dumps(index(config))
    assert len(pickle.loads(sent)) == 4
    write_image(Path(str(config.unlabeled)) / "new.png", 9)
    index(config)
    with pytest.raises(DataError, match="made anew while a training used it"):
        pickle.loads(sent)


def test_images_that_cannot_be_read_are_left_out_and_too_many_are_a_fault(config: DataConfig) -> None:
    for number in range(4):
        (Path(str(config.unlabeled)) / f"bad{number}.jpg").write_bytes(b"no image")
        dataset = load_dataset(config)
        assert len(dataset.unlabeled) == 6
        assert f"{number + 1} of {number + 5} unlabeled images cannot be read and are left out" in "\n".join(
            dataset.notes
        )
        assert bool(dataset.faults) == (number == 3)
    with pytest.raises(DataError, match=r"4 of 8 unlabeled images cannot be read[\s\S]*at most 3 \(data.quarantine\)"):
        open_data(config, Path("run"), resumed=False, unlabeled=True)
    assert any("4 of 8" in fault for fault in inspect_data(config).faults)


def test_linked_and_listed_twice_is_used_once_and_never_evaluated_on(config: DataConfig, tmp_path: Path) -> None:
    pool, scenes = Path(str(config.unlabeled)), tmp_path / "scenes"
    (pool / "link.png").symlink_to(pool / "a.png")
    (pool / "circle").symlink_to(pool)
    dataset = load_dataset(config)
    assert len(dataset.unlabeled) == 6
    bare = next(sample for sample in dataset.unlabeled if "scenes" in str(sample.frames[0])).frames[0]
    (pool / "link.png").unlink()
    (pool / "again.png").symlink_to(bare)
    assert len(load_dataset(config).unlabeled) == 6
    (pool / "val.png").symlink_to(load_dataset(replace(config, index=None, unlabeled=())).val[0].frames[0])
    with pytest.raises(DataError, match="1 images are both unlabeled and evaluated on"):
        load_dataset(config)
    assert scenes.is_dir()


def test_a_run_keeps_the_index_and_resumes_by_it(config: DataConfig, tmp_path: Path) -> None:
    run, pool = tmp_path / "run", Path(str(config.unlabeled))
    first = open_data(config, run, resumed=False, unlabeled=True)
    first.keep()
    assert (run / "unlabeled.txt").read_text().count("\n") == 2
    assert "pool" not in (run / "files.tsv").read_text()
    write_image(pool / "new.png", 9)
    Path(config.index or "").unlink()
    shutil.copytree(pool / "c", pool / "b c")
    (pool / "b c/d.png").unlink()
    again = open_data(config, run, resumed=True, unlabeled=True)
    assert not Path(config.index or "").exists()
    assert list(again.dataset.unlabeled) == list(first.dataset.unlabeled)
    (note,) = (note for note in again.dataset.notes if "are new since the run began" in note)
    assert note.startswith("2 images")
    assert "new.png" in note
    assert "b c/e/f.jpg" in note
    other = tmp_path / "other"
    open_data(config, other, resumed=False, unlabeled=True).keep()
    assert same_samples(run, run, "unlabeled") is True
    assert same_samples(run, other, "unlabeled") is False

    write_image(pool / "c/d.png", 5, 60)
    with pytest.raises(DataError, match=r"1 files are not what they were[\s\S]*c/d\.png"):
        open_data(config, run, resumed=True, unlabeled=True)
    shutil.rmtree(pool / "c")
    with pytest.raises(DataError, match=r"2 files are not what they were[\s\S]*c/d\.png.*c/e/f\.jpg"):
        open_data(config, run, resumed=True, unlabeled=True)


def test_an_image_that_changes_while_training_is_quarantined_by_name(config: DataConfig, tmp_path: Path) -> None:
    dataset = load_dataset(config)
    (tmp_path / "pool/c/d.png").write_bytes((tmp_path / "pool/c/d.png").read_bytes() + b"x")
    stream = TrainStream(dataset, config, Division(labeled=1, unlabeled=1), strong=STRONG, views=1, seed=0)
    damaged = dict(pair for number in range(6) for pair in stream[number].damaged)
    (name,) = damaged
    assert name.endswith("pool/c/d.png")
    assert "bytes that had" in damaged[name]
    assert [sample.id for sample in dataset.unlabeled.named({name})] == [name]  # type: ignore[attr-defined]


def pack(path: Path, *numbers: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            file = io.BytesIO()
            pixels = np.random.default_rng(number).integers(0, 256, (36, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
            for name, content in ((f"{number:04d}.png", file.getvalue()), (f"{number:04d}.json", b"{}")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def test_archives_are_sources_like_folders(config: DataConfig, tmp_path: Path) -> None:
    pack(tmp_path / "shards/0.tar", 0, 1)
    pack(tmp_path / "shards/1.tar", 2)
    age(tmp_path / "shards")
    config = replace(config, unlabeled=str(tmp_path / "shards"))
    dataset = load_dataset(config)
    assert [sample.id.rpartition("shards/")[2] for sample in dataset.unlabeled][2:] == [
        "0.tar/0000.png",
        "0.tar/0001.png",
        "1.tar/0002.png",
    ]
    stream = TrainStream(dataset, config, Division(labeled=1, unlabeled=1), strong=STRONG, views=1, seed=0)
    assert {id_ for number in range(5) for id_ in stream[number].ids[1:]} == {sample.id for sample in dataset.unlabeled}
    with pytest.raises(DataError, match="an archive without an index"):
        load_dataset(replace(config, unlabeled=str(tmp_path / "shards/0.tar"), index=None))

    run = tmp_path / "run"
    open_data(config, run, resumed=False, unlabeled=True).keep()
    assert len(open_data(config, run, resumed=True, unlabeled=True).dataset.unlabeled) == 5
    pack(tmp_path / "shards/1.tar", 3)
    with pytest.raises(DataError, match=r"1 files are not what they were[\s\S]*0002\.png"):
        open_data(config, run, resumed=True, unlabeled=True)


def test_a_damaged_index_is_refused(config: DataConfig) -> None:
    index(config)
    path = Path(config.index or "")
    content = bytearray(path.read_bytes())
    content[content.index(b"a.png")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"unreadable index of images \(its SHA-256 is another\)"):
        index(config)
    path.write_bytes(content[:100])
    with pytest.raises(DataError, match="unreadable index of images"):
        index(config)


class _Second:
    """The second of two processes, of which the first reports what it is told to."""

    rank, count = 1, 2

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def gather_texts(self, text: str) -> list[str]:
        return [self.fault, text]


def test_one_process_makes_the_index_and_what_stops_it_stops_all(config: DataConfig, looked: list[str]) -> None:
    with pytest.raises(DataError, match="the first has failed"):
        open_data(config, Path("run"), resumed=False, unlabeled=True, peers=_Second("the first has failed"))
    assert looked == []


def test_whoever_waits_is_told_how_far_it_is(config: DataConfig) -> None:
    told: list[tuple[int, int]] = []
    load_dataset(config, lambda done, count: told.append((done, count)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_index_needs_images_of_one_frame(config: DataConfig, tmp_path: Path) -> None:
    write_scenes(tmp_path / "pairs", labeled=2, unlabeled=1, val=2, size=32, frames=2)
    with pytest.raises(DataError, match="not of pairs"):
        load_dataset(replace(config, root=str(tmp_path / "pairs")))


def drawn_index(path: Path, rows: int, folders: int) -> ImageIndex:
    """Write an index of images that are nowhere, in folders of different sizes."""
    ends = np.sort(np.random.default_rng(0).integers(0, rows, folders - 1))
    counts = np.diff(np.concatenate(([0], ends, [rows]))).tolist()
    table = pa.table(
        {
            "name": pa.array([f"{row:07d}.jpg" for row in range(rows)]),
            **{name: np.arange(rows) for name in ("size", "changed_ns")},
            "key": np.arange(rows, dtype=np.uint64),
            **{name: np.full(rows, 9, dtype=np.uint32) for name in ("width", "height")},
        }
    ).cast(schema())
    places = [Place(source=0, name=f"f{n}", real=f"/f{n}", stamp=1, rows=count) for n, count in enumerate(counts)]
    write_index(path, Contents(settings={}, sources=("pool",), places=()), [table.slice(0, 7), table.slice(7)], places)
    return ImageIndex(path, (Path("pool"),))


def test_every_row_of_many_batches_and_places_is_found(tmp_path: Path) -> None:
    rows = 2 * BATCH + 100
    images = drawn_index(tmp_path / "i.arrow", rows, folders=40)
    images.verify()
    assert len(images) == rows
    owners = {row: number for number in range(40) for row in images.rows(number)}
    assert len(owners) == rows
    for row in (
        0,
        1,
        6,
        7,
        BATCH - 1,
        BATCH,
        2 * BATCH,
        rows - 1,
        *np.random.default_rng(1).integers(0, rows, 200).tolist(),
    ):
        assert images.name(row) == f"{row:07d}.jpg"
        assert images.place_of(row) == Path(f"pool/f{owners[row]}")
        assert images.fingerprint(row).size == row


def test_a_start_with_many_images_is_the_work_of_a_moment(tmp_path: Path) -> None:
    images = drawn_index(tmp_path / "i.arrow", 50_000, folders=3)
    samples = IndexedSamples((), images, Path("root"))
    dataset = Dataset(read_spec_of_two(tmp_path), (), samples, ())
    stream = TrainStream(dataset, DataConfig(), Division(labeled=1, unlabeled=4), strong=STRONG, views=1, seed=0)
    assert stream.steps_per_epoch == 12_500
    assert os.path.getsize(images.path) < 100 * len(images)
    assert index_of(samples) is images
    assert images.find(["/nowhere"]) == {}
    assert path_key("/a") != path_key("/b")


def read_spec_of_two(folder: Path):  # type: ignore[no-untyped-def]
    (folder / "dataset.yaml").write_text("classes: [a, b]\n")
    return read_spec(folder / "dataset.yaml")
