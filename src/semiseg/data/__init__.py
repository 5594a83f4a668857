"""From files to batches: reading, data sets, geometry and the counted stream of a run."""

from semiseg.data.batch import Batch, Labeled, PixelCounts, Place, Unlabeled
from semiseg.data.check import check_dataset, check_labeled
from semiseg.data.config import DataConfig
from semiseg.data.datasets import Dataset, load_dataset, load_val
from semiseg.data.lists import Sample
from semiseg.data.spec import DatasetSpec
from semiseg.data.stream import Division, TrainStream, iterate, loader_workers

__all__ = [
    "Batch",
    "DataConfig",
    "Dataset",
    "DatasetSpec",
    "Division",
    "Labeled",
    "PixelCounts",
    "Place",
    "Sample",
    "TrainStream",
    "Unlabeled",
    "check_dataset",
    "check_labeled",
    "iterate",
    "load_dataset",
    "load_val",
    "loader_workers",
]
