"""Position embeddings that are resized to the grid of any picture, in graphs of any size.

torch's exporter writes a resizing by factors with the factors of the traced example. ONNX can compute them in the
graph.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.models.positions import BEYOND, PositionGrid, resize_positions


@torch.library.custom_op("semiseg::position_grid", mutates_args=())
def position_grid(positions_1ND: Tensor, rows: int, columns: int) -> Tensor:
    """Resize position embeddings as DINOv2 does."""
    return resize_positions(positions_1ND, (rows, columns)).clone()


@position_grid.register_fake
def _(positions_1ND: Tensor, rows: int, columns: int) -> Tensor:
    return positions_1ND.new_empty(1, rows * columns, positions_1ND.shape[2])


class WholePositionGrid(nn.Module):
    """The resizing as one operation."""

    def forward(self, positions_1ND: Tensor, grid: tuple[int, int]) -> Tensor:
        """Resize."""
        found: Tensor = position_grid(positions_1ND, *grid)
        return found


def whole(part: nn.Module) -> nn.Module | None:
    """Return what stands for a module in a graph of any size, None for a module of another kind."""
    return WholePositionGrid() if isinstance(part, PositionGrid) else None


def translation(positions: Any, rows: Any, columns: Any) -> Any:
    """Return the operation in ONNX: factors of (n + 0.1) / native, and of 1 at the native grid, as torch has them."""
    from onnxscript import opset18

    op: Any = opset18  # its annotations know no constants
    native = math.isqrt(positions.shape[1])
    sides = [op.Cast(side, to=1) for side in (rows, columns)]
    is_native = op.And(op.Equal(sides[0], float(native)), op.Equal(sides[1], float(native)))
    one, axis = op.Constant(value_floats=[1.0]), op.Constant(value_ints=[0])
    factors = [
        op.Where(is_native, one, op.Unsqueeze(op.Div(op.Add(side, BEYOND), float(native)), axis)) for side in sides
    ]
    square = op.Reshape(positions, op.Constant(value_ints=[1, native, native, -1]))
    resized = op.Resize(
        op.Transpose(square, perm=[0, 3, 1, 2]),
        None,
        op.Concat(one, one, *factors, axis=0),
        coordinate_transformation_mode="half_pixel",
        cubic_coeff_a=-0.75,
        mode="cubic",
    )
    flat = op.Reshape(resized, op.Constant(value_ints=[1, positions.shape[2], -1]))
    return op.Transpose(flat, perm=[0, 2, 1])
