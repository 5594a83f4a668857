"""Parts of a network that no tracer can write for any size are put into the graph as one operation each."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from semiseg.exporting import position_grid, same_padding

_WHOLE = (same_padding.whole, position_grid.whole)


def with_whole_operations(module: nn.Module) -> nn.Module:
    """Return the module, or a copy in which each part that needs it is one operation."""
    if not any(_stand_in(part) for part in module.modules()):
        return module
    changed = deepcopy(module)
    for parent in list(changed.modules()):
        for name, part in list(parent.named_children()):
            if (whole := _stand_in(part)) is not None:
                setattr(parent, name, whole)
    return changed


def _stand_in(part: nn.Module) -> nn.Module | None:
    return next((found for whole in _WHOLE if (found := whole(part)) is not None), None)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return what torch's exporter needs to write these operations as ONNX."""
    return {
        torch.ops.semiseg.conv_same.default: same_padding.translation,
        torch.ops.semiseg.position_grid.default: position_grid.translation,
    }
