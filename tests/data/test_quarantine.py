from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from semiseg.data.findings import Alone
from semiseg.data.quarantine import Quarantine, read_quarantine, write_quarantine
from semiseg.errors import DataError

REASON = "damaged image (cut)\n  where:    a.jpg\n  remedy:   replace it"


def quarantine(folder: Path, *, images: int = 1000, share: float = 0.01, known: tuple[str, ...] = ()) -> Quarantine:
    return Quarantine(folder, images=images, share=share, peers=Alone(), known=dict.fromkeys(known, REASON))


@pytest.mark.parametrize(("images", "share", "limit"), [(1000, 0.01, 10), (6, 0.01, 3), (6, 1.0, 6), (1000, 0.0, 0)])
def test_the_limit_is_a_part_of_the_images_and_a_few_at_least(
    tmp_path: Path, images: int, share: float, limit: int
) -> None:
    assert quarantine(tmp_path, images=images, share=share).limit == limit


def test_a_few_damaged_images_are_listed_and_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    damaged = quarantine(tmp_path)
    damaged.agree(said.append)
    assert (said, list(tmp_path.iterdir())) == ([], [])
    for _ in range(2):
        damaged.take([("b.jpg", REASON), ("a.jpg", REASON)])
        damaged.agree(said.append)
    assert said == [
        f"passed over from now on, 2 of at most 10: {name}: damaged image (cut)" for name in ("a.jpg", "b.jpg")
    ]
    assert read_quarantine(tmp_path) == {"a.jpg": REASON, "b.jpg": REASON}


def test_many_damaged_images_end_the_run_and_are_named(tmp_path: Path) -> None:
    damaged = quarantine(tmp_path, known=tuple(f"{number}.jpg" for number in range(9)))
    damaged.refuse_many()
    damaged.take([("x.jpg", REASON), ("y.jpg", REASON)])
    with pytest.raises(DataError, match=r"(?s)11 of 1,000 .*0\.jpg.*at most 10 .*--resume, or raise"):
        damaged.agree(lambda text: None)
    assert len(read_quarantine(tmp_path)) == 11


@dataclass
class Two:
    """Two processes of which the other one has met `other`."""

    rank: int
    other: dict[str, str]
    count: int = 2

    def gather_texts(self, text: str) -> list[str]:
        texts = [text, json.dumps(self.other)]
        return texts if self.rank == 0 else texts[::-1]


@pytest.mark.parametrize("rank", [0, 1])
def test_all_processes_know_what_one_has_met_and_one_writes(tmp_path: Path, rank: int) -> None:
    damaged = Quarantine(tmp_path, images=9, share=0.5, peers=Two(rank, {"theirs.jpg": REASON}))
    damaged.take([("mine.jpg", REASON)])
    damaged.agree(lambda text: None)
    assert damaged.known.keys() == {"mine.jpg", "theirs.jpg"}
    assert len(read_quarantine(tmp_path)) == (2 if rank == 0 else 0)


def test_a_list_that_is_damaged_itself_is_named(tmp_path: Path) -> None:
    assert read_quarantine(tmp_path) == {}
    write_quarantine(tmp_path, {})
    assert not list(tmp_path.iterdir())
    write_quarantine(tmp_path, {"a.jpg": REASON})
    write_quarantine(tmp_path, {})
    assert read_quarantine(tmp_path) == {}
    for content in ("[1]", "{", "\xff"):
        (tmp_path / "quarantine.json").write_text(content, encoding="latin-1")
        with pytest.raises(DataError, match=r"(?s)unreadable list.*quarantine\.json.*remove it"):
            read_quarantine(tmp_path)
