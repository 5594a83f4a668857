from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from semiseg.data.config import DataConfig
from semiseg.data.source import SplitLists, find_lists, find_val_list, open_source
from semiseg.data.spec import PAIRS
from semiseg.errors import DataError


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x.jpg y.png\n")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Return a folder of lists as published of Pascal and COCO."""
    folder = tmp_path / "lists"
    write(folder, "pascal/92/labeled.txt", "pascal/92/unlabeled.txt", "pascal/all/labeled.txt", "pascal/val.txt")
    write(folder, "coco/1_512/labeled.txt", "coco/val.txt")
    return folder


def find(tmp_path: Path, lists: Path, spec: str, split: str | None) -> SplitLists | None:
    return find_lists(open_source(DataConfig(root=str(tmp_path), spec=spec, splits=str(lists), split=split)))


def test_a_split_is_looked_for_in_the_data_folder_then_as_a_path_then_as_published(
    tmp_path: Path, lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    published = SplitLists(lists / "pascal/92/labeled.txt", lists / "pascal/92/unlabeled.txt", rest=False)
    assert find(tmp_path, lists, "pascal", "92") == published
    write(tmp_path, "92/labeled.txt")
    assert find(tmp_path, lists, "pascal", "92") == SplitLists(Path("92/labeled.txt"), None, rest=True)
    write(tmp_path, "splits/92/labeled.txt")
    own = SplitLists(tmp_path / "splits/92/labeled.txt", None, rest=True)
    assert find(tmp_path, lists, "pascal", "92") == own


@pytest.mark.parametrize(("split", "spec"), [("91", "pascal"), ("all", "coco"), (None, "coco"), ("512", "coco")])
def test_what_no_list_names_is_left_to_the_images(tmp_path: Path, lists: Path, split: str | None, spec: str) -> None:
    assert find(tmp_path, lists, spec, split) is None


def test_the_rest_is_unlabeled_where_nothing_else_is_said(tmp_path: Path, lists: Path) -> None:
    few = find(tmp_path, lists, "coco", "1_512")
    assert few == SplitLists(lists / "coco/1_512/labeled.txt", None, rest=True)
    every = SplitLists(lists / "pascal/all/labeled.txt", None, rest=False)
    assert find(tmp_path, lists, "pascal", "all") == find(tmp_path, lists, "pascal", None) == every


@pytest.mark.parametrize(
    ("spec", "split", "says"),
    [
        ("pascal", "1_8", r"no split '1_8'.*92, all"),
        ("pascal", "92_", r"no split '92_'; did you mean '92'\?.*92, all"),
        ("coco", "1_215", r"no split '1_215'; did you mean '1_512'\?.*1_512"),
    ],
)
def test_an_unknown_split_is_refused_with_the_published_ones(
    tmp_path: Path, lists: Path, spec: str, split: str, says: str
) -> None:
    with pytest.raises(DataError, match=f"(?s){says}.*all, or a number of images"):
        find(tmp_path, lists, spec, split)


def test_published_lists_are_those_of_a_spec_the_package_knows(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text("name: pascal\nclasses: [a, b]\n")
    assert open_source(DataConfig(root=str(tmp_path))).published.names() == []
    assert "1464" in open_source(DataConfig(root=str(tmp_path), spec="pascal")).published.names()


def test_a_folder_of_pairs_says_itself_what_it_is_unless_a_dataset_yaml_does(tmp_path: Path) -> None:
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
    found = open_source(DataConfig(root=str(tmp_path)))
    assert found.spec == replace(PAIRS, name=tmp_path.name)
    assert found.published.names() == []
    assert open_source(DataConfig(root=str(tmp_path), spec="levir")).spec.name == "levir"
    (tmp_path / "dataset.yaml").write_text("classes: [a, b, c]\nframes: [A, B]\n")
    assert open_source(DataConfig(root=str(tmp_path))).spec.num_classes == 3


def test_a_missing_folder_of_lists_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)folder of lists not found.*nowhere.*--data\.splits"):
        open_source(DataConfig(root=str(tmp_path), spec="pascal", splits=str(tmp_path / "nowhere")))


def test_val_lists_are_taken_in_order(tmp_path: Path, lists: Path) -> None:
    def found(**options: str) -> Path | None:
        return find_val_list(open_source(DataConfig(root=str(tmp_path), spec="pascal", splits=str(lists), **options)))  # type: ignore[arg-type]

    assert found() == lists / "pascal/val.txt"
    write(tmp_path, "splits/val.txt")
    assert found() == tmp_path / "splits/val.txt"
    assert found(val="mine.txt") == Path("mine.txt")
