"""The report of a run, and the comparison of several: HTML pages that need nothing but a browser."""

from semiseg.reporting.page import report

__all__ = ["report"]
