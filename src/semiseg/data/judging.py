"""Which images a finished model is evaluated on, and what has to be said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semiseg.data.config import DataConfig
from semiseg.data.datasets import Val, load_dataset, named_val
from semiseg.data.fingerprints import Fingerprint
from semiseg.data.folders import find_samples, passed_over, real_paths
from semiseg.data.index import in_memory, index_of
from semiseg.data.record import Record, read_record
from semiseg.data.source import Source, open_source
from semiseg.data.spec import DatasetSpec
from semiseg.errors import DataError, some


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Samples to evaluate a finished model on.

    Attributes:
        spec: what the data set is.
        val: the samples, and what named them.
        record: what the model's run kept of its data, if it kept anything.
        notes: what was decided on the user's behalf.
    """

    spec: DatasetSpec
    val: Val
    record: Record | None
    notes: tuple[str, ...] = ()

    def trained_on(self, files: Mapping[str, Fingerprint]) -> list[str]:
        """Return the samples that the run has seen in training, also under other names or as copies.

        A copy of an unlabeled image is known by its name, size and time of change alone, as it was not hashed; of
        images of an index only the files themselves are known again.

        Args:
            files: every file's path and what tells its content.
        """
        if self.record is None:
            return []
        record, index = self.record, index_of(self.record.dataset.unlabeled)
        trained = (*record.dataset.labeled, *in_memory(record.dataset.unlabeled))
        seen = [record.name(path) for sample in trained for path in sample.frames]
        hashes = {record.files[name].sha256 for name in seen if name in record.files} - {None}
        facts = {(name, *record.files[name][:2]) for name in seen if name in record.files}
        real = set(real_paths(record.root / name for name in seen))
        samples = [(sample.id, path) for sample in self.val.samples for path in sample.frames]
        real |= index.find(real_paths(path for _, path in samples)).keys() if index else set()
        found = [
            id_
            for (id_, path), real_path in zip(samples, real_paths(path for _, path in samples), strict=True)
            if real_path in real
            or files[str(path)].sha256 in hashes
            or (record.name(path), *files[str(path)][:2]) in facts
        ]
        return list(dict.fromkeys(found))

    def changed(self, files: Mapping[str, Fingerprint]) -> tuple[str, ...]:
        """Say which files of the run's own list are not what they were when it began."""
        changed = self.record.changed(files) if self.record else []
        count = f"{len(changed):,} of {len(files):,} files"
        return (f"{count} are not what they were when the run began: {some(changed)}",) if changed else ()


def find_judges(config: DataConfig | None, trained: DataConfig | None, kept: Path) -> Judges:
    """Find the samples to evaluate a model on.

    Where no data is named these are the val images of the model's own run. In a folder that is named they are the val
    images that a list or the folder `val` names there; without them the run's own, if the folder holds the run's data,
    else every image with a mask.

    Args:
        config: the data that the user names, or None.
        trained: the data settings of the run that the model lies in, or None.
        kept: where that run keeps its lists.

    Raises:
        DataError: no data is named, or it cannot be found.
    """
    settings = config or trained
    if settings is None:
        raise DataError("no data named", where=kept.parent, remedy="pass --data.root FOLDER (and --data.val LIST)")
    record = read_record(kept, settings)
    if config is None:
        return _own(record, settings)
    source = open_source(config)
    val = named_val(source)
    if not val.samples and record and _holds(record):
        return _own(record, settings)
    val = val if val.samples else _whole(source)
    return Judges(spec=source.spec, val=val, record=record, notes=val.notes)


def _own(record: Record | None, config: DataConfig) -> Judges:
    if record is None:
        dataset = load_dataset(config)
        note = "the run has kept no list of its val images: they are drawn anew"
        return Judges(spec=dataset.spec, val=Val(dataset.val, dataset.val_origin), record=None, notes=(note,))
    dataset = record.dataset
    origin = f"the run's own list {record.folder / 'val.txt'} ({dataset.val_origin})"
    return Judges(spec=dataset.spec, val=Val(dataset.val, origin), record=record)


def _holds(record: Record) -> bool:
    """Whether the data folder holds the run's val images and their masks."""
    paths = [path for sample in record.dataset.val for path in (*sample.frames, sample.mask) if path]
    return bool(paths) and all(path.is_file() and _size(record, path) == path.stat().st_size for path in paths)


def _size(record: Record, path: Path) -> int:
    return record.files[record.name(path)].size if record.name(path) in record.files else -1


def _whole(source: Source) -> Val:
    found = find_samples(source.root, source.spec)
    samples = tuple(sample for sample in found.samples if sample.mask)
    notes = (f"passed over: {passed_over(found.passed_over)}",) if found.passed_over else ()
    return Val(samples, f"every image with a mask in {source.root}, as no list names val images there", notes)
