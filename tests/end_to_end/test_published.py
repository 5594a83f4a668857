"""A published recipe on a miniature of its data set: two processes train, evaluate and follow the published curve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from semiseg.published import published_curve

RECIPE = "ade20k/1_16-unimatch_v2-dinov2_small"
RUN = "table03-ade20k_unimatch_v2_1_16labels_dinov2_small"
SIDE = 56


def draw(path: Path, channels: int, seed: int) -> None:
    """Write a picture of four flat parts, or the ids of four classes."""
    rng = np.random.default_rng(seed)
    parts = rng.integers(0, 150, (2, 2, channels), dtype=np.uint8)
    pixels = np.kron(parts, np.ones((SIDE // 2, SIDE // 2, 1), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path)


@pytest.fixture
def ade20k(tmp_path: Path) -> tuple[Path, Path]:
    """Return a tree as ADE20K's, 2 labeled, 4 unlabeled, 2 val, and lists of it as the published ones."""
    root, lists = tmp_path / "ADE20K", tmp_path / "lists"
    names = {"labeled": ("training", range(2)), "unlabeled": ("training", range(2, 6)), "val": ("validation", range(2))}
    for part, (folder, numbers) in names.items():
        lines = []
        for number in numbers:
            name = f"{folder}/ADE_{'train' if folder == 'training' else 'val'}_{number:08}"
            draw(root / f"images/{name}.jpg", 3, number)
            if part != "unlabeled":
                draw(root / f"annotations/{name}.png", 1, number)
            lines.append(f"images/{name}.jpg annotations/{name}.png")
        path = lists / "ade20k" / ("val.txt" if part == "val" else f"1_16/{part}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return root, lists


def test_two_processes_repeat_a_published_run_in_miniature(
    ade20k: tuple[Path, Path], train_by_two: Callable[[list[str]], str], tmp_path: Path
) -> None:
    root, lists = ade20k
    words = [
        *(RECIPE, "--data.root", str(root), "--data.splits", str(lists), "--run.folder", str(tmp_path / "runs")),
        *("--device", "cpu", "--model.weights", "random", "--data.crop", str(SIDE), "--data.workers", "0"),
        *("--schedule.batch", "2", "--schedule.epochs", "2", "--evaluation.batch", "1"),
    ]
    train_by_two(words)
    run = tmp_path / "runs" / f"{RECIPE.replace('/', '-')}-seed0"

    teacher = published_curve(RUN).values["teacher"]
    said = [line for line in (run / "train.log").read_text().splitlines() if f"published {RUN}" in line]
    for epoch, line in enumerate(said, start=1):
        assert f"at epoch {epoch}: teacher {teacher[epoch - 1]:.2%}, ours" in line
    assert len(said) == 2

    board = EventAccumulator(str(run / "tensorboard/published"))
    board.Reload()
    drawn = board.Scalars("teacher/miou")
    assert [event.step for event in drawn] == [2 * epoch for epoch in range(1, 61)]  # an epoch has 2 steps here
    assert [event.value for event in drawn] == pytest.approx(list(teacher))

    report = (run / "report.html").read_text()
    assert "published teacher" in report
    assert RUN in report
    assert (run / "model/model.safetensors").is_file()
