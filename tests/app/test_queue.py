from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semiseg.app.queue import Queue
from semiseg.app.results import Result
from semiseg.data import DataConfig
from semiseg.data.datasets import load_dataset
from semiseg.data.reading import read_mask
from semiseg.data.spec import read_class_ids
from semiseg.errors import DataError
from semiseg.models import read_card


@pytest.fixture
def opened(queue: Path, tiny_run: Path, tiny_scenes: Path) -> Queue:
    return Queue(queue, read_card(tiny_run / "model"), tiny_scenes)


def half_sure() -> Result:
    """Return class 1 everywhere, the left half of it 90 % sure, the right half 10 %."""
    confidence_HW = np.full((64, 64), 230, np.uint8)
    confidence_HW[:, 32:] = 26
    return Result(np.ones((64, 64), np.uint8), confidence_HW, 0.0)


def test_what_was_accepted_is_learned_from_and_no_longer_unlabeled(opened: Queue, tiny_scenes: Path) -> None:
    before = load_dataset(DataConfig(root=str(tiny_scenes)))
    assert opened.accept(1, half_sure(), 0.5) == 64 * 32
    opened.reject(0)

    config = DataConfig(root=str(tiny_scenes), accepted=str(opened.folder / "accepted.txt"), accept_predicted=True)
    after = load_dataset(config)

    assert after.labeled[:-1] == before.labeled
    added = after.labeled[-1]
    assert added.id == opened.suggestions[1].name
    assert {sample.id for sample in before.unlabeled} - {sample.id for sample in after.unlabeled} == {added.id}
    ids_HW = read_class_ids(added.mask, after.spec)
    assert (ids_HW[:, :32] == 1).all()
    assert (ids_HW[:, 32:] == after.spec.ignore_value).all()
    assert any("1 further labeled images" in note for note in after.notes)


def test_an_accepted_mask_stays_machine_made(opened: Queue) -> None:
    opened.accept(0, half_sure(), 0.5)
    (mask,) = (opened.folder / "accepted_masks").glob("*.png")
    with pytest.raises(DataError, match="accept_predicted"):
        read_mask(mask)


def test_a_label_of_a_pair_is_whole(opened: Queue) -> None:
    opened.card = replace(opened.card, frames=2)
    with pytest.raises(DataError, match="pairs"):
        opened.accept(0, half_sure(), 0.5)
    assert opened.accept(0, half_sure(), 0.0) == 64 * 64


def test_decisions_outlive_the_session_and_can_be_taken_back(opened: Queue, tiny_scenes: Path) -> None:
    opened.accept(0, half_sure(), 0.0)
    opened.reject(1)
    again = Queue(opened.folder, opened.card, tiny_scenes)
    first, second, _ = (suggestion.name for suggestion in again.suggestions)
    assert again.decisions == {first: "accepted", second: "rejected"}
    again.reopen(0)
    assert again.decisions == {second: "rejected"}
    assert (opened.folder / "accepted.txt").read_text() == ""


def test_a_pair_is_named_by_its_frames(opened: Queue) -> None:
    entry = {"image": "/b/1.png", "frames": ["/a/1.png", "/b/1.png"]}
    (opened.folder / "suggestions.json").write_text(json.dumps([entry]))
    (suggestion,) = Queue(opened.folder, replace(opened.card, frames=2)).suggestions
    assert suggestion.frames == (Path("/a/1.png"), Path("/b/1.png"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}x",
        "3",
        '[{"score": 1}]',
        '[{"image": ""}]',
        '[{"image": "b", "frames": ["a", "b"]}]',
        '[{"image": "a\\u0000"}]',
        "[[]]",
    ],
)
def test_other_files_are_no_suggestions(opened: Queue, text: str) -> None:
    (opened.folder / "suggestions.json").write_text(text)
    with pytest.raises(DataError, match="unreadable suggestions"):
        Queue(opened.folder, opened.card)


def test_an_image_that_is_suggested_twice_is_refused(opened: Queue) -> None:
    (opened.folder / "suggestions.json").write_text('[{"image": "a"}, {"image": "a"}]')
    with pytest.raises(DataError, match="twice"):
        Queue(opened.folder, opened.card)
