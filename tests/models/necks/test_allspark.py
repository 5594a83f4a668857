from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fidelity import apart, draws, rule_allspark  # benchmarks/fidelity.py
from torch import Tensor, nn

from semiseg.models import ModelCard, ModelConfig, build_segmenter, load_model, save_model
from semiseg.models.necks.allspark import AllSpark

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/allspark.json").read_text())
D, SIDE = 64, 7


def noise(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(draws(name, shape).astype(np.float32))


def levels_of(deepest: Tensor) -> list[Tensor]:
    """Return four levels; the neck must not look at the first three."""
    return [torch.full((len(deepest), 1, 1, 1), torch.nan)] * 3 + [deepest]


@pytest.fixture(scope="module")
def neck() -> AllSpark:
    made = AllSpark(D)
    rule_allspark(made, "neck.")
    return made.requires_grad_(False).eval()


@pytest.mark.parametrize(("name", "golden", "size"), [("test", "one", (7, 7)), ("test wide", "wide", (5, 11))])
def test_an_image_of_any_size_asks_itself_as_published(
    neck: AllSpark, name: str, golden: str, size: tuple[int, int]
) -> None:
    level = noise(name, 1, D, *size)
    assert apart(neck(levels_of(level))[3], GOLDEN[f"test/{golden}"]) < 1e-5


def test_images_that_are_labeled_ask_one_another_as_published(neck: AllSpark) -> None:
    level = noise("unlabeled", 2, D, SIDE, SIDE)
    assert apart(neck.together(levels_of(level))[3], GOLDEN["test/batch"]) < 1e-5


def test_labeled_channels_ask_unlabeled_ones_as_published(neck: AllSpark) -> None:
    level = torch.cat([noise(name, 2, D, SIDE, SIDE) for name in ("labeled", "unlabeled")])
    asked = []

    def sources(unlabeled_BND: Tensor) -> Tensor:
        asked.append(tuple(unlabeled_BND.shape))
        return unlabeled_BND

    assert apart(neck.learn(levels_of(level), 2, sources)[3], GOLDEN["block/channels"]) < 1e-5
    assert asked == [(2, SIDE * SIDE, D)]


def test_the_other_levels_pass(neck: AllSpark) -> None:
    levels = [torch.randn(2, 1, 3, 3) for _ in range(3)] + [torch.randn(2, D, 3, 4)]
    for out in (neck(levels), neck.together(levels), neck.learn(levels, 1, lambda unlabeled: unlabeled)):
        assert all(now is before for now, before in zip(out[:3], levels[:3], strict=True))
        assert out[3].shape == levels[3].shape


def test_who_sees_whom(neck: AllSpark) -> None:
    """At test time nobody; labeled images see the unlabeled ones, and those nobody."""
    level, other = torch.randn(2, 4, D, 3, 3).unbind()
    memory = torch.randn(3, 9, D)
    for changed in range(4):
        mixed = level.clone()
        mixed[changed] = other[changed]
        alone = [torch.equal(*pair) for pair in zip(neck(levels_of(level))[3], neck(levels_of(mixed))[3], strict=True)]
        assert alone == [image != changed for image in range(4)]
        together = neck.together(levels_of(mixed))[3] - neck.together(levels_of(level))[3]
        assert (together.flatten(1).norm(dim=1) > 1e-4).all()
        for sources, sees in ((lambda unlabeled: unlabeled, changed >= 2), (lambda _: memory, False)):
            change = neck.learn(levels_of(mixed), 2, sources)[3] - neck.learn(levels_of(level), 2, sources)[3]
            moved = (change.flatten(1).norm(dim=1) > 1e-4).tolist()
            assert moved == [image == changed or (image < 2 and sees) for image in range(4)]


def test_training_drops_a_tenth_of_weights_and_outputs() -> None:
    neck = AllSpark(8).train()
    assert [module.p for module in neck.modules() if isinstance(module, nn.Dropout)] == [0.1] * 4
    level = torch.randn(1, 8, 4, 4)
    assert not torch.equal(neck(levels_of(level))[3], neck(levels_of(level))[3])


def test_a_model_with_the_neck_is_saved_and_predicts_at_any_size(tmp_path: Path) -> None:
    config = ModelConfig(encoder="vit_nano", weights="random", neck="allspark")
    model = build_segmenter(config, 2).eval()
    assert isinstance(model.neck, AllSpark)
    save_model(
        tmp_path, model, ModelCard(classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), frames=1, crop=32, model=config)
    )
    loaded, card = load_model(tmp_path)
    assert card.model.neck == "allspark"
    for size in ((32, 32), (40, 64)):
        images = torch.randn(1, 1, 3, *size)
        torch.testing.assert_close(loaded(images), model(images))
