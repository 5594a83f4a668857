"""S5: nothing unpacks an archive, so none can write outside of its place; compressed parts of files are bounded."""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from semiseg.cli import main
from semiseg.data.imports import import_data
from semiseg.data.members import list_members
from semiseg.data.prepare.pascal import read_sbd
from semiseg.errors import DataError

SOURCE = Path(__file__).resolve().parents[2] / "src" / "semiseg"
UNPACKERS = {"tarfile", "gzip", "bz2", "lzma", "zipimport", "py7zr", "rarfile"}
UNPACKING = {"extract", "extractall", "unpack_archive"}
READS_ZIP = {
    "data/predicted.py",  # the mark in an npz of probabilities
    "models/foreign.py",  # the names in a .pth file, before torch reads it
    "data/imports/trees.py",  # what annotation tools export: read part by part, by names that were looked at
}


READS_TAR = {"data/members.py"}  # unlabeled images, read where they lie; it names tarfile and none of what unpacks


def unpacks(source: str, *, zips: bool = False, tars: bool = False) -> list[str]:
    """List what a module does that could unpack an archive."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
        roots = {name.partition(".")[0] for name in module}
        allowed = {"tarfile"} if tars else set()
        found += sorted(roots & ((UNPACKERS - allowed) | (set() if zips else {"zipfile"})))
        found += [name for name in names if name in UNPACKING]
        if isinstance(node, ast.Attribute) and node.attr in UNPACKING:
            found.append(node.attr)
    return found


@pytest.mark.parametrize("module", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_s05_no_module_unpacks_archives(module: Path) -> None:
    name = module.relative_to(SOURCE).as_posix()
    assert unpacks(module.read_text(encoding="utf-8"), zips=name in READS_ZIP, tars=name in READS_TAR) == []


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


def packed(path: Path, *parts: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "images/../../evil.png",
        "/evil.png",
        "images//evil.png",
        "./evil.png",
        "images\\..\\..\\evil.png",
        "C:/evil.png",
    ],
)
def test_s05_a_name_that_leads_out_of_an_export_refuses_all_of_it(tmp_path: Path, name: str) -> None:
    part = zipfile.ZipInfo("x")
    part.filename = name  # as written, not as the module would mend it
    (tmp_path / "in").mkdir()
    source = packed(tmp_path / "in/x.zip", (part, b"x"))
    with pytest.raises(DataError, match=r"(?s)a name that leads elsewhere in a ZIP.*x\.zip"):
        import_data(source, tmp_path / "in/out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "x.zip"]


def test_s05_links_and_passwords_in_an_export_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("images/a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match=r"a link in a ZIP: 'images/a\.png'"):
        import_data(packed(tmp_path / "x.zip", (link, b"/etc/passwd")), tmp_path / "out")
    path = packed(tmp_path / "y.zip", ("images/a.png", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a file under a password in a ZIP: 'images/a\.png'"):
        import_data(path, tmp_path / "out")


def test_s05_a_part_without_a_name_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("images/a.png", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 46] = 0  # where its name begins; a zero ends it
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a name that leads elsewhere in a ZIP: ''"):
        import_data(path, tmp_path / "out")


def test_s05_a_directory_that_points_before_the_file_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.zip", ("images/a.png", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\5\6") + 19] = 1  # the directory's offset
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a file that begins before its start in a ZIP: 'images/a\.png'"):
        import_data(path, tmp_path / "out")


def test_s05_an_export_that_stands_for_gigabytes_is_refused_by_its_directory(tmp_path: Path) -> None:
    source = packed(tmp_path / "x.zip", *((f"images/{number}.png", bytes(1 << 26)) for number in range(6)))
    assert source.stat().st_size < 500_000
    tracemalloc.start()
    with pytest.raises(DataError, match=r"(?s)a ZIP of [\d,]+ bytes that stands for 6 files of 402,653,184 bytes"):
        import_data(source, tmp_path / "out")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20


def test_s05_a_part_longer_than_it_says_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = packed(tmp_path / "x.zip", ("labels.json", b"[" + b" " * 5000 + b"]"))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    content[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    assert main(["data", "import", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "damaged file in a ZIP" in capsys.readouterr().err


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">' + "".join(f'<!ENTITY b{n} "{"&b;" * 10}">' for n in range(9)) + "]>",
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://example.org/a.dtd">',
    ],
)
def test_s05_xml_with_a_document_type_is_refused(tmp_path: Path, declared: str) -> None:
    (tmp_path / "a.xml").write_text(f"{declared}<annotations><image name='&b;' width='1' height='1'/></annotations>")
    with pytest.raises(DataError, match=r"(?s)a document type, which CVAT does not write.*a\.xml"):
        import_data(tmp_path / "a.xml", tmp_path / "out")


def tarred(path: Path, *infos: tarfile.TarInfo, content: bytes = b"x" * 600) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for info in infos:
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "a\n.png"])
def test_s05_a_name_that_leads_out_of_a_tar_is_left_out(tmp_path: Path, name: str) -> None:
    (member,) = list_members(tarred(tmp_path / "a.tar", tarfile.TarInfo(name)))
    assert "a name that leads out" in member.fault


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_s05_links_and_devices_of_a_tar_are_not_read(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.linkname = kind, "/etc/passwd"
    (member,) = list_members(tarred(tmp_path / "a.tar", info))
    assert "a link, a device" in member.fault


def test_s05_a_compressed_tar_is_not_read(tmp_path: Path) -> None:
    plain = tarred(tmp_path / "a.tar", tarfile.TarInfo("a.png"))
    (tmp_path / "b.tar").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match="unreadable archive"):
        list(list_members(tmp_path / "b.tar"))


def test_s05_a_header_of_a_tar_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT if info.size < 8**11 else tarfile.GNU_FORMAT))
        file.truncate(2**34)  # a hole: no room on the disk
    tracemalloc.start()
    with pytest.raises(DataError, match="unreadable archive"):
        list(list_members(tmp_path / "a.tar"))
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_s05_a_size_beyond_the_tar_is_left_out(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = 2**40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    member, last = list_members(tmp_path / "a.tar")
    assert "beyond the archive" in member.fault
    assert (last.name, bool(last.fault)) == ("", True)


def test_s05_a_tar_of_strange_bytes_ends_in_a_message(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "a.tar", *(tarfile.TarInfo(f"{'long/' * 40}{n}.png") for n in range(3))).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        for place in random.integers(0, len(content), 8):
            content[place] = random.integers(256)
        (tmp_path / "b.tar").write_bytes(content)
        with contextlib.suppress(DataError):
            list(list_members(tmp_path / "b.tar"))
