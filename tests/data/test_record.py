from __future__ import annotations

from pathlib import Path

import pytest

from semiseg.data import DataConfig, Dataset, load_dataset
from semiseg.data.fingerprints import take_fingerprint
from semiseg.data.record import same_samples, write_record
from semiseg.data.scenes import write_scenes
from semiseg.errors import DataError


def keep(folder: Path, root: Path, *, hashed: bool = True) -> Dataset:
    """Keep what a training on the whole folder keeps."""
    dataset = load_dataset(DataConfig(root=str(root)))
    samples = (*dataset.labeled, *dataset.val)
    paths = [path for sample in samples for path in (*sample.frames, sample.mask) if path]
    write_record(folder, dataset, {str(path): take_fingerprint(path, hashed=hashed) for path in paths})
    return dataset


@pytest.mark.parametrize("frames", [1, 2])
def test_lists_are_the_same_by_name_and_content_wherever_the_data_lies(tmp_path: Path, frames: int) -> None:
    for place in ("here", "there"):
        root = tmp_path / place
        write_scenes(root, labeled=2, unlabeled=1, val=2, size=32, frames=frames)  # type: ignore[arg-type]
        if frames == 1:
            for path in root.rglob("scene_10000*.png"):
                path.rename(path.with_name(path.name.replace("_", " ")))
            listed = (root / "val.txt").read_text().replace(" ", "\t").replace("scene_", "scene ")
            (root / "val.txt").write_text(listed)
        dataset = keep(tmp_path / f"of-{place}", tmp_path / place)
    one, other = tmp_path / "of-here", tmp_path / "of-there"
    assert same_samples(one, other, "val") is True

    mask = dataset.val[1].mask
    assert mask is not None
    mask.write_bytes(mask.read_bytes() + b"x")
    keep(tmp_path / "changed", tmp_path / "there")
    assert same_samples(one, tmp_path / "changed", "val") is False
    assert same_samples(one, tmp_path / "changed", "labeled") is True


def test_another_list_is_another_one(tmp_path: Path) -> None:
    for count in (2, 3):
        write_scenes(tmp_path / f"{count}", labeled=count, unlabeled=1, val=count, size=32)
        keep(tmp_path / f"of-{count}", tmp_path / f"{count}")
    for part in ("labeled", "val"):
        assert same_samples(tmp_path / "of-2", tmp_path / "of-3", part) is False  # type: ignore[arg-type]


def test_what_is_not_kept_is_not_known_and_what_is_damaged_is_named(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", labeled=2, unlabeled=1, val=2, size=32)
    keep(tmp_path / "kept", tmp_path / "scenes")
    assert same_samples(tmp_path / "kept", tmp_path / "nothing", "val") is None
    (tmp_path / "kept" / "files.tsv").write_text("x")
    with pytest.raises(DataError, match="kept of its data is damaged"):
        same_samples(tmp_path / "kept", tmp_path / "kept", "val")
