"""What a run begins with, or continues with: its samples, found or remembered, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semiseg.data.check import check_dataset
from semiseg.data.config import DataConfig
from semiseg.data.datasets import Dataset, load_dataset
from semiseg.data.findings import Peers
from semiseg.data.fingerprints import Fingerprint
from semiseg.data.lists import list_line
from semiseg.data.record import Record, read_record, write_record
from semiseg.errors import some


@dataclass(frozen=True)
class RunData:
    """The data of a run, checked.

    Attributes:
        dataset: the samples, and in its notes all that is to be said of them.
        files: every file's path and what tells its content.
        recorded: whether the run has kept them before.
    """

    dataset: Dataset
    files: Mapping[str, Fingerprint]
    recorded: bool

    def keep(self, folder: Path) -> None:
        """Write the lists and fingerprints of a run that has none yet; see `semiseg.data.record`."""
        if not self.recorded:
            write_record(folder, self.dataset, self.files)


def open_data(config: DataConfig, *, kept: Path | None, unlabeled: bool, peers: Peers | None = None) -> RunData:
    """Find the samples of a run, or read those that it kept, and check them.

    Args:
        config: the settings.
        kept: of a run to continue, where it keeps its lists.
        unlabeled: whether the method uses unlabeled images; if not, the run has none.
        peers: the processes that share the check; each of them must call.

    Raises:
        DataError: as `load_dataset` and `check_dataset`; a file's name cannot stand in a list; or files are not what
            they were when the run began.
    """
    record = read_record(kept, config) if kept else None
    dataset = record.dataset if record else load_dataset(config)
    if not unlabeled:
        dataset = replace(dataset, unlabeled=())
    for sample in (*dataset.labeled, *dataset.unlabeled, *dataset.val):
        list_line(sample, dataset.root)  # refuse a name that `keep` could not write
    found = check_dataset(dataset, config.max_pixels, unlabeled=unlabeled, peers=peers)
    notes = (*dataset.notes, *found.notes(dataset.spec))
    if record:
        record.refuse_changes(found.files)
        notes += _continued(record, config, unlabeled)
    elif kept:
        notes += ("this run has kept no lists: its images are drawn anew, and kept from now on",)
    return RunData(replace(dataset, notes=notes), found.files, recorded=record is not None)


def _continued(record: Record, config: DataConfig, unlabeled: bool) -> tuple[str, ...]:
    """Say what the run continues with, and what it does not use."""
    unused = record.unused(config, unlabeled=unlabeled)
    new = f"{len(unused):,} images are new since the run began, and not used by it: {some(unused)}"
    return (f"the lists of the run are used, {record.folder}", *([new] if unused else []))
