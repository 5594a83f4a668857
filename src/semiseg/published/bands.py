"""How many pseudo-labels are confident in a healthy run: the published logs of UniMatch V2, threshold 0.95."""

from __future__ import annotations

THRESHOLD = 0.95
"""Of the runs that the bands are of."""
_SMALL = (0.10, 0.07, 0.07)
"""How far the lower end lies below the figures of ViT-B, so that ViT-S is in the band as well."""
_BASE = {
    "pascal": ((0.66, 0.71), (0.95, 0.96), (0.97, 0.98)),
    "cityscapes": ((0.43, 0.47), (0.85, 0.92), (0.90, 0.95)),
    "ade20k": ((0.32, 0.48), (0.72, 0.86), (0.82, 0.92)),
    "coco": ((0.73, 0.81), (0.86, 0.93), (0.91, 0.96)),
}
"""Lowest and highest share of confident pixels over the splits, ViT-B: first epoch, after a third, last epoch."""


def healthy_band(dataset: str | None) -> tuple[tuple[float, float], ...]:
    """Return (low, high) in the first epoch, after a third of the run and at its end.

    Args:
        dataset: a published data set; of any other one the band holds those of all.
    """
    known = [_BASE[dataset]] if dataset in _BASE else list(_BASE.values())
    return tuple(
        (min(band[time][0] for band in known) - lower, max(band[time][1] for band in known))
        for time, lower in enumerate(_SMALL)
    )
