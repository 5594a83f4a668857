"""Choose the images to label next, and write them down: the verb `data suggest`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semiseg.api import recipe_config
from semiseg.data import DataConfig
from semiseg.data.ticks import Tick, no_tick
from semiseg.engine.distributed import choose_device
from semiseg.engine.rundir import RunDirectory
from semiseg.errors import ConfigError, some
from semiseg.suggestion.choice import DRAWS, Choice, choose_from
from semiseg.suggestion.features import build, encoder_for
from semiseg.suggestion.labels import Format, refuse_labels, write_labels
from semiseg.suggestion.pool import find_pool
from semiseg.suggestion.uncertainty import load_models
from semiseg.suggestion.writing import Suggestion, refuse_existing, write_suggestions

POOL = 5000
"""Unlabeled images that are looked at, at most: minutes on a laptop."""


@dataclass(frozen=True, kw_only=True)
class Suggested:
    """What `suggest` wrote.

    Attributes:
        folder: where it is.
        labels: the folder of labels to correct, if they were asked for.
        choice: what was chosen, and how it compares.
        suggestions: as in `suggestions.json`.
        notes: what else is to be said.
        seconds: wall time.
    """

    folder: Path
    labels: Path | None
    choice: Choice
    suggestions: Sequence[Suggestion]
    notes: tuple[str, ...]
    seconds: float

    def lines(self) -> list[str]:
        """Say it in lines to print."""
        choice = self.choice
        labels = [f"labels to correct, then to bring back by `semiseg data import`: {self.labels}"]
        left_out = [f"{len(choice.unreadable):,} could not be read: {some(list(choice.unreadable), 3)}"]
        return [
            *self.notes,
            *(left_out if choice.unreadable else []),
            f"{len(choice.labeled):,} labeled images count as chosen",
            *choice.lines(),
            f"{len(choice.samples):,} images to label: {self.folder} ({self.seconds:.0f} s)",
            *(labels if self.labels else []),
        ]

    def facts(self) -> dict[str, Any]:
        """Return the same for scripts, in types that JSON knows."""
        choice = self.choice
        return {
            "folder": str(self.folder),
            "labels": str(self.labels) if self.labels else None,
            "rule": choice.rule,
            "images": choice.images,
            "labeled": len(choice.labeled),
            "redundancy": {"nearest": choice.around.nearest, "pairs": choice.around.pairs},
            "coverage": asdict(choice.covered),
            "random": {**asdict(choice.random), "std": choice.random_std, "draws": DRAWS},
            "unreadable": dict(choice.unreadable),
            "notes": list(self.notes),
            "seconds": self.seconds,
            "suggestions": [asdict(each) for each in self.suggestions],
        }


def suggest(
    source: Path | str,
    out: Path | str | None = None,
    *,
    budget: int = 20,
    overrides: Sequence[str] = (),
    encoder: str | None = None,
    weights: str | None = None,
    license: str | None = None,
    pool: int = POOL,
    seed: int = 0,
    as_labels: Path | str | None = None,
    format: Format = "png",
    device: str = "auto",
    progress: Tick = no_tick,
) -> Suggested:
    """Choose the images to label next.

    Without a model they are density-weighted k-centers on the features of an encoder; with one the model's doubt
    counts too. Images that are labeled count as chosen, val and test images are not looked at.

    Args:
        source: a run; or a data folder, a folder of images alone, or a recipe.
        out: the new folder; default: `suggestions` in the run, or `NAME-suggestions` beside the data folder.
        budget: number of images wanted.
        overrides: settings of the data as for `semiseg train`, such as `["--data.split", "30"]`.
        encoder: whose features are compared; default: that of the run, else what this machine can run.
        weights: of that encoder; see `ModelConfig`.
        license: the licence of these weights that you accept; see `ModelConfig`.
        pool: unlabeled images that are looked at, at most; of more so many are drawn.
        seed: of that draw, and of the random choices to compare with.
        as_labels: another new folder, for labels to correct: what the model is sure of.
        format: of these: `png`, `coco`, `cvat` or `labelstudio`.
        device: auto, cpu, cuda or cuda:N.
        progress: called with the number of images looked at and of all.

    Returns:
        What was written: `suggested.txt`, `suggestions.json`, contact sheets, and with a model its
        confident masks.

    Raises:
        SemisegError: no image to label, no model or encoder, or a folder that exists.
    """
    began, run = time.perf_counter(), _run(source)
    config = recipe_config(str(run / "config.yaml") if run else str(source), list(overrides))
    folder = Path(out) if out else _default_folder(run, config.data)
    _refuse_budget(budget, pool)
    refuse_existing(folder)
    if as_labels is not None:
        refuse_existing(Path(as_labels))
    chosen_device = choose_device(device)
    models = load_models(run, device) if run else None
    if as_labels is not None:
        refuse_labels(models, format)
    if models is None or encoder is not None:
        chosen_encoder = build(encoder_for(chosen_device, encoder, weights, license), chosen_device)
    else:
        chosen_encoder = models.predictor.segmenter.encoder
    found = find_pool(config.data).drawn(pool, seed)
    choice = choose_from(
        found,
        chosen_encoder,
        models,
        budget=budget,
        seed=seed,
        max_pixels=config.data.max_pixels,
        threshold=config.consistency.threshold,
        progress=progress,
    )
    card = models.predictor.card if models else None
    suggestions = write_suggestions(folder, found, choice, card, config.data.max_pixels)
    if as_labels is not None and card is not None:
        write_labels(Path(as_labels), choice.samples, found.spec.frames[0], card, choice.masks, format)
    return Suggested(
        folder=folder,
        labels=Path(as_labels) if as_labels is not None else None,
        choice=choice,
        suggestions=suggestions,
        notes=found.notes,
        seconds=time.perf_counter() - began,
    )


def _run(source: Path | str) -> Path | None:
    """Return the run that is named; None for a folder or a recipe."""
    path = Path(source)
    return path if RunDirectory(path).config.is_file() else None


def _default_folder(run: Path | None, data: DataConfig) -> Path:
    if run:
        return run / "suggestions"
    root = Path(data.root or ".").absolute()
    return root.parent / f"{root.name}-suggestions"


def _refuse_budget(budget: int, pool: int) -> None:
    if not 1 <= budget <= pool:
        raise ConfigError(
            f"a budget of {budget:,} images, of {pool:,} that are looked at",
            expected="at least one, and no more than are looked at",
            remedy="correct --budget, or raise --pool",
        )
