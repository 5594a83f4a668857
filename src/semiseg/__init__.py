"""Train segmentation models from few labels and many unlabeled images.

>>> import semiseg
>>> run = semiseg.train(semiseg.recipe_config("camvid-cpu", ["--data.root", "camvid", "--data.split", "1_16"]))
>>> mask_HW = semiseg.load(run.path).mask("photo.jpg")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from semiseg.api import TrainedRun, evaluate, train
    from semiseg.config import Config
    from semiseg.config.recipe import recipe_config
    from semiseg.errors import SemisegError
    from semiseg.exporting import export
    from semiseg.machine import doctor
    from semiseg.methods import Method, register_method
    from semiseg.models import ModelConfig, Segmenter, build_segmenter
    from semiseg.planning import plan
    from semiseg.prediction import Predictor, predict
    from semiseg.prediction.predictor import load
    from semiseg.quickstart import demo
    from semiseg.reporting import report
    from semiseg.reporting.comparison import compare
    from semiseg.suggestion import suggest
    from semiseg.teaching import distill

# Loaded on first use, so that `import semiseg` and `semiseg -h` do not wait seconds for torch.
_HOMES = {
    "Config": "semiseg.config",
    "Method": "semiseg.methods",
    "ModelConfig": "semiseg.models",
    "Predictor": "semiseg.prediction",
    "Segmenter": "semiseg.models",
    "SemisegError": "semiseg.errors",
    "TrainedRun": "semiseg.api",
    "build_segmenter": "semiseg.models",
    "compare": "semiseg.reporting.comparison",
    "demo": "semiseg.quickstart",
    "distill": "semiseg.teaching",
    "doctor": "semiseg.machine",
    "evaluate": "semiseg.api",
    "export": "semiseg.exporting",
    "load": "semiseg.prediction.predictor",
    "plan": "semiseg.planning",
    "predict": "semiseg.prediction",
    "recipe_config": "semiseg.config.recipe",
    "register_method": "semiseg.methods",
    "report": "semiseg.reporting",
    "suggest": "semiseg.suggestion",
    "train": "semiseg.api",
}

__all__ = [
    "Config",
    "Method",
    "ModelConfig",
    "Predictor",
    "Segmenter",
    "SemisegError",
    "TrainedRun",
    "build_segmenter",
    "compare",
    "demo",
    "distill",
    "doctor",
    "evaluate",
    "export",
    "load",
    "plan",
    "predict",
    "recipe_config",
    "register_method",
    "report",
    "suggest",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'semiseg' has no attribute {name!r}")
