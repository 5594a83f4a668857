"""Which images to label next: before there is a model, and after."""

from semiseg.suggestion.labels import FORMATS
from semiseg.suggestion.pool import Pool, find_pool
from semiseg.suggestion.suggesting import Suggested, suggest

__all__ = ["FORMATS", "Pool", "Suggested", "find_pool", "suggest"]
