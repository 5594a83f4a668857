"""The lists that were published with UniMatch V2: which there are, and where to get them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from semiseg.download import RemoteFile, download
from semiseg.errors import DataError

PUBLISHER = "https://raw.githubusercontent.com"
"""The server of the files; before the repository, the commit and the path."""

_TESTED = ("levir", "whu")
"""Data sets whose list to evaluate on is called test."""


def published_files() -> dict[str, RemoteFile]:
    """Return every published list by its name below the lists' folder, for example `pascal/92/labeled.txt`."""
    manifest = _manifest()
    base = f"{PUBLISHER}/{manifest['repository']}/{manifest['commit']}"
    return {
        path.partition("splits/")[2]: RemoteFile(url=f"{base}/{quote(path)}", **pin)
        for path, pin in manifest["files"].items()
    }


@cache
def _manifest() -> dict[str, Any]:
    text = resources.files("semiseg.data").joinpath("published_splits.json").read_text(encoding="utf-8")
    manifest: dict[str, Any] = json.loads(text)
    return manifest


@dataclass(frozen=True, kw_only=True)
class PublishedLists:
    """The published lists of one data set.

    Attributes:
        dataset: its name, as in `data.spec`; None: a data set of one's own, of which nothing is published.
        folder: a folder that holds lists as published (`pascal/92/labeled.txt`), to be used as they are; None: they are
            downloaded from their publisher when they are wanted, and kept in the cache.
    """

    dataset: str | None
    folder: Path | None = None

    def names(self) -> list[str]:
        """Return the names of the splits."""
        parts = [name.split("/") for name in self._all()]
        named = {part[1] for part in parts if len(part) == 3 and part[2] in ("labeled.txt", "train.txt")}
        whole = {"all" for part in parts if part[1:] == ["train.txt"]}
        return sorted({name.removesuffix("%") for name in named} | whole)

    def split(self, name: str) -> tuple[Path, Path | None] | None:
        """Return the labeled and the unlabeled list of a split, or None if there is no such split.

        COCO has no unlabeled lists; of the splits `all` only that of Cityscapes has one, of its 20,000 extra images.
        Of change detection, split `5` is published as `5%` and split `all` as the list `train.txt` beside them.

        Raises:
            DataError: a list cannot be downloaded.
        """
        for folder in (f"{name}/", f"{name}%/", *([""] if name == "all" else [])):
            labeled = self._find(f"{folder}labeled.txt") or self._find(f"{folder}train.txt")
            if labeled:
                return labeled, self._find(f"{folder}unlabeled.txt")
        return None

    def val(self) -> Path | None:
        """Return the val list, or None if there is none.

        Raises:
            DataError: it cannot be downloaded.
        """
        # The published training of change detection evaluates on the test list, and leaves its val list unused.
        return self._find("test.txt" if self.dataset in _TESTED else "val.txt")

    def _all(self) -> list[str]:
        if self.dataset is None:
            return []
        if self.folder is None:
            return [name for name in published_files() if name.startswith(f"{self.dataset}/")]
        names = [path.relative_to(self.folder).as_posix() for path in (self.folder / self.dataset).rglob("*.txt")]
        if not names:
            raise DataError(
                f"no lists of {self.dataset}",
                where=self.folder / self.dataset,
                expected=f"{self.dataset}/val.txt, {self.dataset}/SPLIT/labeled.txt and so on below {self.folder}",
                remedy="correct --data.splits, or leave it out to download the lists",
            )
        return names

    def _find(self, name: str) -> Path | None:
        name = f"{self.dataset}/{name}"
        if name not in self._all():
            return None
        if self.folder:
            return self.folder / name
        try:
            return download(published_files()[name], DataError)
        except DataError as error:
            raise DataError.of_text(f"{error}, or pass --data.splits FOLDER with the published lists") from error
