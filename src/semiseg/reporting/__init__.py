"""The report of a run: one HTML page that needs nothing but a browser."""

from semiseg.reporting.page import report

__all__ = ["report"]
