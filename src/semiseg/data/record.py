"""What a run keeps of its data: the lists it learned from and was evaluated on, and what told each file's content.

`labeled.txt`, `unlabeled.txt` and `val.txt` are as any list; files outside of the data folder stand there by their
whole path. `files.tsv` holds SHA-256 (or -), bytes, time of change in nanoseconds and name; `source.json` the data
folder, what the values of masks stand for, and what named the val images. Of images that an index holds neither has
lines: `unlabeled.arrow` is a copy of that index, and `source.json` names its folders.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from semiseg.data.config import DataConfig
from semiseg.data.datasets import Dataset, load_dataset
from semiseg.data.fingerprints import Fingerprint
from semiseg.data.index import ImageIndex, IndexedSamples, in_memory, index_of
from semiseg.data.lists import Sample, line_fields, listed_name, read_list, write_list
from semiseg.data.source import open_source
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError, some
from semiseg.files import whole_folder, write_text

_PARTS = ("labeled", "unlabeled", "val")
_FILES, _SOURCE, _INDEX = "files.tsv", "source.json", "unlabeled.arrow"


@dataclass(frozen=True)
class Record:
    """What a run keeps of its data.

    Attributes:
        folder: where it is kept.
        dataset: the samples as the run had them, in the data folder as it is now.
        root: the data folder as it was, from the disk's root.
        files: what told each file's content, by its name in the lists.
        facts: what a mask's values stood for.
    """

    folder: Path
    dataset: Dataset
    root: Path
    files: Mapping[str, Fingerprint]
    facts: Mapping[str, Any]

    def name(self, path: Path | str) -> str:
        """Return the name of a file in the lists, for a path below the data folder as it is now."""
        return listed_name(Path(path), self.dataset.root)

    def changed(self, files: Mapping[str, Fingerprint]) -> list[str]:
        """Return the names of those files (by their paths) whose content is not what it was."""
        named = ((self.name(path), now) for path, now in files.items())
        return [name for name, now in named if name in self.files and not self.files[name].is_like(now)]

    def refuse_changes(self, files: Mapping[str, Fingerprint], also: Sequence[str] = ()) -> None:
        """Check that what the run continues with is what it began with.

        Args:
            files: every file's path now and what tells its content.
            also: files that were found to be gone or changed, beside these.

        Raises:
            DataError: a file has another content, or the values of masks another meaning.
        """
        now = _facts(self.dataset.spec)
        # A run that an earlier version began has kept fewer facts.
        differing = [key for key in now if now[key] != self.facts.get(key, now[key])]
        if differing:
            lines = [f"\n    {key}: {self.facts.get(key)!r} in the run, {now[key]!r} now" for key in differing]
            raise DataError(
                "the data set is described in another way than when the run began:" + "".join(lines),
                where=self.dataset.root / "dataset.yaml",
                remedy="restore dataset.yaml, or start a new run with --run.name NAME",
            )
        changed = [*self.changed(files), *also]
        if changed:
            raise DataError(
                f"{len(changed):,} files are not what they were when the run began: {some(changed)}",
                where=self.folder / _FILES,
                expected="the same content, so that the run ends as it would have",
                remedy="restore these files, or start a new run with --run.name NAME to learn from them",
            )

    def unused(self, config: DataConfig, *, unlabeled: bool) -> list[str]:
        """Return the names of images that this run has not and a new one, with or without unlabeled ones, would.

        Those of an index are left to `semiseg.data.indexing.find_changes`.
        """
        is_indexed = index_of(self.dataset.unlabeled) is not None
        try:
            now = load_dataset(replace(config, index=None, unlabeled=() if is_indexed else config.unlabeled))
        except DataError:  # the lists of the run need no other
            return []
        now = now if unlabeled else replace(now, unlabeled=())
        known = {self.name(path) for sample in _samples(self.dataset) for path in sample.frames}
        names = (self.name(path) for sample in _samples(now) for path in sample.frames)
        return sorted({name for name in names if name not in known})


def write_record(folder: Path, dataset: Dataset, files: Mapping[str, Fingerprint]) -> None:
    """Write what a run keeps of its data.

    Args:
        folder: where to keep it.
        dataset: the samples.
        files: every file's path and what tells its content.

    Raises:
        DataError: a file's name cannot stand in a list.
        FileError: it cannot be written.
    """
    lines = [
        f"{print_.sha256 or '-'}\t{print_.size}\t{print_.changed_ns}\t{listed_name(Path(path), dataset.root)}\n"
        for path, print_ in files.items()
    ]
    source = {"root": str(dataset.root.absolute()), "val": dataset.val_origin, **_facts(dataset.spec)}
    index = index_of(dataset.unlabeled)
    if index:
        source["index"] = [listed_name(folder, dataset.root) for folder in index.sources]
    with whole_folder(folder) as draft:
        for part in _PARTS:
            write_list(draft / f"{part}.txt", in_memory(getattr(dataset, part)), dataset.root)
        if index:
            shutil.copyfile(index.path, draft / _INDEX)
        write_text(draft / _FILES, "".join(lines))
        write_text(draft / _SOURCE, json.dumps(source, indent=1) + "\n")


def read_record(folder: Path, config: DataConfig) -> Record | None:
    """Read what a run has kept of its data; None if it kept nothing.

    Args:
        folder: where it is kept.
        config: the run's settings; its data folder may be another one than it was.

    Raises:
        DataError: it is damaged, or there is no data folder.
    """
    if not (folder / _SOURCE).is_file():
        return None
    source = open_source(config)
    files = _files(folder)
    labeled, unlabeled, val = (
        tuple(read_list(folder / f"{part}.txt", source.root, source.spec, anywhere=True)) for part in _PARTS
    )
    try:
        kept = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
        origin = str(kept.pop("val"))
        dataset = Dataset(source.spec, labeled, unlabeled, val, root=source.root, val_origin=origin)
        root = Path(kept.pop("root"))
        indexed = [source.root / str(name) for name in kept.pop("index", ())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error
    if indexed:
        index = ImageIndex(folder / _INDEX, indexed)
        index.verify()
        dataset = replace(dataset, unlabeled=IndexedSamples(unlabeled, index, source.root))
    return Record(folder, dataset, root, files, kept)


def same_samples(one: Path, other: Path, part: Literal["labeled", "unlabeled", "val"]) -> bool | None:
    """Whether two runs had the same files in one of their lists, by name and content; the data may be gone.

    Args:
        one: where a run keeps its lists.
        other: where another run keeps its own.
        part: the list.

    Returns:
        None if one of them has kept nothing.

    Raises:
        DataError: what one of them has kept is damaged.
    """
    if not all((folder / _SOURCE).is_file() for folder in (one, other)):
        return None
    lines = _lines(one, part)
    if lines != _lines(other, part) or (part == "unlabeled" and not _same_index(one / _INDEX, other / _INDEX)):
        return False
    words, ours, theirs = {word for line in lines for word in line_fields(line)}, _files(one), _files(other)
    # A line of a pair names the same file in several folders.
    named = [name for name in ours if name in words or name.partition("/")[2] in words]
    return all(name in theirs and ours[name].is_like(theirs[name]) for name in named)


def _same_index(one: Path, other: Path) -> bool:
    """Whether two runs had the same images of an index, or neither had one."""
    if not (one.is_file() and other.is_file()):
        return one.is_file() == other.is_file()
    ours, theirs = ImageIndex(one, ()), ImageIndex(other, ())
    return ours.sha256 == theirs.sha256 or ours.same_images(theirs)


def _lines(folder: Path, part: str) -> set[str]:
    try:
        return set((folder / f"{part}.txt").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error


def _files(folder: Path) -> dict[str, Fingerprint]:
    try:
        return dict(map(_fingerprint, (folder / _FILES).read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(
        f"what the run kept of its data is damaged ({error})",
        where=folder,
        remedy="restore the folder, or start a new run with --run.name NAME",
    )


def _fingerprint(line: str) -> tuple[str, Fingerprint]:
    sha256, size, changed_ns, name = line.split("\t", 3)
    return name, Fingerprint(int(size), int(changed_ns), None if sha256 == "-" else sha256)


def _facts(spec: DatasetSpec) -> dict[str, Any]:
    """Return what the values of masks stand for and how images are shown, as JSON gives it back."""
    values = None if spec.mask_values is None else {str(value): id_ for value, id_ in spec.mask_values.items()}
    colours = [[list(colour), id_] for colour, id_ in spec.colour_key.ids.items()] if spec.by_colour else None
    facts = {"classes": list(spec.classes), "ignore_value": spec.ignore_value, "mask_values": values}
    levels = [list(pair) for pair in spec.levels]
    return {**facts, "colours": colours, "bands": list(spec.bands), "levels": levels}


def _samples(dataset: Dataset) -> Iterable[Sample]:
    return (*dataset.labeled, *in_memory(dataset.unlabeled), *dataset.val)
