from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from semiseg.data.palette import default_palette
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model

CLASSES = ("field", "road & path", "<b>water</b>")
CONFIG = """\
recipe: fields
method: unimatch_v2
data:
  root: data/fields
  split: "30"
model:
  encoder: vit_nano
  decoder: dpt
schedule:
  epochs: 4
  steps: null
seed: 7
"""
ENVIRONMENT = {
    "command": "semiseg train fields --seed 7 && echo <done>",
    "labeled": 30,
    "unlabeled": 4212,
    "val": 60,
    "torch": "2.11.0",
}
TEACHER = (0.30, 0.52, 0.70, 0.66)
"""mIoU after each epoch: the third is the best."""


def write_metrics(path: Path, epochs: int = 4, steps_per_epoch: int = 5) -> None:
    """Write what a short training logs: the losses after each step, the scores after each epoch."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("step", "epoch", "name", "value"))
        for step in range(1, epochs * steps_per_epoch + 1):
            epoch = (step - 1) // steps_per_epoch + 1
            for name, value in {"loss": 2 / step, "loss_x": 3 / step, "loss_s": 1 / step, "lr": 5e-6}.items():
                rows.writerow((step, epoch, f"train/{name}", value))
            rows.writerow((step, epoch, "train/confident", step / 40))
            rows.writerow((step, epoch, "train/images_per_second", 400))
            if step % steps_per_epoch == 0:
                for who, gap in (("student", 0.1), ("teacher", 0.0)):
                    rows.writerow((step, epoch, f"{who}/miou", TEACHER[epoch - 1] - gap))
                    for index, name in enumerate(CLASSES):
                        rows.writerow((step, epoch, f"{who}/iou/{name}", TEACHER[epoch - 1] - gap + 0.1 * (index - 1)))


@pytest.fixture
def fresh_run(tmp_path: Path) -> Path:
    """Return a run that has only begun: a config and an environment."""
    run = tmp_path / "runs" / "fields <1>"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    (run / "environment.json").write_text(json.dumps(ENVIRONMENT))
    return run


@pytest.fixture
def finished_run(fresh_run: Path) -> Path:
    """Return a run with metrics, pictures and a model."""
    write_metrics(fresh_run / "metrics.csv")
    (fresh_run / "samples").mkdir()
    for step in range(5, 21, 5):
        Image.new("RGB", (60, 40), (step * 10, 0, 0)).save(fresh_run / "samples" / f"step_{step:06}.png")
    config = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(classes=CLASSES, palette=default_palette(3), crop=56, model=config)
    save_model(fresh_run / "model", build_segmenter(config, 3), card)
    return fresh_run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return `make(name, method, scores, ...)`: a run without a model, evaluated after every tenth step."""

    def make(
        name: str,
        method: str = "supervised",
        scores: Sequence[float] = (0.5,),
        *,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        classes: Sequence[str] = CLASSES,
        score: str = "miou",
        seconds: float | None = 0.5,
        steps: int | None = None,
    ) -> Path:
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        config = {"method": method, "seed": seed, "data": {"root": "fields"}, "run": {"name": name}, **(settings or {})}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        known = {"labeled": 30, "unlabeled": 4212, "val": 60, "gpu": "none", "cpu": "Some CPU", **(environment or {})}
        (run / "environment.json").write_text(json.dumps(known))
        judged = "student" if method == "supervised" else "teacher"
        with (run / "metrics.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("step", "epoch", "name", "value"))
            for step in range(5, (steps or 10 * len(scores)) + 1, 5):
                rows.writerow((step, step / 10, "train/loss", 1.0))
                rows.writerow((step, step / 10, "train/images_per_second", 16))
                if seconds is not None:
                    rows.writerow((step, step / 10, "train/seconds_per_step", seconds))
            for epoch, value in enumerate(scores, start=1):
                rows.writerow((10 * epoch, epoch, f"{judged}/{score}", value))
                if score != "miou":
                    rows.writerow((10 * epoch, epoch, f"{judged}/miou", 0.9))
                for index, label in enumerate(classes):
                    rows.writerow((10 * epoch, epoch, f"{judged}/iou/{label}", value + 0.1 * (index - 1)))
        return run

    return make
