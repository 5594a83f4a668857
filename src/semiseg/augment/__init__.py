"""Strong views: drawn in the worker, one sample at a time, and made on the device, a batch at a time."""

from semiseg.augment.config import StrongViewConfig
from semiseg.augment.cutmix import cutmix, draw_cutmix_box
from semiseg.augment.draws import PhotometricDraws, draw_photometric
from semiseg.augment.photometric import apply_photometric
from semiseg.augment.views import ViewDraws, draw_view, stack_views

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
