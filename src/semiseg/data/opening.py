"""What a run begins with, or continues with: its samples, found or remembered, and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semiseg.data.check import check_dataset
from semiseg.data.config import DataConfig
from semiseg.data.datasets import Dataset, load_dataset
from semiseg.data.findings import Alone, Findings, Peers
from semiseg.data.fingerprints import Fingerprint
from semiseg.data.index import in_memory, index_of, named
from semiseg.data.indexing import Changes, current_index, find_changes
from semiseg.data.lists import list_line, listed_name
from semiseg.data.manifest import changed_file, find_manifest, read_manifest
from semiseg.data.quarantine import Quarantine, read_quarantine, write_quarantine
from semiseg.data.record import Record, read_record, write_record
from semiseg.data.source import open_source
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError, SemisegError, some


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The data of a run, checked.

    Attributes:
        folder: where the run keeps its lists.
        dataset: the samples, and in its notes all that is to be said of them.
        files: every file's path and what tells its content.
        quarantine: the unlabeled samples that were found to be damaged while training, and still are.
        recorded: whether the run has kept its lists before.
    """

    folder: Path
    dataset: Dataset
    files: Mapping[str, Fingerprint]
    quarantine: Quarantine
    recorded: bool

    def keep(self) -> None:
        """Write the lists and fingerprints of a run that has none yet; see `semiseg.data.record`."""
        if not self.recorded:
            write_record(self.folder, self.dataset, self.files)
        write_quarantine(self.folder, self.quarantine.known)


def open_data(
    config: DataConfig,
    folder: Path,
    *,
    resumed: bool,
    unlabeled: bool,
    peers: Peers | None = None,
    tick: Tick = no_tick,
) -> RunData:
    """Find the samples of a run, or read those that it kept, and check them.

    Args:
        config: the settings.
        folder: where the run keeps its lists, or will.
        resumed: whether the run is to be continued.
        unlabeled: whether the method uses unlabeled images; if not, the run has none.
        peers: the processes that share the check; each of them must call.
        tick: called with the number of samples checked and of all, of this process.

    Raises:
        DataError: as `load_dataset` and `check_dataset`; a file's name cannot stand in a list; files are not what they
            were when the run began, or when their checksums were written; or too many are damaged.
    """
    peers = peers or Alone()
    record = read_record(folder, config) if resumed else None
    if record is None and config.index is not None and unlabeled and peers.count > 1:
        _by_the_first(peers, lambda: current_index(config, open_source(config).spec, tick))
    dataset = record.dataset if record else load_dataset(config, tick)
    if not unlabeled:
        dataset = replace(dataset, unlabeled=())
    for sample in (*dataset.labeled, *in_memory(dataset.unlabeled), *dataset.val):
        list_line(sample, dataset.root)  # refuse a name that `keep` could not write
    known = read_quarantine(folder) if resumed else {}
    found = check_dataset(dataset, config.max_pixels, unlabeled=unlabeled, peers=peers, damaged=known, tick=tick)
    dataset = _with_checksums(dataset, config, found)
    notes = (*dataset.notes, *found.notes(dataset.spec), *found.large(dataset.spec, config.crop), *found.similarities())
    if record:
        replaceable = {str(path) for sample in named(dataset.unlabeled, known) for path in sample.frames}
        index = index_of(dataset.unlabeled)
        changes = find_changes(index) if index else Changes(lost=[], fresh=[])
        record.refuse_changes(
            {path: file for path, file in found.files.items() if path not in replaceable},
            also=[path for path in changes.lost if path not in replaceable],
        )
        notes += _continued(record, config, unlabeled, changes.fresh)
    elif resumed:
        notes += ("this run has kept no lists: its images are drawn anew, and kept from now on",)
    mended = sorted(known.keys() - found.damaged.keys())
    if mended:
        notes += (f"{len(mended)} images that were damaged can be read, and are used from now on: {some(mended)}",)
    quarantine = Quarantine(
        folder, images=len(dataset.unlabeled), share=config.quarantine, peers=peers, known=found.damaged
    )
    quarantine.refuse_many()
    return RunData(
        folder=folder,
        dataset=replace(dataset, notes=notes),
        files=found.files,
        quarantine=quarantine,
        recorded=record is not None,
    )


def _by_the_first(peers: Peers, action: Callable[[], object]) -> None:
    """Let the first process do what the others find done; if it fails, it fails in all.

    Raises:
        DataError: it failed.
    """
    fault = ""
    if peers.rank == 0:
        try:
            action()
        except SemisegError as error:
            fault = str(error)
    if fault := peers.gather_texts(fault)[0]:
        raise DataError.of_text(fault)


def _with_checksums(dataset: Dataset, config: DataConfig, found: Findings) -> Dataset:
    """Hold what was hashed against the checksums of the data set, if it has some; the rest when it is read."""
    path = find_manifest(config)
    if path is None:
        return dataset
    sums = read_manifest(path)
    names = ((listed_name(Path(file), dataset.root), print_.sha256) for file, print_ in found.files.items())
    changed = [dataset.root / name for name, sha256 in names if sha256 and sums.get(name, sha256) != sha256]
    Findings(faults=[(number, str(changed_file(file))) for number, file in enumerate(changed)]).raise_faults()
    return replace(dataset, checksums=sums, notes=(*dataset.notes, f"files are held against {path} when they are read"))


def _continued(record: Record, config: DataConfig, unlabeled: bool, fresh: Sequence[str]) -> tuple[str, ...]:
    """Say what the run continues with, and what it does not use."""
    unused = [*record.unused(config, unlabeled=unlabeled), *map(record.name, fresh)]
    new = f"{len(unused):,} images are new since the run began, and not used by it: {some(unused)}"
    return (f"the lists of the run are used, {record.folder}", *([new] if unused else []))
