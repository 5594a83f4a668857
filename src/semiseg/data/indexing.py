"""Write an index of many unlabeled images, and bring it up to date; see `semiseg.data.index`.

What is noticed at a start: a folder's time of change tells files that were added, removed, renamed or replaced by a new
file, an archive's also what was written into it. Such places are searched again, and images of another size or time are
looked at again. What is written into a file that stays is seen in a sample of a thousand files, and else when the image
is read (`Sample.sizes`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.bands import image_suffixes, picture_size
from semiseg.data.config import DataConfig
from semiseg.data.index import BATCH, VERSION, Contents, ImageIndex, Place, require_arrow, schema
from semiseg.data.prefetch import prefetch
from semiseg.data.searching import Listing, is_unchanged, place_now, same_rows, search
from semiseg.data.spec import DatasetSpec
from semiseg.data.ticks import Tick, no_tick
from semiseg.errors import DataError
from semiseg.files import sha256_of, whole_file
from semiseg.seeding import rng

SAMPLED = 1000
"""How many files are looked at at each start, though their folders have not changed."""
_THREADS = 8


def current_index(config: DataConfig, spec: DatasetSpec, tick: Tick = no_tick) -> ImageIndex:
    """Open the index that the settings name, after it was brought up to date, or made.

    Args:
        config: names the index, and the folders and archives it is of.
        spec: what the data set is.
        tick: called with the number of new images looked at and of all, as the first time takes long.

    Raises:
        DataError: a folder or archive is missing or cannot be read, the index is damaged, pyarrow is not installed, or
            the data set
            is one of pairs.
        FileError: the index cannot be written.
    """
    require_arrow()
    assert config.index is not None
    if len(spec.frames) > 1:
        raise DataError(
            "an index is of single images, not of pairs", where="data.index", remedy="leave out --data.index"
        )
    path, sources = Path(config.index), further_sources(config)
    index = _opened(path, sources, index_settings(config, spec))
    trust = index is not None
    if index is not None and index.contents.sources == tuple(map(str, sources)):
        trust = not _sampled_changes(index, by_time=True)
        if trust and _is_current(index):
            return index
    contents = Contents(settings=index_settings(config, spec), sources=tuple(map(str, sources)), places=())
    # The whole search comes first: a folder that cannot be read is better named before an hour of looking than after.
    listings = list(search(sources, image_suffixes(spec.shown.bands), index, trust=trust))
    _Draft(contents, index, _look(config, spec), tick).write(path, listings)
    return ImageIndex(path, sources)


def _opened(path: Path, sources: tuple[Path, ...], settings: dict[str, Any]) -> ImageIndex | None:
    """Open an index if there is one of these settings, or else none of its rows is of use."""
    if not path.exists():
        return None
    index = ImageIndex(path, sources)
    index.verify()
    return index if index.contents.settings == settings else None


def further_sources(config: DataConfig) -> tuple[Path, ...]:
    """Return the folders and archives of `data.unlabeled`."""
    return tuple(map(Path, (config.unlabeled,) if isinstance(config.unlabeled, str) else config.unlabeled))


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Images of an index that are gone or of another size, and images that it does not hold; their paths."""

    lost: list[str]
    fresh: list[str]


def find_changes(index: ImageIndex) -> Changes:
    """Hold an index against its folders and archives, as far as is noticed; see the top of this file.

    Raises:
        DataError: a folder or archive is missing or cannot be read.
    """
    suffixes = tuple(index.contents.settings["suffixes"])
    lost, fresh, unseen = [], [], set(range(len(index.contents.places)))
    for listing in search(index.sources, suffixes, index, trust=True):
        rows = index.rows(listing.known) if listing.known is not None else range(0)
        unseen.discard(-1 if listing.known is None else listing.known)
        if listing.files is not None:
            path, then = index.folder(listing.place), index.table.slice(rows.start, len(rows))
            lost += _names(path, then, same_rows(then, listing.files, ["size"]) < 0)
            fresh += _names(path, listing.files, same_rows(listing.files, then, []) < 0)
    for number in sorted(unseen):
        path, rows = index.folder(index.contents.places[number]), index.rows(number)
        lost += _names(path, index.table.slice(rows.start, len(rows)), np.ones(len(rows), dtype=np.bool_))
    left_out = {name for name, _ in index.contents.left_out}
    lost = list(dict.fromkeys((*lost, *_sampled_changes(index, by_time=False))))
    return Changes(lost=lost, fresh=[name for name in fresh if name not in left_out])


