"""What people do with a trained model: masks of single images, and of whole folders."""

from semiseg.prediction.folder import PredictionSummary, predict
from semiseg.prediction.predictor import Picture, Predictor

__all__ = ["Picture", "PredictionSummary", "Predictor", "predict"]
