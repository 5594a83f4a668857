"""The student of a run, to be asked beside its model."""

from __future__ import annotations

from pathlib import Path

from semiseg.engine.checkpoint import load_checkpoint, require_shapes
from semiseg.engine.rundir import RunDirectory
from semiseg.models import build_segmenter, read_card
from semiseg.models.store import network_of
from semiseg.prediction.predictor import Predictor


def load_student(run: Path, device: str = "auto") -> Predictor | None:
    """Load the student that the newest checkpoint of a run holds beside a teacher; None where there are no such two.

    Raises:
        RunError: the checkpoints are damaged, or of another network than the run's model.
        ConfigError: no such device here.
    """
    folder, card = RunDirectory(run).checkpoints, read_card(run / "model")
    checkpoint = load_checkpoint(folder, lambda text: None)
    if checkpoint is None or not checkpoint.part("teacher"):
        return None
    student = build_segmenter(network_of(card.model), len(card.classes), card.frames)
    require_shapes(checkpoint, {"student": student.state_dict()}, folder)
    student.load_state_dict(checkpoint.part("student"))
    return Predictor(student, card, device, card.precision)
