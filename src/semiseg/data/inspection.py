"""Everything that can be said of a data set before it is trained on: the verb `data check`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.data.check import look_at_all, refuse_ignored_class
from semiseg.data.config import DataConfig
from semiseg.data.datasets import Dataset, load_dataset
from semiseg.data.findings import Findings
from semiseg.data.index import in_memory
from semiseg.data.lists import listed_name
from semiseg.data.looking import look_at_images
from semiseg.data.manifest import NAME, changed_file, find_manifest, read_manifest, write_manifest
from semiseg.data.source import open_source, read_source_list
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError

_PARTS = ("labeled", "unlabeled", "val")


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found.

    Attributes:
        dataset: the samples.
        found: what each file is.
        faults: what has to be mended before training, each a whole message.
        unlisted: number of files that the checksums do not name; 0 where there are no checksums.
        manifest: the checksums that the files were held against, or that were written.
        crop: side of a training crop.
    """

    dataset: Dataset
    found: Findings
    faults: tuple[str, ...]
    unlisted: int
    manifest: Path | None
    crop: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What is no fault and good to know."""
        spec, found = self.dataset.spec, self.found
        notes = (*self.dataset.notes, *found.notes(spec), *found.large(spec, self.crop), *found.similarities())
        if self.unlisted:
            notes += (f"{self.unlisted:,} files are not in {self.manifest}; --manifest adds them",)
        return notes

    def classes(self) -> list[dict[str, Any]]:
        """Return for each class how many masks of each part show it, and which part of their pixels it has."""
        return [
            {"name": name} | self._shares("labeled", id_) | self._shares("val", id_)
            for id_, name in enumerate(self.dataset.spec.classes)
        ]

    def _shares(self, part: str, id_: int) -> dict[str, float]:
        images, pixels = self.found.images.get(part, {}), self.found.pixels.get(part, {})
        counted = sum(count for value, count in pixels.items() if value != self.dataset.spec.ignore_value)
        return {f"{part}_images": images.get(id_, 0), f"{part}_share": pixels.get(id_, 0) / max(counted, 1)}

    def facts(self) -> dict[str, Any]:
        """Return all of it for scripts, in types that JSON knows."""
        return {
            "root": str(self.dataset.root),
            "sound": not self.faults,
            "samples": {part: len(getattr(self.dataset, part)) for part in _PARTS},
            "val": self.dataset.val_origin,
            "faults": list(self.faults),
            "notes": list(self.notes),
            "alike": [{"train": train, "val": val} for train, val in self.found.alike()],
            "classes": self.classes(),
            "manifest": str(self.manifest) if self.manifest else None,
        }


def inspect_data(
    config: DataConfig,
    *,
    listed: Path | None = None,
    manifest: Path | None = None,
    tick: Tick = no_tick,
) -> Inspection:
    """Decode and hash every file of a data set, unlabeled ones too, and compare training and val images.

    Args:
        config: the data set, as a training would find it.
        listed: a list of images, to look at these alone.
        manifest: where to write checksums. Those that are there stay, as they may tell of files that changed since.
        tick: called with the number of samples done and of all.

    Raises:
        DataError: as `load_dataset`: no such data set, or lists that contradict each other.
        FileError: the checksums cannot be written.
    """
    dataset = load_dataset(config, tick) if listed is None else _of_list(config, listed)
    found = look_at_all(dataset, config.max_pixels, unlabeled=look_at_images, tick=tick)
    known = manifest if manifest and manifest.exists() else find_manifest(config)
    sums = read_manifest(known) if known else {}
    files = {listed_name(Path(path), dataset.root): file.sha256 or "" for path, file in found.files.items()}
    changed = [name for name, sha256 in files.items() if sums.get(name, sha256) != sha256]
    faults = [
        *found.messages(),
        *_ignored(found, dataset),
        *(str(changed_file(dataset.root / name)) for name in changed),
    ]
    faults += _copies(dataset, found)
    if manifest:
        write_manifest(manifest, files | sums)
    unlisted = len(files.keys() - sums.keys()) if known and not manifest else 0
    return Inspection(
        dataset=dataset,
        found=found,
        faults=tuple(faults),
        unlisted=unlisted,
        manifest=manifest or known,
        crop=config.crop,
    )


def manifest_place(config: DataConfig) -> Path:
    """Return where the checksums of a data set go if nothing else is said."""
    return Path(config.manifest) if config.manifest else Path(config.root or "") / NAME


def _of_list(config: DataConfig, path: Path) -> Dataset:
    """Return the samples of one list."""
    source = open_source(config)
    samples = read_source_list(path, source)
    labeled, unlabeled = (tuple(s for s in samples if bool(s.mask) is masked) for masked in (True, False))
    return Dataset(source.spec, labeled, unlabeled, (), root=source.root)


def _ignored(found: Findings, dataset: Dataset) -> list[str]:
    try:
        refuse_ignored_class(found, dataset.spec)
    except DataError as error:
        return [str(error)]
    return []


def _copies(dataset: Dataset, found: Findings) -> list[str]:
    """Say which val images are byte for byte those of training samples of other names."""

    def contents(parts: tuple[str, ...]) -> Mapping[tuple[str | None, ...], str]:
        samples = [sample for part in parts for sample in in_memory(getattr(dataset, part))]
        whole = [sample for sample in samples if all(str(path) in found.files for path in sample.frames)]
        return {tuple(found.files[str(path)].sha256 for path in sample.frames): sample.id for sample in whole}

    trained, judged = contents(("labeled", "unlabeled")), contents(("val",))
    return [
        str(
            DataError(
                "one picture is trained and evaluated on, under two names",
                where=f"{trained[content]} and {judged[content]}",
                expected="training and val images apart",
                remedy="take one of them out of its list or folder",
            )
        )
        for content in judged
        if content in trained
    ]
