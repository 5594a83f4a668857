from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.beit import checkpoint_filter_fn, gen_relative_position_index
from torch import nn

from semiseg.errors import ModelError
from semiseg.models.encoders import build_encoder
from semiseg.models.encoders.beit import BEiT, offset_rows, resize_offsets

NAME = "beit_base_patch16_224"
SIZES = {"embed_dim": 32, "depth": 4, "num_heads": 2}


def filled(module: nn.Module) -> None:
    """Give every parameter a draw: tables of offsets start at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("size", [(80, 80), (48, 96)])
def test_at_the_native_grid_the_levels_are_timms(size: tuple[int, int]) -> None:
    encoder = BEiT(NAME, (0, 1, 2, 3), False, img_size=size, **SIZES)
    filled(encoder)
    image = torch.randn(2, 3, *size)
    theirs = encoder.core().forward_intermediates(image, indices=[0, 1, 2, 3], intermediates_only=True)
    for ours, level in zip(encoder(image), theirs, strict=True):
        torch.testing.assert_close(ours, level, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (4, 2)])
def test_rows_are_those_of_timms_index(grid: tuple[int, int]) -> None:
    assert torch.equal(offset_rows(grid, torch.device("cpu")), gen_relative_position_index(grid))


def test_the_native_table_is_returned_as_it_is() -> None:
    table = torch.randn(5 * 5 + 3, 2)
    assert resize_offsets(table, (3, 3), (3, 3)) is table


@pytest.mark.parametrize("grid", [(2, 2), (7, 4), (1, 9)])
def test_a_resized_table_keeps_the_order_of_offsets_and_the_class_token(grid: tuple[int, int]) -> None:
    down, right = torch.meshgrid(torch.arange(-4.0, 5), torch.arange(-2.0, 3), indexing="ij")
    table = torch.cat((torch.stack((down.flatten(), right.flatten()), dim=1), torch.full((3, 2), 9.0)))
    resized = resize_offsets(table, (5, 3), grid)
    rows, columns = 2 * grid[0] - 1, 2 * grid[1] - 1
    assert torch.equal(resized[-3:], table[-3:])
    square = resized[:-3].view(rows, columns, 2)
    for axis in (0, 1):
        assert (square.diff(dim=axis)[..., axis] >= 0).all()  # flat beyond the outermost offsets of the native grid
        assert square[..., axis].unique().numel() > 2 or grid[axis] < 3
    torch.testing.assert_close(square, -square.flip(0, 1))


def test_gradients_reach_the_native_table_from_another_grid() -> None:
    table = torch.randn(5 * 5 + 3, 2, requires_grad=True)
    resize_offsets(table, (3, 3), (4, 6)).square().sum().backward()
    assert table.grad is not None
    assert table.grad.any()


@pytest.mark.usefixtures("small_encoders")
def test_a_file_for_another_grid_is_fitted_as_timm_fits_one(tmp_path: Path) -> None:
    theirs = timm.create_model(NAME, img_size=64, **SIZES)
    filled(theirs)
    index = {"blocks.0.attn.relative_position_index": torch.zeros(17, 17, dtype=torch.int64)}
    save_file(theirs.state_dict() | index, tmp_path / "beit.safetensors")
    core = build_encoder("small_beit", str(tmp_path / "beit.safetensors")).core()
    expected = checkpoint_filter_fn(theirs.state_dict(), core)
    for key, value in core.state_dict().items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.usefixtures("small_encoders")
@pytest.mark.parametrize("shape", [(20, 2), (52, 3)])
def test_a_table_that_no_grid_has_is_named(tmp_path: Path, shape: tuple[int, int]) -> None:
    state = build_encoder("small_beit", "random").core().state_dict()
    key = "blocks.0.attn.relative_position_bias_table"
    save_file(state | {key: torch.zeros(shape)}, tmp_path / "beit.safetensors")
    with pytest.raises(ModelError, match=rf"{key} \({shape[0]}, {shape[1]}\) instead of \(84, 2\)"):
        build_encoder("small_beit", str(tmp_path / "beit.safetensors"))
