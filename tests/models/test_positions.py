from __future__ import annotations

import pytest
import torch

from semiseg.models.positions import resize_grid, resize_positions


def test_the_native_grid_is_returned_as_it_is() -> None:
    positions = torch.randn(1, 37 * 37, 4)
    assert resize_positions(positions, (37, 37)) is positions


@pytest.mark.parametrize("rows", range(1, 60, 3))
def test_every_grid_comes_out_at_its_size(rows: int) -> None:
    grid = (rows, 60 - rows)
    assert resize_positions(torch.randn(1, 37 * 37, 2), grid).shape == (1, grid[0] * grid[1], 2)


def test_rows_and_columns_keep_their_order() -> None:
    ramp = torch.arange(37.0)
    positions = torch.stack(torch.meshgrid(ramp, -ramp, indexing="ij"), dim=-1).view(1, -1, 2)
    resized = resize_positions(positions, (9, 20)).view(9, 20, 2)
    assert (resized[1:, :, 0] > resized[:-1, :, 0]).all()
    assert (resized[:, 1:, 1] < resized[:, :-1, 1]).all()


def test_the_samples_lie_by_the_scale_factor_with_its_tenth() -> None:
    ramp = torch.arange(37.0).view(37, 1, 1).expand(37, 37, 1).reshape(1, -1, 1)
    resized = resize_positions(ramp, (26, 26)).view(26, 26)
    # Bicubic bends a ramp by up to 0.05, to both sides; sampling at the exact size would shift it by 0.07 on average.
    expected = (torch.arange(26) + 0.5) * 37 / 26.1 - 0.5
    assert abs(float((resized[:, 0] - expected)[3:-3].mean())) < 0.01


def test_gradients_flow_to_the_native_embeddings() -> None:
    positions = torch.randn(1, 37 * 37, 2, requires_grad=True)
    resize_positions(positions, (50, 50)).sum().backward()
    assert positions.grad is not None
    assert positions.grad.any()


def test_a_grid_is_resized_to_the_exact_size() -> None:
    """Unlike DINOv2's rule, the samples lie evenly: opposite ends of a symmetric ramp stay opposite."""
    ramp = torch.linspace(-1, 1, 14).view(14, 1, 1).expand(14, 14, 1).reshape(1, -1, 1)
    assert resize_grid(ramp, (14, 14)) is ramp
    resized = resize_grid(ramp, (32, 9)).view(32, 9)
    torch.testing.assert_close(resized, -resized.flip(0))
    assert resize_positions(ramp, (32, 9)).view(32, 9)[:, 0].sum().abs() > 0.1
