"""The settings that a plan takes where nobody has chosen them, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from semiseg.config import Config, overridden
from semiseg.data import Dataset
from semiseg.data.bands import picture_size
from semiseg.data.index import in_memory
from semiseg.data.prefetch import prefetch
from semiseg.data.reduction import MOST_CROPS, advised_long_side
from semiseg.data.spec import read_class_ids
from semiseg.engine.gallery import spread

LARGE_MEMORY = 24 * 2**30
"""Bytes of a GPU from which `dinov2_base` is taken; what it needs is measured."""
_RARE = 0.01
"""The share of the labeled pixels below which a class is rare."""
_LOOKED_AT = 100
"""Masks that the shares of classes, and images that their size, are taken from."""
_PHOTOGRAPHS = (".jpg", ".jpeg", ".heic", ".heif", ".hif")
"""Files of cameras. What else is large, such as scans and aerial pictures, may show small things that count."""


@dataclass(frozen=True)
class Setting:
    """A setting, its value as on the command line, and why."""

    key: str
    value: str
    reason: str

    @property
    def words(self) -> tuple[str, str]:
        """The setting as words of the command line."""
        return f"--{self.key}", self.value


def of_machine(device: torch.device, given: Sequence[str]) -> list[Setting]:
    """Choose the encoder for a folder by the GPU; without one it has the recipe `laptop`. What is given stays."""
    if device.type != "cuda" or "model.encoder" in overridden(given):
        return []
    return [_for_gpu(torch.cuda.get_device_properties(device).total_memory)]


def _for_gpu(total: int) -> Setting:
    if total >= LARGE_MEMORY:
        return Setting("model.encoder", "dinov2_base", f"the GPU has {total / 2**30:.0f} GiB; see its need below")
    return Setting("model.encoder", "dinov2_small", f"the GPU has {total / 2**30:.0f} GiB, too few for dinov2_base")


def of_size(config: Config, dataset: Dataset, given: Sequence[str]) -> list[Setting]:
    """Read images smaller that are much longer than a crop, unless they are evaluated in windows, or of a known set."""
    data = config.data
    if data.spec or data.long_side or "data.long_side" in overridden(given) or dataset.spec.protocol == "sliding":
        return []
    paths = [sample.frames[0] for sample in spread((*dataset.labeled, *in_memory(dataset.unlabeled)), _LOOKED_AT)]
    sizes = prefetch(lambda path: picture_size(path, data.max_pixels, dataset.spec.shown.bands), paths)
    sides = [max(size) for size in sizes]
    advised = advised_long_side(sides, data.crop)
    if advised is None:
        return []
    reason = f"images are {median(sides):,.0f} pixels long (median), more than {MOST_CROPS} crops of {data.crop}"
    return [Setting("data.long_side", str(advised), reason)]


def are_photographs(dataset: Dataset) -> bool:
    """Whether all images are files of cameras."""
    samples = (*dataset.labeled, *in_memory(dataset.unlabeled))
    return all(path.suffix.lower() in _PHOTOGRAPHS for sample in samples for path in sample.frames)


def of_memory(config: Config, given: Sequence[str], found: Sequence[Setting], *, spares: bool) -> list[Setting]:
    """Choose what makes a batch fit that did not: activations that are not kept, then half of the batch at a time.

    Args:
        config: with which it did not fit.
        given: its words on the command line.
        found: the settings of this kind in it.
        spares: whether the encoder's blocks may run twice.

    Returns:
        All settings of this kind to try next; none if nothing is left.
    """
    key, batch = "schedule.activation_checkpointing", config.schedule.batch
    if spares and key not in overridden(given):
        reason = f"a batch of {batch} at once does not fit; blocks run twice instead of keeping all, which is slower"
        return [Setting(key, "true", reason)]
    part = (config.schedule.per_device or batch) // 2
    if not part:
        return []
    reason = f"a batch of {batch} at once does not fit; the rest is accumulated"
    others = [setting for setting in found if setting.key == key]
    return [*others, Setting("schedule.per_device", str(part), reason)]


def of_classes(config: Config, dataset: Dataset, given: Sequence[str]) -> list[Setting]:
    """Offer OHEM where a class is rare in the masks."""
    if config.loss.labeled == "ohem" or "loss.labeled" in overridden(given):
        return []
    counts: Counter[int] = Counter()
    for sample in spread(dataset.labeled, _LOOKED_AT):
        if sample.mask is not None:
            ids_HW = read_class_ids(sample.mask, dataset.spec, config.data.max_pixels)
            pixels = np.bincount(ids_HW.ravel(), minlength=256)
            counts.update({number: int(count) for number, count in enumerate(pixels)})
    counts.pop(dataset.spec.ignore_value, None)
    total = sum(counts.values())
    shares = {name: counts[number] / max(total, 1) for number, name in enumerate(dataset.spec.classes)}
    rare = {name: share for name, share in shares.items() if 0 < share < _RARE}
    if not rare:
        return []
    named = ", ".join(f"{name} {share:.2%}" for name, share in sorted(rare.items(), key=lambda pair: pair[1]))
    return [Setting("loss.labeled", "ohem", f"try it: rare classes ({named} of the labeled pixels) weigh little in ce")]


def of_length(steps: int, step: float, every: int, hours: float | None) -> list[Setting]:
    """Shorten a run to a number of hours.

    Args:
        steps: its length.
        step: seconds of a step, with its share of the evaluations.
        every: steps between evaluations.
        hours: the most that the run may take; None: it is left alone.
    """
    if hours is None or steps * step <= 3600 * hours:
        return []
    fitting = max(int(3600 * hours / step) // every, 1) * every
    if fitting >= steps:
        return []
    reason = f"fits {hours:g} h; the {steps:,} steps of the recipe would take {steps * step / 3600:.1f} h"
    return [Setting("schedule.steps", str(fitting), reason)]
