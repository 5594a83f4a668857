"""From files to batches: reading, data sets, geometry and the counted stream of a run."""

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
