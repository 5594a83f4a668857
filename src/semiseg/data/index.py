"""An index of many unlabeled images: columns of a memory-mapped file, of which samples are made when they are drawn.

The file is one of Arrow (IPC). A row is an image: its name below its place (a folder, or an archive of images), bytes,
time of change, width and height, and a key by which its real path is found. The places follow in a last, empty batch,
with the SHA-256 of all that stands before it. Processes that open the file share its pages, and none holds an object
for each image.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, overload

import numpy as np

from semiseg.data.extras import require_library
from semiseg.data.fingerprints import Fingerprint
from semiseg.data.lists import Sample, listed_name
from semiseg.data.members import without_span
from semiseg.errors import DataError

VERSION = 1
BATCH = 2**16
"""Rows of each batch of the file but the last."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder or an archive in which images lie, and how to see whether it has changed.

    Attributes:
        source: number of the folder or archive that the settings name, and which the place is or lies below.
        name: where it lies below the source; empty for the source itself.
        real: its real path.
        stamp: time of change in nanoseconds, for a folder that of its list of files; 0 where it was too young to tell.
        size: bytes of an archive; 0 for a folder.
        folders: the names of the folders in it that were searched.
        rows: how many images of it the index holds.
        passed_over: how many files in it are no images, or links to images that are found elsewhere.
        left_out: images in it that cannot be used, each with the reason.
    """

    source: int
    name: str
    real: str
    stamp: int
    size: int = 0
    folders: tuple[str, ...] = ()
    rows: int = 0
    passed_over: int = 0
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What an index says beside its rows.

    Attributes:
        settings: what decided whether an image can be used; rows of other settings are worth nothing.
        sources: the folders and archives it was made of, as the settings named them.
        places: in the order of their rows.
    """

    settings: dict[str, Any]
    sources: tuple[str, ...]
    places: tuple[Place, ...]

    @property
    def passed_over(self) -> int:
        """How many files are no images."""
        return sum(place.passed_over for place in self.places)

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """Images that cannot be used, each with the reason."""
        return tuple(chain.from_iterable(place.left_out for place in self.places))


