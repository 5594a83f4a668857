"""What people do with a trained model: masks of single images, and of whole folders."""

from semiseg.prediction.folder import PredictionSummary, predict
from semiseg.prediction.frames import Picture
from semiseg.prediction.predictor import Look, Predictor
from semiseg.prediction.result import Prediction

__all__ = ["Look", "Picture", "Prediction", "PredictionSummary", "Predictor", "predict"]
