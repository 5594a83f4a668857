from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from semiseg.data.palette import default_palette
from semiseg.errors import RunError
from semiseg.models import ModelCard, ModelConfig
from semiseg.reporting.likeness import cautions, obstacles, refuse_unlike
from semiseg.reporting.record import RunRecord, read_run


def records(*runs: Path) -> list[RunRecord]:
    return [read_run(run) for run in runs]


def test_like_runs_need_no_word(make_run: Callable[..., Path]) -> None:
    found = records(make_run("a"), make_run("b", "fixmatch"))
    refuse_unlike(found)
    assert obstacles(found) == cautions(found) == []


def test_one_run_or_one_run_twice_is_refused(make_run: Callable[..., Path]) -> None:
    [run] = records(make_run("a"))
    with pytest.raises(RunError, match="one run alone"):
        refuse_unlike([run])
    [again] = records(run.path.parent / "." / "a")
    with pytest.raises(RunError, match="the same run twice"):
        refuse_unlike([run, again])


def test_runs_of_other_classes_or_another_score_are_refused(make_run: Callable[..., Path]) -> None:
    first = make_run("a", classes=("field", "road"))
    with pytest.raises(RunError, match=r"different classes(.|\n)*field, road(.|\n)*field, wood"):
        refuse_unlike(records(first, make_run("b", classes=("field", "wood"))))
    refuse_unlike(records(first, make_run("c", classes=("road", "field"))))
    with pytest.raises(RunError, match=r"judged by its mIoU, d by its changed IoU"):
        refuse_unlike(records(first, make_run("d", classes=("field", "road"), score="changed_iou")))
    refuse_unlike(records(first, make_run("e", scores=(), steps=10, classes=("nothing", "yet"))))


def test_another_number_of_val_images_forbids_to_compare(make_run: Callable[..., Path]) -> None:
    [words] = obstacles(records(make_run("a"), make_run("b", environment={"val": 59})))
    assert words == "The runs were evaluated on different images (a: 60, b: 59)"


def test_protocols_and_sizes_that_differ_forbid_to_compare(make_run: Callable[..., Path]) -> None:
    model = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(classes=("field", "road"), palette=default_palette(2), crop=56, model=model)
    one, other = (replace(record, card=card) for record in records(make_run("a"), make_run("b")))
    assert obstacles([one, other]) == []
    [words] = obstacles([one, replace(other, card=replace(card, long_side=1024))])
    assert (
        words == "The runs were evaluated on images of different sizes (a: as they are, b: at most 1,024 pixels long)"
    )
    [words] = obstacles([one, replace(other, card=replace(card, protocol="sliding"))])
    assert words == "The runs were evaluated by different protocols (a: original, b: sliding)"


def keep(run: Path, val: str, sizes: Mapping[str, int]) -> None:
    """Keep a val list as a training does."""
    (run / "data").mkdir()
    (run / "data" / "source.json").write_text("{}")
    (run / "data" / "labeled.txt").write_text("images/l.png masks/l.png\n")
    (run / "data" / "val.txt").write_text(val)
    (run / "data" / "files.tsv").write_text("".join(f"-\t{size}\t0\t{name}\n" for name, size in sizes.items()))


def test_other_val_images_of_the_same_number_forbid_to_compare(make_run: Callable[..., Path]) -> None:
    runs = [make_run(name) for name in "abcd"]
    for run, val, size in zip(runs, "xxxy", (5, 5, 6, 5), strict=True):
        keep(run, f"images/{val}.png masks/{val}.png\n", {f"images/{val}.png": size, f"masks/{val}.png": 7})
    assert obstacles(records(runs[0], runs[1])) == []
    for other in runs[2:]:
        [words] = obstacles(records(runs[0], other))
        assert words.startswith("The runs were evaluated on different images")


def test_lists_that_runs_have_kept_say_more_than_their_settings(make_run: Callable[..., Path]) -> None:
    runs = [make_run("a"), make_run("b", settings={"data": {"root": "elsewhere/fields"}})]
    for run in runs:
        keep(run, "images/x.png masks/x.png\n", {"images/x.png": 5})
    assert cautions(records(*runs)) == []
    (runs[1] / "data" / "labeled.txt").write_text("images/k.png masks/k.png\n")
    assert cautions(records(*runs)) == ["The runs did not learn from the same labeled images (a: 30, b: 30)."]
    (runs[1] / "data" / "files.tsv").write_text("damaged")
    assert cautions(records(*runs))[0].startswith("Whether all runs were evaluated on the same images is not known")


def test_settings_that_may_give_other_val_images_are_a_caution(make_run: Callable[..., Path]) -> None:
    other = make_run("b", settings={"data": {"root": "fields", "split_seed": 1}})
    [words] = cautions(records(make_run("a"), other))
    assert words.startswith("Whether all runs were evaluated on the same images is not known")


def test_other_labels_an_early_end_and_more_evaluations_are_cautions(make_run: Callable[..., Path]) -> None:
    first = make_run("a", scores=(0.1, 0.2), settings={"schedule": {"steps": 20}})
    second = make_run("b", environment={"labeled": 15}, settings={"schedule": {"steps": 20}})
    labels, finished, looks = cautions(records(first, second))
    assert "(a: 30, b: 15)" in labels
    assert finished == "b is not finished: step 10 of 20."
    assert "(a: 2 evaluations, b: 1 evaluation)" in looks
