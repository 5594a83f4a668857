"""BEiT, whose attention knows positions by a table of offsets alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from torch import Tensor, nn

from semiseg.models.encoders.base import Encoder, alike, create_timm

NATIVE = 512
"""Side in pixels that the tables of offsets are made for. The published encoders have 86.2 M and 304.6 M parameters,
which is what the tables of a 32 x 32 grid add up to (85.8 M and 303.4 M at BEiT's own 224 pixels)."""

TABLE = ".relative_position_bias_table"


class BEiT(Encoder):
    """BEiT (arXiv 2106.08254): timm's modules and weights, for images of any size.

    The levels are the blocks' outputs as they are: BEiT has no norm between its last block and its pooling.

    Args:
        name: timm's name.
        taken: the blocks whose outputs are the levels.
        pretrained: load timm's weights from the hub.
        **options: of timm's model.
    """

    patch = 16
    strides = alike(patch)

    def __init__(self, name: str, taken: Sequence[int], pretrained: bool, **options: Any) -> None:
        super().__init__()
        self.backbone: Any = create_timm(name, pretrained, **{"img_size": NATIVE, **options})
        self.widths = alike(self.backbone.embed_dim)
        self.mean, self.std = (tuple(self.backbone.pretrained_cfg[key]) for key in ("mean", "std"))
        self.taken = tuple(taken)
        self.backbone.prune_intermediate_layers(list(taken), prune_norm=False, prune_head=True)

    def blocks_in_order(self) -> list[nn.Module]:
        """Return none: the forward pass calls the parts of a block, with the table of offsets between them."""
        return []

    def core(self) -> nn.Module:
        """Return timm's module."""
        return cast(nn.Module, self.backbone)

    def adapt(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring tables of offsets made for another grid to the native one, as timm does with weights from the hub."""
        wanted = self.backbone.state_dict()
        return {
            key: self._native_table(tensor, wanted[key]) if key.endswith(TABLE) and key in wanted else tensor
            for key, tensor in super().adapt(tensors).items()
            if not key.endswith(".relative_position_index")
        }

    def _native_table(self, table_Rh: Tensor, wanted_Rh: Tensor) -> Tensor:
        side = math.isqrt(max(0, len(table_Rh) - 3))
        if side**2 + 3 != len(table_Rh) or table_Rh.shape[1:] != wanted_Rh.shape[1:]:
            return table_Rh
        grid = self.backbone.patch_embed.grid_size
        resized_Rh: Tensor = resize_rel_pos_bias_table(table_Rh, grid, tuple(wanted_Rh.shape))
        return resized_Rh

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """Encode as every `Encoder`."""
        vit = self.backbone
        patches_BDHW = vit.patch_embed.proj(images_BCHW)
        grid = (patches_BDHW.shape[2], patches_BDHW.shape[3])
        class_B1D = vit.cls_token.expand(images_BCHW.shape[0], -1, -1)
        tokens_BND = torch.cat((class_B1D, patches_BDHW.flatten(2).transpose(1, 2)), dim=1)
        rows_NN = offset_rows(grid, images_BCHW.device)
        levels = []
        for index, block in enumerate(vit.blocks):
            table_Rh = resize_offsets(block.attn.relative_position_bias_table, vit.patch_embed.grid_size, grid)
            bias_hNN = table_Rh[rows_NN].permute(2, 0, 1)
            tokens_BND = tokens_BND + block.gamma_1 * attend(block.attn, block.norm1(tokens_BND), bias_hNN)
            tokens_BND = tokens_BND + block.gamma_2 * block.mlp(block.norm2(tokens_BND))
            if index in self.taken:
                levels.append(tokens_BND[:, 1:].unflatten(1, grid).permute(0, 3, 1, 2))
        return levels


def attend(attention: Any, tokens_BND: Tensor, bias_hNN: Tensor) -> Tensor:
    """Mix tokens as timm's BEiT attention does, with the given bias for each head and pair of tokens."""
    no_bias_D = torch.zeros_like(attention.q_bias)
    qkv_bias = torch.cat((attention.q_bias, no_bias_D, attention.v_bias))
    qkv = F.linear(tokens_BND, attention.qkv.weight, qkv_bias).unflatten(-1, (3, attention.num_heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    mixed_BhNd = F.scaled_dot_product_attention(query, key, value, attn_mask=bias_hNN[None].to(query.dtype))
    out_BND: Tensor = attention.proj(mixed_BhNd.transpose(1, 2).flatten(2))
    return out_BND


def offset_rows(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Return which row of the table belongs to each pair of tokens: (N, N), the class token first.

    The table has a row for each offset from (1 - rows, 1 - columns) to (rows - 1, columns - 1), then one from the class
    token to the others, one from the others to it, and one to itself.
    """
    rows, columns = grid
    tokens_N = torch.arange(rows * columns, device=device)
    y_N, x_N = tokens_N // columns, tokens_N % columns
    down_NN = y_N[:, None] - y_N + rows - 1
    right_NN = x_N[:, None] - x_N + columns - 1
    rows_NN = F.pad(down_NN * (2 * columns - 1) + right_NN, (1, 0, 1, 0))
    offsets = (2 * rows - 1) * (2 * columns - 1)
    rows_NN[0], rows_NN[:, 0], rows_NN[0, 0] = offsets, offsets + 1, offsets + 2
    return rows_NN


def resize_offsets(table_Rh: Tensor, native: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Resize a table of offsets bilinearly to another grid, as BEiT with DPT does in MiDaS 3.1 (arXiv 2307.14460).

    Returns:
        A row for each offset of the grid and the three of the class token; the table itself at the native grid.
    """
    if grid == tuple(native):
        return table_Rh
    (rows, columns), (new_rows, new_columns) = native, grid
    square_1hRC = table_Rh[:-3].T.unflatten(1, (2 * rows - 1, 2 * columns - 1))[None]
    resized_1hRC = F.interpolate(square_1hRC, size=(2 * new_rows - 1, 2 * new_columns - 1), mode="bilinear")
    return torch.cat((resized_1hRC[0].flatten(1).T, table_Rh[-3:]))