def _names(path: Path, files: Any, which: NDArray[np.bool_]) -> list[str]:
    return [str(path / files["name"][row].as_py()) for row in np.flatnonzero(which).tolist()]


def index_settings(config: DataConfig, spec: DatasetSpec) -> dict[str, Any]:
    """Return what decides whether an image can be used."""
    return {
        "suffixes": list(image_suffixes(spec.shown.bands)),
        "bands": list(spec.bands),
        "levels": [list(pair) for pair in spec.levels],
        "max_pixels": config.max_pixels,
    }


def _is_current(index: ImageIndex) -> bool:
    """Whether every place is what it was."""
    return all(is_unchanged(place, place_now(place, index.folder(place))) for place in index.contents.places)


def _sampled_changes(index: ImageIndex, *, by_time: bool) -> list[str]:
    """Return those of a few images, others at each start, that are gone or of another size (or time of change)."""
    changed = []
    for row in _sampled_rows(len(index)):
        folder, then = index.place_of(row), index.fingerprint(row)
        path = folder / index.name(row)
        if folder.is_dir() and not _is_same(path, then.size, then.changed_ns if by_time else None):
            changed.append(str(path))
    return changed


def _sampled_rows(count: int) -> Sequence[int]:
    if count <= SAMPLED:
        return range(count)
    draws = rng(int(time.time()), "look at the files of an index")
    rows: list[int] = np.unique(draws.integers(count, size=SAMPLED)).tolist()
    return rows


def _is_same(path: Path, size: int, changed_ns: int | None) -> bool:
    try:
        facts = path.stat()
    except OSError:
        return False
    return facts.st_size == size and changed_ns in (None, facts.st_mtime_ns)


Look = Callable[[Path], tuple[int, int] | str]
"""From an image to its width and height, or to the reason why it cannot be used."""
_Looked = tuple[Path, tuple[int, int] | str]


def _look(config: DataConfig, spec: DatasetSpec) -> Look:
    def look(path: Path) -> tuple[int, int] | str:
        try:
            return picture_size(path, config.max_pixels, spec.shown.bands)
        except DataError as error:
            return str(error)

    return look


def write_index(path: Path, contents: Contents, tables: Iterable[Any], places: Sequence[Place]) -> None:
    """Write an index, in place of what stands there.

    Args:
        path: the file.
        contents: without places.
        tables: the rows, as `schema` has them.
        places: in the order of their rows; looked at after the last row.

    Raises:
        FileError: it cannot be written.
    """
    import pyarrow as pa

    with whole_file(path) as draft, pa.OSFile(str(draft), "wb") as file, pa.ipc.new_file(file, schema()) as writer:
        rows = schema().empty_table()
        for table in tables:
            rows = pa.concat_tables([rows, table])
            whole = len(rows) - len(rows) % BATCH
            for first in range(0, whole, BATCH):
                writer.write_table(rows.slice(first, BATCH).combine_chunks())
            rows = rows.slice(whole)
        if len(rows):
            writer.write_table(rows.combine_chunks())
        file.flush()
        told = {"version": VERSION, "bytes": file.tell(), "sha256": sha256_of(draft)}
        told |= asdict(replace(contents, places=tuple(places)))
        nothing = pa.RecordBatch.from_pylist([], schema=schema())
        writer.write_batch(nothing, custom_metadata={"semiseg": json.dumps(told)})


