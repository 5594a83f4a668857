"""CutMix boxes follow the published distribution; pasting takes the reversed batch inside the box and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semiseg.augment import StrongViewConfig, cutmix, draw_cutmix_box
from semiseg.seeding import rng

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cutmix_boxes.json").read_text())
DRAWS = 20_000
SIGMAS = 4.0


@pytest.fixture(scope="module")
def boxes_N4() -> Tensor:
    generator = rng(0, "test-cutmix")
    return torch.stack([draw_cutmix_box(generator, GOLDEN["size"], StrongViewConfig()) for _ in range(DRAWS)])


def quantities(boxes_N4: Tensor) -> dict[str, Tensor]:
    x0, y0, x1, y1 = boxes_N4[boxes_N4[:, 2] > 0].double().unbind(1)
    width, height = x1 - x0, y1 - y0
    return {"area": width * height / GOLDEN["size"] ** 2, "width": width, "height": height, "x": x0, "y": y0}


def test_as_many_views_get_a_box_as_published(boxes_N4: Tensor) -> None:
    share = (boxes_N4[:, 2] > 0).double().mean().item()
    published = GOLDEN["boxes"] / GOLDEN["draws"]
    assert share == pytest.approx(published, abs=SIGMAS * 0.5 * math.sqrt(1 / DRAWS + 1 / GOLDEN["draws"]))


@pytest.mark.parametrize("name", ["area", "width", "height", "x", "y"])
def test_boxes_are_distributed_as_published(boxes_N4: Tensor, name: str) -> None:
    values, published = quantities(boxes_N4)[name], GOLDEN["quantities"][name]
    sampling_error = math.sqrt(1 / len(values) + 1 / GOLDEN["boxes"])
    assert values.mean().item() == pytest.approx(published["mean"], abs=SIGMAS * published["std"] * sampling_error)
    for decile, share in zip(published["deciles"], published["share_up_to_decile"], strict=True):
        tolerance = SIGMAS * math.sqrt(share * (1 - share)) * sampling_error
        assert (values <= decile).double().mean().item() == pytest.approx(share, abs=tolerance)


def test_boxes_lie_within_the_crop(boxes_N4: Tensor) -> None:
    assert boxes_N4.min() >= 0
    assert boxes_N4.max() <= GOLDEN["size"]
    drawn = boxes_N4[boxes_N4[:, 2] > 0]
    assert (drawn[:, :2] < drawn[:, 2:]).all()


def test_sides_are_rounded_down() -> None:
    config = StrongViewConfig(cutmix_p=1, cutmix_area=(0.31, 0.31), cutmix_aspect=(1, 1))
    x0, y0, x1, y1 = draw_cutmix_box(rng(0, "test-cutmix-sides"), 64, config).tolist()
    assert (x1 - x0, y1 - y0) == (35, 35)  # the root of 0.31 x 64 x 64 is 35.6


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0), (1.0, 1)])
def test_probability_is_that_of_the_config(probability: float, share: int) -> None:
    generator, config = rng(0, "test-cutmix-p"), StrongViewConfig(cutmix_p=probability)
    boxes = torch.stack([draw_cutmix_box(generator, 64, config) for _ in range(50)])
    assert (boxes[:, 2] > 0).double().mean() == share


def reversed_inside(x: Tensor, box_B4: Tensor) -> Tensor:
    """The definition, sample by sample."""
    pasted = x.clone()
    for i, (x0, y0, x1, y1) in enumerate(box_B4.tolist()):
        pasted[i, ..., y0:y1, x0:x1] = x[len(x) - 1 - i, ..., y0:y1, x0:x1]
    return pasted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.uint8, torch.int64])
@pytest.mark.parametrize("between", [(), (3,), (2, 3)])
@pytest.mark.parametrize("batch", [1, 4, 5])
def test_inside_the_box_the_batch_is_reversed(batch: int, between: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = rng(0, "test-paste", batch)
    boxes = torch.stack([draw_cutmix_box(generator, 16, StrongViewConfig()) for _ in range(batch)])
    boxes[-1] = torch.tensor([0, 3, 5, 16])
    x = torch.randint(0, 255, (batch, *between, 16, 16), generator=torch.Generator().manual_seed(batch)).to(dtype)
    before = x.clone()
    pasted = cutmix(x, boxes)
    assert pasted.dtype == dtype
    assert torch.equal(pasted, reversed_inside(x, boxes))
    assert torch.equal(x, before)


def test_without_boxes_nothing_changes() -> None:
    x = torch.rand(4, 3, 8, 8)
    assert torch.equal(cutmix(x, torch.zeros(4, 4, dtype=torch.int64)), x)


def test_images_need_not_be_square_nor_contiguous() -> None:
    x = torch.rand(2, 3, 6, 10).to(memory_format=torch.channels_last)
    boxes = torch.tensor([[7, 1, 10, 4], [0, 0, 0, 0]])
    assert torch.equal(cutmix(x, boxes), reversed_inside(x, boxes))


def test_pasting_never_asks_the_device() -> None:
    pasted = cutmix(torch.empty(4, 2, 3, 8, 8, device="meta"), torch.empty(4, 4, dtype=torch.int64, device="meta"))
    assert pasted.shape == (4, 2, 3, 8, 8)


def test_content_of_a_second_batch_is_pasted_in_place() -> None:
    x, content = torch.zeros(2, 4, 4), torch.arange(32.0).view(2, 4, 4)
    box = torch.tensor([[1, 0, 3, 2], [0, 0, 0, 0]])
    mixed = cutmix(x, box, content)
    assert torch.equal(mixed[0, 0:2, 1:3], content[0, 0:2, 1:3])
    assert mixed[0].count_nonzero() == 4
    assert not mixed[1].any()
