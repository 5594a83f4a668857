"""The loader of the published way: the whole image is resized, then cropped; photometry is Pillow's, in the worker."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.speed.plain.step import IGNORED, PlainBatch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ColorJitter, RandomGrayscale
from torchvision.transforms.functional import normalize, to_tensor

from semiseg.data import Sample

JITTER, GRAYSCALE = ColorJitter(0.5, 0.5, 0.5, 0.25), RandomGrayscale(p=0.2)


def geometry(image: Image.Image, mask: Image.Image, crop: int, scale: tuple[float, float]) -> tuple[Any, Any]:
    """Scale, pad, crop and flip an image and its mask."""
    width, height = image.size
    long_side = random.randint(int(max(width, height) * scale[0]), int(max(width, height) * scale[1]))
    factor = long_side / max(width, height)
    size = (max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5)))
    image, mask = image.resize(size, Image.Resampling.BILINEAR), mask.resize(size, Image.Resampling.NEAREST)
    right, bottom = max(0, crop - size[0]), max(0, crop - size[1])
    image = ImageOps.expand(image, (0, 0, right, bottom), fill=0)
    mask = ImageOps.expand(mask, (0, 0, right, bottom), fill=IGNORED)
    x, y = random.randint(0, image.width - crop), random.randint(0, image.height - crop)
    box = (x, y, x + crop, y + crop)
    image, mask = image.crop(box), mask.crop(box)
    return (ImageOps.mirror(image), ImageOps.mirror(mask)) if random.random() < 0.5 else (image, mask)


def photometry(image: Image.Image) -> Image.Image:
    """Jitter, grayscale and blur as published."""
    if random.random() < 0.8:
        image = JITTER(image)
    image = GRAYSCALE(image)
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    return image


def cutmix_map(crop: int) -> Tensor:
    """Draw a box with probability 1/2 and return it as a map of 0 and 1."""
    inside = torch.zeros(crop, crop)
    if random.random() < 0.5:
        return inside
    area = random.uniform(0.02, 0.4) * crop * crop
    while True:
        aspect = random.uniform(0.3, 1 / 0.3)
        width, height = int((area / aspect) ** 0.5), int((area * aspect) ** 0.5)
        x, y = random.randint(0, crop - 1), random.randint(0, crop - 1)
        if x + width <= crop and y + height <= crop:
            inside[y : y + height, x : x + width] = 1
            return inside


class Labeled(Dataset[tuple[Tensor, Tensor]]):
    """Labeled crops, drawn in a random order."""

    def __init__(self, samples: Sequence[Sample], crop: int, scale: tuple[float, float], norm: Norm) -> None:
        self.samples, self.crop, self.scale, self.norm = samples, crop, scale, norm

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[random.randrange(len(self.samples))]
        assert sample.mask is not None, "a labeled sample"
        image, mask = geometry(_read(sample), Image.open(sample.mask), self.crop, self.scale)
        return self.norm(image), torch.from_numpy(np.array(mask)).long()


class Unlabeled(Labeled):
    """Unlabeled crops with both strong views and both boxes."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:  # type: ignore[override]
        image = _read(self.samples[random.randrange(len(self.samples))])
        image, ignore = geometry(image, Image.new("L", image.size), self.crop, self.scale)
        views = (self.norm(photometry(image.copy())), self.norm(photometry(image.copy())))
        boxes = (cutmix_map(self.crop), cutmix_map(self.crop))
        return self.norm(image), torch.from_numpy(np.array(ignore)).long(), *views, *boxes


class Norm:
    """To a float tensor with the mean and deviation of an encoder."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean.flatten().tolist(), std.flatten().tolist()

    def __call__(self, image: Image.Image) -> Tensor:
        """Return (3, H, W) float32."""
        return normalize(to_tensor(image), self.mean, self.std)


def _read(sample: Sample) -> Image.Image:
    return Image.open(Path(sample.frames[0])).convert("RGB")


def batches(
    labeled: Labeled, unlabeled: Unlabeled, sizes: tuple[int, int], workers: int, *, pin: bool
) -> Iterator[PlainBatch]:
    """Yield batches from a loader of labeled and a loader of unlabeled crops, side by side."""
    settings: dict[str, Any] = {"num_workers": workers, "pin_memory": pin}
    loaders = (DataLoader(each, size, **settings) for each, size in zip((labeled, unlabeled), sizes, strict=True))
    for labels, others in zip(*loaders, strict=True):
        image_w, ignore, view1, view2, inside1, inside2 = others
        yield PlainBatch(*labels, image_w, ignore, (view1, view2), (inside1, inside2))
