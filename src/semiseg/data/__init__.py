"""From files to batches: reading, data sets, geometry and the counted stream of a run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semiseg.data.batch import Batch, Labeled, PixelCounts, Place, Unlabeled
    from semiseg.data.check import check_dataset, check_labeled
    from semiseg.data.config import DataConfig
    from semiseg.data.datasets import Dataset, load_dataset
    from semiseg.data.judging import Judges, find_judges
    from semiseg.data.lists import Sample
    from semiseg.data.opening import RunData, open_data
    from semiseg.data.quarantine import Quarantine
    from semiseg.data.spec import DatasetSpec
    from semiseg.data.stream import Division, TrainStream
    from semiseg.data.taught import check_labels
    from semiseg.data.workers import iterate, loader_workers

# Loaded on first use: the settings of this room are read without torch, which takes seconds to import.
_HOMES = {
    "Batch": "semiseg.data.batch",
    "DataConfig": "semiseg.data.config",
    "Dataset": "semiseg.data.datasets",
    "DatasetSpec": "semiseg.data.spec",
    "Division": "semiseg.data.stream",
    "Judges": "semiseg.data.judging",
    "Labeled": "semiseg.data.batch",
    "PixelCounts": "semiseg.data.batch",
    "Place": "semiseg.data.batch",
    "Quarantine": "semiseg.data.quarantine",
    "RunData": "semiseg.data.opening",
    "Sample": "semiseg.data.lists",
    "TrainStream": "semiseg.data.stream",
    "Unlabeled": "semiseg.data.batch",
    "check_dataset": "semiseg.data.check",
    "check_labeled": "semiseg.data.check",
    "check_labels": "semiseg.data.taught",
    "find_judges": "semiseg.data.judging",
    "iterate": "semiseg.data.workers",
    "load_dataset": "semiseg.data.datasets",
    "loader_workers": "semiseg.data.workers",
    "open_data": "semiseg.data.opening",
}

__all__ = [
    "Batch",
    "DataConfig",
    "Dataset",
    "DatasetSpec",
    "Division",
    "Judges",
    "Labeled",
    "PixelCounts",
    "Place",
    "Quarantine",
    "RunData",
    "Sample",
    "TrainStream",
    "Unlabeled",
    "check_dataset",
    "check_labeled",
    "check_labels",
    "find_judges",
    "iterate",
    "load_dataset",
    "loader_workers",
    "open_data",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
