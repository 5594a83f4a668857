from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semiseg.data import DataConfig
from semiseg.data.manifest import find_manifest, hold_against, read_manifest, write_manifest
from semiseg.errors import DataError

SUM = hashlib.sha256(b"x").hexdigest()
NAMES = st.text(st.characters(exclude_characters="/\0\n\r", exclude_categories=["Cs"]), min_size=1, max_size=9)


@given(st.dictionaries(NAMES.map("images/{}.png".format), st.just(SUM), min_size=1, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, sums: dict[str, str]) -> None:
    path = tmp_path_factory.getbasetemp() / "sums"
    write_manifest(path, sums)
    assert read_manifest(path) == sums


def test_what_sha256sum_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "sums").write_text(f"{SUM}  ./a.png\n{SUM} *b c.png\n\\{SUM}  d\\\\e.png\n")
    assert read_manifest(tmp_path / "sums") == {"a.png": SUM, "b c.png": SUM, "d\\e.png": SUM}


def test_checksums_are_those_named_else_those_of_the_data_folder(tmp_path: Path) -> None:
    config = DataConfig(root=str(tmp_path))
    assert find_manifest(config) is None
    (tmp_path / "manifest.sha256").touch()
    assert find_manifest(config) == tmp_path / "manifest.sha256"
    assert find_manifest(DataConfig(root=str(tmp_path), manifest="mine")) == Path("mine")


def test_a_file_is_held_against_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    hold_against(tmp_path / "a", SUM)
    (tmp_path / "a").write_bytes(b"y")
    with pytest.raises(DataError, match=r"(?s)not what it was.*remedy:.*backup"):
        hold_against(tmp_path / "a", SUM)
    with pytest.raises(DataError, match=r"unreadable file"):
        hold_against(tmp_path / "b", SUM)
