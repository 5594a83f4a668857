"""The benchmark of speed measures what it says: both sides learn the same, and ratios are of what was timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.speed import profiling
from benchmarks.speed.__main__ import choose, main
from benchmarks.speed.clock import Seconds, Timed, alternate
from benchmarks.speed.ground import Ground
from benchmarks.speed.machine import Machine, nominal_rate
from benchmarks.speed.plain.segmenter import PlainSegmenter
from benchmarks.speed.row import Bench, Row
from benchmarks.speed.rows import BENCHES, evaluating
from benchmarks.speed.rows.equality import STEPS, TOLERANCE, farthest, losses
from benchmarks.speed.rows.steps import flops_of
from benchmarks.speed.table import markdown

from semiseg.errors import ConfigError
from semiseg.models import ModelConfig, build_segmenter

CPU = torch.device("cpu")
FACTS = {
    "device": "a CPU", "cores": 2, "threads": 2, "load": 0.1, "torch": "2", "python": "3", "date": "today",
    "command": "bench", "matmul_flops": {"fp32": 1e11, "bf16": 2e11},
}  # fmt: skip


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(machine=Machine(CPU, "a CPU", quick=True), folder=tmp_path)


def test_twenty_steps_of_ours_and_of_plain_have_the_same_losses(ground: Ground) -> None:
    pairs = losses("vit_nano", 32, ground)
    assert len(pairs) == STEPS
    assert farthest(pairs) <= TOLERANCE
    assert len({round(mine, 6) for mine, _ in pairs}) == STEPS, "each step changes the loss"


@pytest.mark.parametrize(("encoder", "size"), [("dinov2_small", 42), ("efficientnet_lite0", 64), ("vit_micro", 40)])
def test_a_plain_network_says_what_ours_says(encoder: str, size: int) -> None:
    ours = build_segmenter(ModelConfig(encoder=encoder, weights="random"), num_classes=5).train()
    images_BCHW = torch.randn(1, 3, size, size)
    torch.testing.assert_close(
        PlainSegmenter(ours).train()(images_BCHW), ours(images_BCHW[:, None]), atol=2e-5, rtol=1e-5
    )


def test_sides_alternate_and_each_turn_is_divided_by_its_units() -> None:
    turns: list[str] = []
    timed = alternate(
        {"fast": lambda: turns.append("f"), "plain": lambda: turns.append("p")}, rounds=2, device=CPU, budget=9, most=3
    )
    assert "".join(turns).endswith("fffppppppfff")
    assert timed["fast"].units == 3
    assert len(timed["plain"].rounds) == 2


def test_a_plain_evaluation_finds_the_same_miou(ground: Ground) -> None:
    (row,) = evaluating.measure("vit_nano", 56, ground)
    assert row.facts["miou"]["fast"] == pytest.approx(row.facts["miou"]["plain"], abs=1e-4)
    assert row.facts["miou"]["fast"] > 0


def test_loader_and_memory_are_measured_on_both_sides(ground: Ground) -> None:
    names = ["unlabeled/images", "loader/png2048", "loader/jpeg4000", "memory/vit_nano/64"]
    for bench in choose(BENCHES, names):
        (row,) = bench.measure(ground)
        assert min(row.ratios().values()) > 0, bench.name


def test_a_profile_finds_each_kind_of_work_in_both_steps(ground: Ground) -> None:
    config = profiling.profile_config("demo", ["--data.crop", "32", "--schedule.batch", "2"], ground)
    sides = profiling.profile_sides(config, 1, plain=True)
    kinds = {*profiling.OPERATORS, "CutMix", "EMA", "optimizer"}
    assert kinds <= sides["plain"].kinds.keys()
    assert {*kinds, "photometry", "pseudo-labels", "gradient check"} <= sides["ours"].kinds.keys()
    assert sides["ours"].kinds[profiling.REST] < sides["ours"].sum / 2
    assert "| EMA | " in profiling.table(sides)


def test_a_ratio_is_the_median_of_the_rounds_and_stands_in_the_table() -> None:
    fast = Timed(rounds=(Seconds(1, 1), Seconds(1, 1), Seconds(9, 1)), units=1)
    plain = Timed(rounds=(Seconds(3, 2), Seconds(4, 2), Seconds(9, 2)), units=1)
    row = Row(
        name="step/x", unit="step", sides={"fast": fast, "plain": plain}, facts={"flops": 1e11, "precision": "fp32"}
    )
    assert row.ratios() == {"fast": 3}
    table = markdown([row, Row(name="gpu/y", missing="no GPU")], FACTS).splitlines()
    assert "| step/x | fast | 1 s | 4 s | 3.00 | 1 | 2 | 2.00 |" in table
    assert "| step/x | fast, fp32 | 1000 | 100 | 0.1 | 100.0% |  |" in table
    assert "not measured (no GPU): gpu/y" in table


def test_a_row_that_fails_or_is_interrupted_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends_with(error: type[BaseException]) -> Callable[[Ground], Iterator[Row]]:
        def measure(ground: Ground) -> Iterator[Row]:
            raise error("why")
            yield

        return measure

    def finds(ground: Ground) -> Iterator[Row]:
        yield Row(name="fine", facts={"says": "all is well"})

    how = {"broken": ends_with(ValueError), "fine": finds, "long": ends_with(KeyboardInterrupt), "last": finds}
    monkeypatch.setattr(
        "benchmarks.speed.__main__.BENCHES", [Bench(name=name, measure=measure) for name, measure in how.items()]
    )
    assert main(["--quick"]) == 1
    said = capsys.readouterr().out
    assert "- fine: all is well" in said
    assert "not measured (failed: ValueError: why): broken" in said
    assert "not measured (interrupted): long, last" in said


def test_what_plain_does_not_fit_into_is_counted_on_ours() -> None:
    def too_large() -> None:
        raise torch.OutOfMemoryError

    left, right = torch.ones(2, 3), torch.ones(3, 4)
    assert flops_of(lambda: left @ right, instead=too_large) == (2 * 2 * 3 * 4, True)
    assert flops_of(too_large, instead=lambda: left @ right) == (2 * 2 * 3 * 4, False)


def test_rows_are_chosen_by_the_first_parts_of_their_names() -> None:
    benches = [Bench(name=name, measure=lambda ground: iter(())) for name in ("step/a/64", "step/ab/64", "load")]
    assert [bench.name for bench in choose(benches, ["step/a"])] == ["step/a/64"]
    assert len(choose(benches, [])) == 3
    with pytest.raises(ConfigError, match="no row begins with stop"):
        choose(benches, ["stop"])


def test_the_rate_of_a_maker_goes_by_the_name_of_the_device() -> None:
    assert nominal_rate("NVIDIA H100 80GB HBM3") == 989e12
    assert nominal_rate("NVIDIA H100 PCIe") == 756e12
    assert nominal_rate("a GPU of tomorrow") is None