class _Draft:
    """An index while it is written: listings come in, whole batches go out."""

    def __init__(self, contents: Contents, before: ImageIndex | None, look: Look, tick: Tick) -> None:
        """Begin.

        Args:
            contents: without places.
            before: an index of which rows are taken over.
            look: looks at an image that is new.
            tick: told how many images were looked at.
        """
        self._contents, self._before, self._look, self._tick = contents, before, look, tick
        self._places: list[Place] = []
        self._looked = self._count = 0

    def write(self, path: Path, listings: Iterable[Listing]) -> None:
        """Write what was found, in place of what stands there."""
        found = [(listing, self._rows(listing)) for listing in listings]
        self._count = sum(len(_new(rows)) for _, rows in found)
        tables = (table for group in _groups(found) for table in self._checked(group))
        write_index(path, self._contents, tables, self._places)

    def _checked(self, group: Sequence[tuple[Listing, Any]]) -> Iterator[Any]:
        """Yield the rows of listings, those that cannot be used left out, and note their places."""
        folders = [Path(self._contents.sources[one.place.source]) / one.place.name for one, _ in group]
        new = ((folder, table, _new(table)) for folder, (_, table) in zip(folders, group, strict=True))
        paths = (folder / table["name"][row].as_py() for folder, table, rows in new for row in rows.tolist())
        looks = self._counted(
            prefetch(lambda path: (path, self._look(path)), paths, ahead=16 * _THREADS, threads=_THREADS)
        )
        for listing, table in group:
            good, faults = _filled(table, looks)
            place = listing.place
            self._places.append(replace(place, rows=len(good), left_out=(*place.left_out, *faults)))
            yield good

    def _counted(self, looks: Iterator[_Looked]) -> Iterator[_Looked]:
        for look in looks:
            self._looked += 1
            self._tick(self._looked, self._count)
            yield look

    def _rows(self, listing: Listing) -> Any:
        """Return the rows of a listing, with the sizes of those images that were looked at before."""
        known = self._before.rows(listing.known) if self._before and listing.known is not None else range(0)
        before = self._before.table.slice(known.start, len(known)) if self._before else schema().empty_table()
        if listing.files is None:
            return before
        rows = same_rows(listing.files, before, ["size", "changed_ns"])
        table = listing.files
        for side in ("width", "height"):
            sizes = np.append(before[side].to_numpy(), 0).astype(np.uint32)[rows]
            table = table.append_column(side, [sizes])
        return table.cast(schema())


def _new(table: Any) -> NDArray[np.int64]:
    """Return the rows that have not been looked at."""
    return np.flatnonzero(table["width"].to_numpy() == 0)


def _filled(table: Any, looks: Iterator[_Looked]) -> tuple[Any, list[tuple[str, str]]]:
    """Return a table with the sizes of its new rows, without those that cannot be used, and what these are."""
    new = _new(table)
    if not len(new):
        return table, []
    sizes_N2 = np.stack([table[side].to_numpy() for side in ("width", "height")], axis=1)
    faults = []
    for row in new.tolist():
        path, size = next(looks)
        if isinstance(size, str):
            faults.append((str(path), size))
        else:
            sizes_N2[row] = size
    for number, side in enumerate(("width", "height")):
        table = table.set_column(table.schema.get_field_index(side), side, [sizes_N2[:, number]])
    return table.filter(sizes_N2[:, 0] > 0), faults


def _groups(found: Iterable[tuple[Listing, Any]]) -> Iterator[list[tuple[Listing, Any]]]:
    """Yield listings together, a batch of images or more at once."""
    group: list[tuple[Listing, Any]] = []
    count = 0
    for listing, rows in found:
        group.append((listing, rows))
        count += len(rows)
        if count >= BATCH:
            yield group
            group, count = [], 0
    yield group
