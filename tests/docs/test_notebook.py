"""The example notebook runs from its first to its last cell, with a training of a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "first-steps.ipynb"
nbformat = pytest.importorskip("nbformat", reason="THE NOTEBOOK WAS NOT RUN: nbclient and ipykernel are missing")
nbclient = pytest.importorskip("nbclient", reason="THE NOTEBOOK WAS NOT RUN: nbclient and ipykernel are missing")


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [settings] = [cell for cell in notebook.cells if "settings" in cell.metadata.get("tags", ())]
    settings.source = "STEPS, LABELED, UNLABELED = 4, 4, 8"
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    assert "mIoU" in "".join(output.get("text", "") for output in shown)


def test_it_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [cell.source for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
