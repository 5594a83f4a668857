"""Fetch, where there is a network, what a training would fetch in its first minute where there may be none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from semiseg.assembly import build_method
from semiseg.config import Config
from semiseg.data.source import find_lists, find_val_list, open_source
from semiseg.engine.distributed import Processes
from semiseg.models import build_segmenter, describe_classes


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a training will find."""

    lists: tuple[Path, ...]
    """Lists of images; empty where the images of folders are taken."""
    weights: str
    """The encoder and where its weights come from."""


def fetch(config: Config) -> Fetched:
    """Bring the published lists, and the weights of encoder and method, into their caches on this machine.

    The caches (`semiseg doctor` names them) must lie on a disk that the machine of the training sees, too.

    Args:
        config: of the training.

    Raises:
        SemisegError: something cannot be fetched, or the configuration cannot run.
    """
    source = open_source(config.data)
    lists, val = find_lists(source), find_val_list(source)
    spec = source.spec
    student = build_segmenter(config.model, spec.num_classes, frames=len(spec.frames), seed=config.seed)
    describe_classes(student, spec.definitions, config.seed)
    build_method(config, Processes(0, 1, torch.device("cpu")), spec, student)
    named = (*((lists.labeled, lists.unlabeled) if lists else ()), val)
    return Fetched(
        lists=tuple(path for path in named if path), weights=f"{config.model.encoder} from {config.model.weights}"
    )
