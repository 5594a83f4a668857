from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from semiseg.data.fingerprints import take_fingerprint
from semiseg.data.members import archive_of, list_members, without_span
from semiseg.data.reading import image_size, read_image
from semiseg.errors import DataError


def png(width: int = 8) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, 6), 50).convert("RGB").save(file, "PNG")
    return file.getvalue()


def packed(path: Path, **contents: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_an_image_of_an_archive_has_a_path_and_is_read_where_it_lies(tmp_path: Path) -> None:
    images = {f"{n:04d}.png": png(8 + n) for n in range(3)}
    shard = packed(tmp_path / "shard.tar", **images)
    for member in list_members(shard):
        path = shard / member.spanned
        (tmp_path / "one.png").write_bytes(images[member.name])
        assert image_size(path) == image_size(tmp_path / "one.png")
        assert read_image(path).tobytes() == read_image(tmp_path / "one.png").tobytes()
        assert take_fingerprint(path, hashed=True).sha256 == take_fingerprint(tmp_path / "one.png", hashed=True).sha256
        assert (without_span(member.spanned), member.size) == (member.name, len(images[member.name]))


def test_only_an_archive_has_such_paths(tmp_path: Path) -> None:
    (tmp_path / "folder.tar/0+5").mkdir(parents=True)
    (tmp_path / "folder.tar/0+5/a.png").write_bytes(png())
    assert archive_of(tmp_path / "folder.tar/0+5/a.png") is None
    assert image_size(tmp_path / "folder.tar/0+5/a.png") == (8, 6)


def test_a_damaged_image_of_an_archive_is_named(tmp_path: Path) -> None:
    shard = packed(tmp_path / "shard.tar", **{"a.png": png()[:60]})
    member = next(list_members(shard))
    with pytest.raises(DataError, match=r"damaged image[\s\S]*shard\.tar/512\+60/a\.png"):
        read_image(shard / member.spanned)


@pytest.mark.parametrize("cut", [700, 300])
def test_an_archive_that_was_cut_off_keeps_what_is_whole(tmp_path: Path, cut: int) -> None:
    shard = packed(tmp_path / "shard.tar", **{"a.png": b"x" * 500, "b.png": b"y" * 500})
    shard.write_bytes(shard.read_bytes()[: 1024 + cut])
    first, *others = list_members(shard)
    assert (first.name, first.fault) == ("a.png", "")
    assert others[-1].name == ""
    assert "the archive is damaged behind byte" in others[-1].fault
    assert all(member.fault for member in others)


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    shard = packed(tmp_path / "shard.tar", **{"a.png": b"x" * 500, "b.png": b"y" * 500})
    content = bytearray(shard.read_bytes())
    content[1024 + 148 : 1024 + 156] = b"99999999"
    shard.write_bytes(content)
    first, last = list_members(shard)
    assert (first.name, first.fault) == ("a.png", "")
    assert "damaged header at byte 1,024" in last.fault
