"""The images that could be labeled next, and those that are labeled already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semiseg.data import DataConfig, DatasetSpec, Sample, load_dataset
from semiseg.data.datasets import each_once, further_images, load_pool
from semiseg.data.folders import find_samples
from semiseg.data.indexing import further_sources
from semiseg.data.source import Source, find_lists, open_source
from semiseg.data.spec import PAIRS
from semiseg.errors import DataError
from semiseg.seeding import rng


@dataclass(frozen=True, kw_only=True)
class Pool:
    """What is to be chosen from.

    Attributes:
        spec: of the data set; of a folder of images alone it has no classes.
        root: the data folder.
        labeled: samples with a mask to learn from; they count as chosen.
        unlabeled: samples to choose from.
        notes: what is to be said of the search.
    """

    spec: DatasetSpec
    root: Path
    labeled: Sequence[Sample]
    unlabeled: Sequence[Sample]
    notes: tuple[str, ...] = ()

    def drawn(self, count: int, seed: int) -> Pool:
        """Return the pool with at most `count` unlabeled samples, drawn at random where there are more."""
        if len(self.unlabeled) <= count:
            return self
        order = sorted(rng(seed, "suggestion pool").permutation(len(self.unlabeled))[:count].tolist())
        note = f"{count:,} of {len(self.unlabeled):,} unlabeled images are looked at, drawn at random (--pool)"
        return replace(self, unlabeled=[self.unlabeled[index] for index in order], notes=(*self.notes, note))


def find_pool(config: DataConfig) -> Pool:
    """Find the images of a data folder, or of a folder of images alone; val and test images are in no part of it.

    Raises:
        DataError: as `load_dataset`, or there is nothing to choose from.
    """
    root = Path(config.root or "")
    pool = _of_images(root) if _is_bare(config, root) else _of_data_set(open_source(config))
    if not pool.unlabeled:
        raise DataError(
            "no image is left to be labeled",
            where=root,
            expected=f"images without a mask; {len(pool.labeled):,} have one",
            remedy="add images, or name more folders with --data.unlabeled",
        )
    return pool


def _is_bare(config: DataConfig, root: Path) -> bool:
    """Whether a folder says nothing of classes yet: nobody has labeled anything in it."""
    is_pairs = all((root / folder).is_dir() for folder in PAIRS.frames)
    says_nothing = config.spec is None and not is_pairs and not (root / "dataset.yaml").is_file()
    return config.root is not None and root.is_dir() and says_nothing


def _of_images(root: Path) -> Pool:
    folder = "images" if (root / "images").is_dir() else ""
    spec = DatasetSpec(name=root.resolve().name, classes=(), frames=(folder,))
    found = find_samples(root, spec, masks=False)
    return Pool(spec=spec, root=root, labeled=(), unlabeled=found.samples)


def _of_data_set(source: Source) -> Pool:
    """Find what a training would learn from; without lists every image with a mask is labeled."""
    config = source.config
    if find_lists(source) or (config.split and config.split != "all"):
        dataset = load_dataset(config)
        return Pool(
            spec=dataset.spec,
            root=dataset.root,
            labeled=dataset.labeled,
            unlabeled=dataset.unlabeled,
            notes=dataset.notes,
        )
    found = load_pool(source)
    notes, unlabeled = [*found.notes], found.unmasked
    for folder in further_sources(config):
        unlabeled = unlabeled + further_images(folder, source, notes)
    return Pool(
        spec=source.spec,
        root=source.root,
        labeled=found.masked,
        unlabeled=each_once(unlabeled, notes),
        notes=tuple(notes),
    )
