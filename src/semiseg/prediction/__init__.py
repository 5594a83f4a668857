"""What people do with a trained model: masks of single images, and of whole folders."""

from semiseg.prediction.folder import PredictionSummary, predict
from semiseg.prediction.frames import Picture
from semiseg.prediction.predictor import Predictor

__all__ = ["Picture", "PredictionSummary", "Predictor", "predict"]
