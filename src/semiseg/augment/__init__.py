"""Strong views: drawn in the worker, one sample at a time, and made on the device, a batch at a time."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semiseg.augment.config import StrongViewConfig
    from semiseg.augment.draws import PhotometricDraws, draw_photometric
    from semiseg.augment.mixing import cutmix, draw_cutmix_box
    from semiseg.augment.photometric import apply_photometric
    from semiseg.augment.views import ViewDraws, draw_view, stack_views

# Loaded on first use: the settings of this room are read without torch, which takes seconds to import.
_HOMES = {
    "PhotometricDraws": "semiseg.augment.draws",
    "StrongViewConfig": "semiseg.augment.config",
    "ViewDraws": "semiseg.augment.views",
    "apply_photometric": "semiseg.augment.photometric",
    "cutmix": "semiseg.augment.mixing",
    "draw_cutmix_box": "semiseg.augment.mixing",
    "draw_photometric": "semiseg.augment.draws",
    "draw_view": "semiseg.augment.views",
    "stack_views": "semiseg.augment.views",
}

__all__ = [
    "PhotometricDraws",
    "StrongViewConfig",
    "ViewDraws",
    "apply_photometric",
    "cutmix",
    "draw_cutmix_box",
    "draw_photometric",
    "draw_view",
    "stack_views",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
