"""The recipes of SemiVL against what its paper and its public configurations say (commit 13ee65d)."""

from __future__ import annotations

from typing import Any

import pytest

from semiseg.config import make_config
from semiseg.engine.schedule import lr_scale
from semiseg.methods.semivl import SemiVLConfig
from semiseg.models import ModelConfig
from semiseg.published import headlines
from semiseg.recipes import load_recipe

ROWS = [row for row in headlines() if row.system == "semivl"]
STATED = {  # learning rate, and the encoder's part of it; the decoder's is ten times the stated rate
    "pascal": (1e-4, 0.01),
    "cityscapes": (5e-5, 0.1),
    "ade20k": (4e-4, 0.001),
    "coco": (4e-4, 0.001),
}
EPOCHS = {"pascal": 80, "ade20k": 40, "coco": 10}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.dataset}-{row.split}")
def test_the_recipe_of_every_headline_has_the_published_settings(row: Any) -> None:
    found = make_config(load_recipe(row.recipe), where=row.recipe)
    street = row.dataset == "cityscapes"
    assert (found.method, found.data.spec, found.data.split) == ("semivl", row.dataset, row.split)
    assert found.data.crop == (800 if street else 512)  # 801 there, which does not divide into patches of 16
    assert found.model == ModelConfig(
        encoder="clip_base_text_resnet" if street else "clip_base_text",
        decoder="semivl",
        trains="attention",
        text_of="concepts" if street else "names",
    )
    rate, part = STATED[row.dataset]
    optimizer = found.optimizer
    assert (optimizer.kind, optimizer.weight_decay, optimizer.decay_norms) == ("adamw", 0.01, False)
    assert optimizer.lr == pytest.approx(part * rate)
    assert optimizer.lr * optimizer.decoder_multiplier == pytest.approx(10 * rate)
    assert lr_scale(optimizer, found.schedule.batch) == 1
    assert found.schedule.batch == 8
    length = (found.schedule.steps, None) if street else (found.schedule.steps, found.schedule.epochs)
    assert length == ((83760, None) if street else (None, EPOCHS[row.dataset]))
    assert (found.consistency.threshold, found.consistency.weight, found.loss.labeled) == (0.95, 1.0, "ce")
    assert found.consistency.pixels == ("by_confidence" if street else "confident")
    assert found.semivl == SemiVLConfig(guidance=0.1, guidance_threshold=0.9)


def test_every_figure_of_the_main_tables_has_its_recipe() -> None:
    splits = {name: [row.split for row in ROWS if row.dataset == name] for name in STATED}
    assert splits == {
        "pascal": ["92", "183", "366", "732", "1464"],
        "cityscapes": ["1_16", "1_8", "1_4", "1_2"],
        "ade20k": ["1_64", "1_32", "1_16", "1_8"],
        "coco": ["1_512", "1_256", "1_128", "1_64", "1_32"],
    }
    assert [row.figure for row in ROWS[:5]] == pytest.approx([0.840, 0.856, 0.860, 0.867, 0.873])
