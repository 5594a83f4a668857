"""S5: nothing unpacks an archive, so none can write outside of its place; compressed parts of files are bounded."""

from __future__ import annotations

import ast
import zlib
from pathlib import Path

import pytest

from semiseg.data.prepare.pascal import read_sbd
from semiseg.errors import DataError

SOURCE = Path(__file__).resolve().parents[2] / "src" / "semiseg"
UNPACKERS = {"tarfile", "gzip", "bz2", "lzma", "zipimport", "py7zr", "rarfile"}
UNPACKING = {"extract", "extractall", "unpack_archive"}
READS_ZIP = {"models/foreign.py"}  # the names in a .pth file, before torch reads it


def unpacks(source: str, *, zips: bool = False) -> list[str]:
    """List what a module does that could unpack an archive."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
        roots = {name.partition(".")[0] for name in module}
        found += sorted(roots & (UNPACKERS | (set() if zips else {"zipfile"})))
        found += [name for name in names if name in UNPACKING]
        if isinstance(node, ast.Attribute) and node.attr in UNPACKING:
            found.append(node.attr)
    return found


@pytest.mark.parametrize("module", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_s05_no_module_unpacks_archives(module: Path) -> None:
    name = module.relative_to(SOURCE).as_posix()
    assert unpacks(module.read_text(encoding="utf-8"), zips=name in READS_ZIP) == []


@pytest.mark.parametrize(
    "source",
    [
        "import tarfile",
        "from zipfile import ZipFile",
        "import shutil\nshutil.unpack_archive(a)",
        "a.extractall(b)",
        "import lzma",
    ],
)
def test_s05_the_guard_sees_an_archive_being_unpacked(source: str) -> None:
    assert unpacks(source)


def test_s05_a_compressed_mask_that_stands_for_gigabytes_is_not_read(tmp_path: Path) -> None:
    bomb = tmp_path / "2008_000001.mat"
    bomb.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + zlib.compress(bytes(1 << 20)) * 2000)
    with pytest.raises(DataError, match=r"(?s)unreadable SBD mask \([\d,]+ bytes\).*2008_000001\.mat"):
        read_sbd(bomb)