class ImageIndex:
    """An index that has been written; it is opened anew in each process that it is sent to."""

    def __init__(self, path: Path, sources: Sequence[Path], sha256: str | None = None) -> None:
        """Open an index.

        Args:
            path: the file.
            sources: the folders and archives it was made of, as they are now.
            sha256: its hash, if it has to be a certain one; it is compared, not computed.

        Raises:
            DataError: it is missing or damaged, or another one.
        """
        import pyarrow as pa

        self.path, self.sources = path, tuple(sources)
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            last = reader.num_record_batches - 1
            told = json.loads(reader.get_batch_with_custom_metadata(last).custom_metadata[b"semiseg"])
            if told.pop("version") != VERSION:
                raise ValueError("of another version of this package")
            self._bytes, self.sha256 = int(told.pop("bytes")), str(told.pop("sha256"))
            places = tuple(map(_place, told.pop("places")))
            self.contents = Contents(settings=dict(told["settings"]), sources=tuple(told["sources"]), places=places)
            self.table = reader.read_all()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise damaged_index(path, error) from error
        if sha256 not in (None, self.sha256):
            raise damaged_index(path, ValueError("it was made anew while a training used it"))
        self._names = self.table.column("name").chunks
        self._ends = list(accumulate(place.rows for place in places))
        if len(self) != self.table.num_rows or any(len(chunk) != BATCH for chunk in self._names[:-2]):
            raise damaged_index(path, ValueError("its rows are not those of its places"))

    def __reduce__(self) -> tuple[type[ImageIndex], tuple[Path, tuple[Path, ...], str]]:
        return ImageIndex, (self.path, self.sources, self.sha256)

    @cached_property
    def has_archives(self) -> bool:
        """Whether some of the images lie in archives."""
        return any(place.size for place in self.contents.places)

    def __len__(self) -> int:
        """Return the number of images."""
        return self._ends[-1] if self._ends else 0

    def verify(self) -> None:
        """Hold the file against its own hash.

        Raises:
            DataError: it is damaged.
        """
        digest, left = hashlib.sha256(), self._bytes
        with self.path.open("rb") as file:
            while left and (block := file.read(min(left, 2**20))):
                digest.update(block)
                left -= len(block)
        if left or digest.hexdigest() != self.sha256:
            raise damaged_index(self.path, ValueError("its SHA-256 is another"))

    def place_of(self, row: int) -> Path:
        """Return the folder or archive in which an image lies."""
        return self.folder(self.contents.places[bisect_right(self._ends, row)])

    def folder(self, place: Place) -> Path:
        """Return the path of a place."""
        return self.sources[place.source] / place.name

    def rows(self, number: int) -> range:
        """Return the rows of a place, by its number."""
        end = self._ends[number]
        return range(end - self.contents.places[number].rows, end)

    def name(self, row: int) -> str:
        """Return the name of an image in its place."""
        return str(self._names[row // BATCH][row % BATCH].as_py())

    def fingerprint(self, row: int) -> Fingerprint:
        """Return what an image was when it was looked at."""
        size, changed_ns = (self.table.column(name).chunk(row // BATCH) for name in ("size", "changed_ns"))
        return Fingerprint(size[row % BATCH].as_py(), changed_ns[row % BATCH].as_py(), None)

    def find(self, real: Iterable[str]) -> dict[str, int]:
        """Return the rows of those of some real paths that the index holds.

        The paths are compared by their keys, of 64 bits: among ten million images a wrong hit has a chance of one to
        10^12 for each path that is asked for.
        """
        wanted = {path_key(path): path for path in real}
        asked = np.fromiter(wanted, dtype=np.uint64, count=len(wanted))
        rows: list[int] = []
        for number, keys in enumerate(self.table.column("key").chunks):
            rows += (np.flatnonzero(np.isin(keys.to_numpy(), asked)) + number * BATCH).tolist()
        return {wanted[int(self._key(row))]: row for row in rows}

    def same_images(self, other: ImageIndex) -> bool:
        """Whether another index holds files of the same names and sizes, in the same order."""
        columns = ["name", "size"]
        return bool(self.table.select(columns).equals(other.table.select(columns)))

    def _key(self, row: int) -> int:
        return int(self.table.column("key").chunk(row // BATCH)[row % BATCH].as_py())


class IndexedSamples(Sequence[Sample]):
    """Unlabeled samples: some in memory, then those of an index, which are made when they are asked for."""

    def __init__(self, listed: Sequence[Sample], index: ImageIndex, root: Path) -> None:
        """Put samples together.

        Args:
            listed: the samples in memory.
            index: the index of the others.
            root: the data folder, which the samples' ids are relative to.
        """
        self.listed, self.indexed, self.root = tuple(listed), index, root

    def __len__(self) -> int:
        return len(self.listed) + len(self.indexed)

    @overload
    def __getitem__(self, number: int) -> Sample: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, number: int | slice) -> Sample | tuple[Sample, ...]:
        if isinstance(number, slice):
            return tuple(self[place] for place in range(*number.indices(len(self))))
        place = range(len(self))[number]
        return self.listed[place] if place < len(self.listed) else self._sample(place - len(self.listed))

    def _sample(self, row: int) -> Sample:
        folder, name = self.indexed.place_of(row), self.indexed.name(row)
        below = without_span(name)
        # The size of what lies in an archive stands in its path.
        sizes = (self.indexed.fingerprint(row).size,) if below == name else ()
        return Sample(f"{self._listed_names[folder]}/{below}", (folder / name,), None, sizes)

    @cached_property
    def _listed_names(self) -> dict[Path, str]:
        folders = (self.indexed.folder(place) for place in self.indexed.contents.places)
        return {folder: listed_name(folder, self.root) for folder in folders}

    def __getstate__(self) -> dict[str, Any]:
        return {"listed": self.listed, "indexed": self.indexed, "root": self.root}

    def named(self, ids: Collection[str]) -> list[Sample]:
        """Return the samples of some ids."""
        rows = self.indexed.find(os.path.realpath(self.root / id_) for id_ in ids) if ids else {}
        return [*(sample for sample in self.listed if sample.id in ids), *map(self._sample, sorted(rows.values()))]


def in_memory(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return those samples that are not of an index."""
    return samples.listed if isinstance(samples, IndexedSamples) else tuple(samples)


def index_of(samples: Sequence[Sample]) -> ImageIndex | None:
    """Return the index of those samples that are of one."""
    return samples.indexed if isinstance(samples, IndexedSamples) else None


def named(samples: Sequence[Sample], ids: Collection[str]) -> list[Sample]:
    """Return the samples of some ids."""
    return samples.named(ids) if isinstance(samples, IndexedSamples) else [one for one in samples if one.id in ids]


def _place(fields: dict[str, Any]) -> Place:
    left_out = tuple((str(name), str(reason)) for name, reason in fields["left_out"])
    return Place(**{**fields, "folders": tuple(fields["folders"]), "left_out": left_out})


def path_key(real: str) -> int:
    """Return 64 bits that stand for a real path."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(real), digest_size=8).digest(), "little")


def schema() -> Any:
    """Return the columns of an index, as Arrow has them."""
    import pyarrow as pa

    numbers = {
        "size": pa.int64(),
        "changed_ns": pa.int64(),
        "key": pa.uint64(),
        "width": pa.uint32(),
        "height": pa.uint32(),
    }
    return pa.schema([("name", pa.string()), *numbers.items()])


def require_arrow() -> None:
    """Refuse to begin without the library of indexes.

    Raises:
        DataError: it is not installed.
    """
    require_library("pyarrow", "scale", reads="an index of many images")


def damaged_index(path: Path, error: Exception) -> DataError:
    """Return the error of an index that cannot be read."""
    return DataError(
        f"unreadable index of images ({error})",
        where=path,
        expected="a file that `semiseg data check --data.index FILE` wrote",
        remedy="remove it, and it is made anew; that of a run has to be restored",
    )
