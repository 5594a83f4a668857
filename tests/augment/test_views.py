"""The draws of a view: one photometric draw a frame, one box a view, equal for equal counters."""

from __future__ import annotations

import pytest
import torch

from semiseg.augment import StrongViewConfig, ViewDraws, draw_view, stack_views
from semiseg.errors import ConfigError
from semiseg.seeding import rng


def view(index: int, frames: int = 2, config: StrongViewConfig | None = None) -> ViewDraws:
    return draw_view(rng(3, "test-view", index), frames, 64, config or StrongViewConfig())


def tensors(draws: ViewDraws) -> list[torch.Tensor]:
    photometric = draws.photometric
    return [photometric.order, photometric.factors, photometric.grayscale, photometric.sigma, draws.box_B4]


def test_shapes_and_dtypes_of_a_sample_and_of_a_batch() -> None:
    dtypes = [torch.int64, torch.float32, torch.bool, torch.float32, torch.int64]
    assert [tensor.dtype for tensor in tensors(view(0))] == dtypes
    assert [tuple(tensor.shape) for tensor in tensors(view(0))] == [(2, 4), (2, 4), (2,), (2,), (4,)]
    batch = stack_views([view(i) for i in range(3)])
    assert [tensor.dtype for tensor in tensors(batch)] == dtypes
    assert [tuple(tensor.shape) for tensor in tensors(batch)] == [(3, 2, 4), (3, 2, 4), (3, 2), (3, 2), (3, 4)]


def test_stacking_keeps_each_sample() -> None:
    samples = [view(i) for i in range(3)]
    for i, sample in enumerate(samples):
        for stacked, alone in zip(tensors(stack_views(samples)), tensors(sample), strict=True):
            assert torch.equal(stacked[i], alone)


def test_a_view_is_a_function_of_its_counters() -> None:
    same = [torch.equal(a, b) for a, b in zip(tensors(view(0)), tensors(view(0)), strict=True)]
    assert all(same)
    assert not torch.equal(view(0).photometric.factors, view(1).photometric.factors)


def test_frames_are_drawn_independently() -> None:
    factors = view(0, config=StrongViewConfig(jitter_p=1)).photometric.factors
    assert (factors[0] != factors[1]).all()


def test_to_moves_every_tensor() -> None:
    assert {tensor.device.type for tensor in tensors(view(0).to("meta"))} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory belongs to an accelerator")
def test_pin_memory_pins_every_tensor() -> None:
    assert all(tensor.is_pinned() for tensor in tensors(view(0).pin_memory()))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brightness", -0.1),
        ("hue", 0.6),
        ("jitter_p", 1.5),
        ("blur_sigma", (0.1, 3.0)),
        ("blur_sigma", (0.0, 1.0)),
        ("cutmix_area", (0.5, 0.2)),
        ("cutmix_area", (0.1, 1.0)),
        ("cutmix_aspect", (2.0, 3.0)),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        StrongViewConfig(**{name: value})  # type: ignore[arg-type]
