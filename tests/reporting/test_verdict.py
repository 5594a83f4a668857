from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from semiseg.reporting.record import read_run
from semiseg.reporting.settings import group
from semiseg.reporting.verdict import Verdict, verdict


@pytest.fixture
def judge(make_run: Callable[..., Path]) -> Callable[..., Verdict]:
    """Return `judge(method=scores, ...)`: the verdict on runs with those best scores, each list one setting."""

    def judge(*, obstacles: Sequence[str] = (), **scores: Sequence[float]) -> Verdict:
        records = [
            read_run(make_run(f"{method}-{seed}", method, (value,) if value else (), seed=seed, steps=10))
            for method, values in scores.items()
            for seed, value in enumerate(values)
        ]
        return verdict(group(records), "mIoU", obstacles)

    return judge


def test_the_semi_supervised_winner_is_held_against_labeled_only(judge: Callable[..., Verdict]) -> None:
    found = judge(fixmatch=[0.378], supervised=[0.335], unimatch_v2=[0.387])
    assert found.headline == "unimatch_v2 is 5.2 points of mIoU ahead of labeled-only (38.7 against 33.5)"
    worth, other = found.details
    assert worth.startswith("One run of each proves little")
    assert "--seed 1" in worth
    assert other == "fixmatch is 4.3 points of mIoU ahead of labeled-only (37.8 against 33.5)."


def test_a_loss_is_said_as_plainly_as_a_win(judge: Callable[..., Verdict]) -> None:
    found = judge(supervised=[0.276], unimatch_v2=[0.201])
    assert found.headline == "unimatch_v2 is 7.5 points of mIoU behind labeled-only (20.1 against 27.6)"


def test_what_rounds_to_the_same_figure_is_level(judge: Callable[..., Verdict]) -> None:
    assert (
        judge(supervised=[0.2], unimatch_v2=[0.2004]).headline == "unimatch_v2 and labeled-only are level at 20.0 mIoU"
    )


def test_without_a_labeled_only_run_all_are_held_against_the_first(judge: Callable[..., Verdict]) -> None:
    found = judge(fixmatch=[0.3], unimatch_v2=[0.4])
    assert found.headline == "unimatch_v2 is 10.0 points of mIoU ahead of fixmatch (40.0 against 30.0)"


def test_seeds_that_do_not_overlap_say_how_often_chance_does_that(judge: Callable[..., Verdict]) -> None:
    worth = judge(supervised=[0.31, 0.32, 0.33], unimatch_v2=[0.38, 0.37, 0.40]).details[0]
    assert "Each of the 3 runs of unimatch_v2 is ahead of each of the 3 of labeled-only" in worth
    assert "about once in 10 comparisons" in worth  # 2 of the 20 ways to choose 3 of 6


def test_seeds_that_overlap_prove_little(judge: Callable[..., Verdict]) -> None:
    worth = judge(supervised=[0.31, 0.36], unimatch_v2=[0.38, 0.35]).details[0]
    assert worth.startswith("That proves little: the runs overlap")
    assert "unimatch_v2 35.0 to 38.0; labeled-only 31.0 to 36.0" in worth


def test_one_run_against_several_is_judged_by_the_widest_spread(judge: Callable[..., Verdict]) -> None:
    # The standard deviation of 0.30 and 0.32 is 1.4 points.
    near = judge(supervised=[0.33], unimatch_v2=[0.30, 0.32]).details[0]
    assert near.startswith("That proves little: the seed alone moves unimatch_v2 by ± 1.4 (2 runs)")


def test_one_run_far_from_several_is_still_one_run(judge: Callable[..., Verdict]) -> None:
    far = judge(supervised=[0.40], unimatch_v2=[0.30, 0.32]).details[0]
    assert far.startswith("The difference is more than twice what seeds do")
    assert far.endswith("A single run against it is still a single run.")


def test_figures_of_different_images_name_no_winner(judge: Callable[..., Verdict]) -> None:
    found = judge(supervised=[0.3], unimatch_v2=[0.4], obstacles=["The images differ", "and more"])
    assert found == Verdict("No winner can be named: the images differ")


def test_runs_that_were_not_evaluated_name_no_winner(judge: Callable[..., Verdict]) -> None:
    assert judge(supervised=[0], unimatch_v2=[0]).headline == "None of these runs has been evaluated yet"


def test_a_single_evaluated_setting_is_told_for_itself(judge: Callable[..., Verdict]) -> None:
    assert judge(supervised=[0.30, 0.32], fixmatch=[0]).headline == "labeled-only reaches 31.0 ± 1.4 mIoU in 2 runs"


def test_settings_that_differ_by_the_method_alone_come_before_better_ones_of_another_network(
    make_run: Callable[..., Path],
) -> None:
    rates = {"lr": 0.1, "kind": "sgd", "momentum": 0.9, "decay": 1}
    small = {"model": {"encoder": "small"}, "optimizer": dict.fromkeys(rates)}
    large = {"model": {"encoder": "large"}, "optimizer": rates}
    learning = {"consistency": {"threshold": 0.7}, "fixmatch": {"dropout": 1}}
    runs = [
        make_run("a", scores=(0.2,), settings={"data": {"root": "fields", "labeled_epoch": 600}, **small}),
        make_run("b", "fixmatch", scores=(0.1,), settings={**learning, **small}),
        make_run("c", "unimatch_v2", scores=(0.4,), settings=large),
    ]
    found = verdict(group([read_run(run) for run in runs]), "mIoU", [])
    assert found.headline == "fixmatch is 10.0 points of mIoU behind labeled-only (10.0 against 20.0)"
    other = found.details[1]
    assert other.startswith("unimatch_v2 is 20.0 points of mIoU ahead of labeled-only (40.0 against 20.0).")
    assert "Not the method alone differs between them" in other
    assert "model.encoder, optimizer.decay, optimizer.kind, optimizer.lr and 1 more" in other
    assert "labeled_epoch" not in other
    alone = verdict(group([read_run(runs[0]), read_run(runs[2])]), "mIoU", [])
    assert alone.headline.startswith("unimatch_v2 is 20.0 points")
    assert alone.details[0].startswith("Not the method alone differs")


def test_what_the_names_of_settings_of_one_method_leave_out_is_told_beside(make_run: Callable[..., Path]) -> None:
    runs = [
        make_run(
            name,
            "fixmatch",
            scores=(score,),
            settings={"model": {"encoder": name}, "strong": dict.fromkeys("wxyz", score)},
        )
        for name, score in (("small", 0.1), ("large", 0.3))
    ]
    found = verdict(group([read_run(run) for run in runs]), "mIoU", [])
    assert found.headline == (
        "fixmatch, encoder large is 20.0 points of mIoU ahead of fixmatch, encoder small (30.0 against 10.0)"
    )
    assert found.details[0] == "More than that differs between them: strong.w, strong.x, strong.y, strong.z."
