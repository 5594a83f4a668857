"""Reading and cropping alone, and with the photometric views of unlabeled images, wherever each side makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from benchmarks.speed.clock import alternate
from benchmarks.speed.ground import Ground
from benchmarks.speed.plain.loader import Labeled, Norm, Unlabeled, batches
from benchmarks.speed.row import PLAIN, Bench, Row
from PIL import Image

from semiseg.augment import StrongViewConfig
from semiseg.data import DataConfig, Division, TrainStream
from semiseg.data.datasets import load_dataset
from semiseg.data.reduction import MOST_CROPS
from semiseg.methods.consistency import recoloured
from semiseg.models.encoders.base import IMAGENET_MEAN, IMAGENET_STD

LABELED, UNLABELED = 1, 8
"""Crops of a batch where unlabeled images count: nearly all of them."""


@dataclass(frozen=True)
class Images:
    """What is read: a name, the crop, and how to come by the settings of a data set."""

    name: str
    crop: int
    words: Callable[[Ground], DataConfig]

    def config(self, ground: Ground) -> DataConfig:
        """Return the settings."""
        return self.words(ground)


def _small(ground: Ground) -> DataConfig:
    return ground.config("vit_nano", 64 if ground.machine.quick else 322, 2).data


def _large(ground: Ground) -> DataConfig:
    """Draw pictures as large as Cityscapes' and about as costly to decode, 2.3 MB each, and return their settings."""
    root = _drawn(ground.folder / "large", (256, 128) if ground.machine.quick else (2048, 1024), "png")
    return DataConfig(root=str(root), crop=64 if ground.machine.quick else 798)


def _photographs(ground: Ground) -> DataConfig:
    """Draw pictures as large as a telephone's, 12 megapixels, and return their settings."""
    root = _drawn(ground.folder / "photographs", (400, 300) if ground.machine.quick else (4000, 3000), "jpg")
    return DataConfig(root=str(root), crop=32 if ground.machine.quick else 256)


def _drawn(root: Path, size: tuple[int, int], suffix: str) -> Path:
    """Draw ten pictures, if they are not there yet."""
    if not root.exists():
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True)
        for number in range(10):
            _draw(root, number, size, suffix)
        text = f"name: {root.name}\nclasses: [zero, one, two, three]\n"
        (root / "dataset.yaml").write_text(text, encoding="utf-8")
    return root


def _draw(root: Path, number: int, size: tuple[int, int], suffix: str) -> None:
    """Draw soft blots with the noise of a camera, and for the first four pictures a mask."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.normal(0, 1.2, (size[1], size[0], 3)).round()
    pixels = np.clip(np.asarray(coarse, dtype=np.float64) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(root / "images" / f"{number}.{suffix}", quality=92)
    if number < 4:
        mask = Image.fromarray(rng.integers(0, 4, (8, 16), dtype=np.uint8)).resize(size, Image.Resampling.NEAREST)
        mask.save(root / "masks" / f"{number}.png")


SMALL, LARGE = Images("images", 322, _small), Images("png2048", 798, _large)


def measure_loader(images: Images, ground: Ground) -> Iterator[Row]:
    """Time what a loader process does for a crop: labeled and unlabeled ones in equal parts."""
    config = images.config(ground)
    stream, plain = _sides(config, 2, 2)
    numbers = count()
    work = {"fast": lambda: stream[next(numbers)], PLAIN: lambda: next(plain)}
    timed = alternate(work, rounds=ground.rounds, device=torch.device("cpu"), budget=ground.budget)
    sides = {name: side.divided(4) for name, side in timed.items()}
    facts = {
        "crop": config.crop,
        "images": _named(images, ground),
        "note": "plain makes both strong views here, ours not",
    }
    yield Row(name=f"loader/{images.name}", unit="crop", sides=sides, facts=facts)


def measure_photographs(ground: Ground) -> Iterator[Row]:
    """Time crops of photographs that are read reduced beside crops of all their pixels."""
    config = _photographs(ground)
    long_side = MOST_CROPS * config.crop
    whole, plain = _sides(config, 2, 2)
    reduced, _ = _sides(replace(config, long_side=long_side), 2, 2)
    numbers = count()
    work = {
        f"long_side {long_side}": lambda: reduced[next(numbers)],
        "whole": lambda: whole[next(numbers)],
        PLAIN: lambda: next(plain),
    }
    timed = alternate(work, rounds=ground.rounds, device=torch.device("cpu"), budget=ground.budget)
    facts = {"crop": config.crop, "images": "drawn JPEG of 4000 x 3000", "note": "plain and whole crop all pixels"}
    sides = {name: side.divided(4) for name, side in timed.items()}
    yield Row(name="loader/jpeg4000", unit="crop", sides=sides, facts=facts)


def measure_unlabeled(images: Images, ground: Ground) -> Iterator[Row]:
    """Time reading, cropping and both strong views, ours on the device."""
    config = images.config(ground)
    stream, plain = _sides(config, LABELED, UNLABELED)
    numbers, device = count(), ground.machine.device
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

    def ours() -> None:
        unlabeled = stream[next(numbers)].to(device).unlabeled
        assert unlabeled is not None, "asked for"
        for view in unlabeled.views:
            recoloured(unlabeled.images_BTCHW, view, lambda pixels: (pixels - mean) / std)

    timed = alternate(
        {"fast": ours, PLAIN: lambda: next(plain)}, rounds=ground.rounds, device=device, budget=ground.budget
    )
    sides = {name: side.divided(UNLABELED) for name, side in timed.items()}
    facts = {"crop": config.crop, "images": _named(images, ground), "note": "with one labeled crop for eight unlabeled"}
    yield Row(name=f"unlabeled/{images.name}", unit="sample", sides=sides, facts=facts)


def _named(images: Images, ground: Ground) -> str:
    return ground.images if images is SMALL else "drawn PNG of 2048 x 1024"


def _sides(config: DataConfig, labeled: int, unlabeled: int) -> tuple[TrainStream, Iterator[object]]:
    """Return our batches and the plain ones, both read in this process."""
    dataset = load_dataset(config)
    stream = TrainStream(
        dataset,
        config,
        Division(labeled=labeled, unlabeled=unlabeled),
        strong=StrongViewConfig(),
        views=2,
        seed=0,
        steps=1_000_000,
    )
    norm = Norm(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD))
    parts = (
        Labeled(dataset.labeled, config.crop, config.scale, norm),
        Unlabeled(dataset.unlabeled, config.crop, config.scale, norm),
    )
    return stream, batches(*parts, (labeled, unlabeled), 0, pin=False)


BENCHES = (
    *(
        Bench(
            name=f"{kind}/{images.name}", measure=lambda ground, images=images, measure=measure: measure(images, ground)
        )
        for kind, measure in (("loader", measure_loader), ("unlabeled", measure_unlabeled))
        for images in (SMALL, LARGE)
    ),
    Bench(name="loader/jpeg4000", measure=measure_photographs),
)
