"""The images of an export: found by what it calls them, and put into the new data folder."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from semiseg.data.imports.coloured import is_mask
from semiseg.data.imports.trees import Tree
from semiseg.data.reading import IMAGE_SUFFIXES
from semiseg.errors import DataError

_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")
"""Label Studio puts eight digits before the name of an upload."""


class Images:
    """The images that an export can be about.

    Attributes:
        tree: where they lie.
        names: their names there.
    """

    def __init__(self, tree: Tree, *, is_export: bool) -> None:
        """List them.

        Args:
            tree: where they lie.
            is_export: whether that is the export itself, which may hold masks, too.

        Raises:
            DataError: there are none, or a mask could be of two of them.
        """
        self.tree = tree
        found = [name for name in tree.names if name.lower().endswith(IMAGE_SUFFIXES)]
        self.names = [name for name in found if not (is_export and is_mask(name))]
        top = os.path.commonpath([os.path.dirname(name) for name in self.names]) if self.names and is_export else ""
        self._places = {name: name[len(top) + 1 :] if top else name for name in self.names}
        self._known: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._known[PurePosixPath(name).name].append(name)
            self._known[PurePosixPath(name).stem].append(name)

    def find(self, wanted: str) -> str | None:
        """Return the image that an export means by a name, with or without folders and suffix; None if there is none.

        Raises:
            DataError: it can mean several.
        """
        parts = PurePosixPath(wanted.replace("\\", "/")).parts
        if not parts:
            return None
        upload = _UPLOAD.fullmatch(parts[-1])
        known = self._known.get(parts[-1]) or (self._known.get(upload[1]) if upload else None) or []
        agreed = [_agreement(parts[:-1], PurePosixPath(name).parts[:-1]) for name in known]
        best = [name for name, count in zip(known, agreed, strict=True) if count == max(agreed)]
        if len(best) > 1:
            raise DataError(
                f"the export names {wanted!r}, which can be {best[0]} or {best[1]}",
                where=self.tree.where,
                expected="names that tell the images apart",
                remedy="name the folder of the right ones by --images",
            )
        return best[0] if best else None

    def place(self, name: str) -> str:
        """Return where an image stands below the folder `images` of the new data folder."""
        return self._places[name]

    def refuse_shared_masks(self, labeled: Iterable[str]) -> None:
        """Raise for a labeled image whose mask could be that of another one, too.

        Raises:
            DataError: two images have one name but for the suffix.
        """
        stems: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            stems[self.place(name).rpartition(".")[0]].append(name)
        for name in labeled:
            others = stems[self.place(name).rpartition(".")[0]]
            if len(others) > 1:
                raise DataError(
                    f"{others[0]} and {others[1]} would share a mask",
                    where=self.tree.where,
                    expected="one image of a name, whatever its suffix",
                    remedy="rename or remove one of them",
                )

    def put(self, name: str, target: Path, *, home: Path, copy: bool) -> None:
        """Give an image its place in the draft of the new folder: a link, or a copy where it lies in a ZIP.

        Args:
            name: of the image.
            target: where it stands in the draft.
            home: the folder that `target` will stand in once the draft is whole.
            copy: whether to copy it in any case.

        Raises:
            DataError: it is damaged in the ZIP.
            OSError: it cannot be written.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        path = self.tree.path(name)
        if path is None or copy or not linked(path, target, home):
            self.tree.copy(name, target)


def linked(path: Path, target: Path, home: Path) -> bool:
    """Link `target` to a file, relative to `home`, so that both folders can move together.

    Args:
        path: the file.
        target: the link to make, perhaps in a draft.
        home: the folder that the link will stand in.

    Returns:
        Whether this file system could.
    """
    try:
        target.symlink_to(os.path.relpath(path.resolve(), home.resolve()))
    except (OSError, ValueError):  # no links on this file system; no relative path between Windows' drives
        return False
    return True


def _agreement(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many folders two paths share, counted from their ends."""
    count = 0
    for ours, theirs in zip(reversed(one), reversed(other), strict=False):
        if ours != theirs:
            break
        count += 1
    return count
