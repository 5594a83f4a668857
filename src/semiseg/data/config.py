"""The settings of a run's data."""

from __future__ import annotations

from dataclasses import dataclass

from semiseg.data.reading import MAX_PIXELS
from semiseg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images a run learns from, and how they are cut."""

    root: str | None = None
    """Folder with `images/`, `masks/` and `dataset.yaml`, or with pairs in `A/` and `B/` and masks in `label/`; paths
    in lists are relative to it. Required."""
    spec: str | None = None
    """Name of a data set the package knows (`pascal`, `cityscapes`, `ade20k`, `coco`, `camvid`, `levir`, `whu`), for a
    root without `dataset.yaml`. Default: `dataset.yaml`."""
    split: str | None = None
    """Which images are labeled: the name of a folder under `splits/`, the path of a folder that holds `labeled.txt`
    (and perhaps `unlabeled.txt`), a published split of the data set (`92`, `1_16`; `5` of LEVIR-CD is 5 %), `all`, or
    a number of images; the first of these that there is. Default: every image with a mask."""
    splits: str | None = None
    """Folder that holds lists as published (`pascal/92/labeled.txt`, `pascal/val.txt`). Default: downloaded from their
    publisher when wanted."""
    val: str | None = None
    """List file of the images to evaluate on. Default: `lists.val` of `dataset.yaml`, `splits/val.txt`, the published
    list, `images/val/`, else a held-out part of the images with a mask."""
    held_out: float = 0.2
    """Part of the images with a mask that is held out for evaluation where no val images are named, 0 to 0.9."""
    split_seed: int = 0
    """Seed of the draws of `split` by number and of the held-out part."""
    unlabeled: tuple[str, ...] | str = ()
    """More unlabeled images: a folder anywhere on disk (of pairs: with `A/` and `B/`), or a list `[FOLDER, FOLDER]`."""
    teacher: str | None = None
    """Folder with the labels that a trained teacher gave the unlabeled images, as `semiseg distill` makes them.
    FixMatch and UniMatch V2 learn these in place of those of their own average; see `consistency.own_from`."""
    index: str | None = None
    """Index of the images of `data.unlabeled`, a file ending in `.arrow` (extra `scale`): for many hundreds of
    thousands of images and for tar archives of images, which `data.unlabeled` may name then. The first `semiseg data
    check` or training that names it writes it; those after it start in seconds and look at what is new. Default: none,
    each start looks at every image."""
    accepted: str | None = None
    """A list of further labeled images, anywhere on disk, `IMAGE MASK` a line, relative to the list's folder: what
    `semiseg app` writes of the pseudo-labels of its queue that you accepted. Its masks are machine-made, so that
    `accept_predicted` is needed too."""
    crop: int = 518
    """Side of the training crop in pixels, a multiple of the encoder's patch (518 = 37 x 14, arXiv 2410.10777)."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest random scale of the long side, above 0 (published: 0.5 to 2)."""
    labeled_epoch: int = 0
    """Labeled-only training: samples of an epoch, the list repeated to at least as many (published: 3000 to 30000)."""
    workers: int = -1
    """Loader processes for each training process; 0 loads in the training process; -1: from the number of cores."""
    cache: float = 0.0
    """Gigabytes of decoded images and masks to keep in `decoded/` of the user's cache (`$SEMISEG_CACHE`, else
    `~/.cache/semiseg`), half of them for labeled ones, so that a file is decoded once and not in every epoch; 0: none.
    It pays for PNGs of megapixels: 2048 x 1024 takes 6 MB."""
    long_side: int | None = None
    """For photographs much larger than the crop: images whose longer side is longer are read reduced to so many pixels,
    32 or more, masks with them. Training, evaluation and pictures see the smaller images; the model keeps the number,
    and its predictions come back in the size of each photograph. Default: as large as they are."""
    max_pixels: int = MAX_PIXELS
    """Largest image that is opened, in pixels."""
    manifest: str | None = None
    """Checksums that every file is held against when it is read, as `semiseg data check` and sha256sum write them.
    Default: `manifest.sha256` in the data folder, if there is one."""
    quarantine: float = 0.01
    """Part of the unlabeled images that may turn out to be damaged while training, 0 to 1, three at least unless it is
    0: others are drawn in their place, and `quarantine.json` in the run lists them."""
    accept_predicted: bool = False
    """Take masks that `semiseg predict` wrote for labels. Else they are refused: a model would learn its own mistakes,
    and be judged by them."""

    def __post_init__(self) -> None:
        low, high = self.scale
        self._require("scale", 0 < low <= high, "0 < smallest <= largest")
        self._require("held_out", 0 <= self.held_out <= 0.9, "a part from 0 to 0.9")
        self._require("quarantine", 0 <= self.quarantine <= 1, "a part from 0 to 1")
        self._require("cache", self.cache >= 0, "gigabytes, 0 or more")
        self._require("long_side", self.long_side is None or self.long_side >= 32, "32 pixels or more")
        self._require("split_seed", self.split_seed >= 0, "a number >= 0")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigError(
                f"{name} is {getattr(self, name)}",
                where=f"data.{name}",
                expected=expected,
                remedy=f"correct --data.{name}, or leave it out",
            )
