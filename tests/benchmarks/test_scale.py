from __future__ import annotations

import os
from pathlib import Path

import pytest
from benchmarks import scale

from semiseg.data import indexing
from semiseg.data.indexing import current_index
from semiseg.data.spec import read_spec

pytest.importorskip("pyarrow", reason="pyarrow is missing: pip install '.[scale]'")


def test_a_simulated_index_is_one_that_a_start_takes_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = scale._settings(tmp_path / "simulated")
    scale._write(config, 3000)
    written = os.stat(config.index or "").st_mtime_ns
    monkeypatch.setattr(indexing, "SAMPLED", 0)
    index = current_index(config, read_spec(Path(config.root or "") / "dataset.yaml"))
    assert len(index) == 3000
    assert os.stat(config.index or "").st_mtime_ns == written
    assert index.name(2999) == "sa_0000000002999.jpg"
    assert index.place_of(2999).is_dir()
