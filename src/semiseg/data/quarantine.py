"""Unlabeled images that turn out to be damaged while training: a few are passed over, many end the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from semiseg.data.findings import Peers
from semiseg.errors import DataError, some
from semiseg.files import write_text

_NAME = "quarantine.json"
_FEW = 3
"""How many damaged images any run bears that bears some."""


class Quarantine:
    """The damaged unlabeled images of a run.

    Each process takes in what its own batches met; now and then all agree, and the main process writes the list down.
    """

    def __init__(
        self, folder: Path, *, images: int, share: float, peers: Peers, known: Mapping[str, str] | None = None
    ) -> None:
        """Begin with what is known.

        Args:
            folder: where the run keeps its lists.
            images: number of unlabeled samples.
            share: `data.quarantine`, the part of them that may be damaged.
            peers: the processes of the run.
            known: samples that were damaged before, and why.
        """
        self.folder, self.peers, self.images = folder, peers, images
        self.limit = bearable(images, share)
        self.known = dict(known or {})
        self._new: dict[str, str] = {}

    def take(self, damaged: Iterable[tuple[str, str]]) -> None:
        """Take in the damaged samples of a batch, each with the reason."""
        self._new |= {name: reason for name, reason in damaged if name not in self.known}

    def agree(self, say: Callable[[str], object]) -> None:
        """Put together what all processes met; each of them must call.

        Args:
            say: told of each image that is new in the list.

        Raises:
            DataError: more images are damaged than `data.quarantine` allows; in all processes alike.
        """
        found: dict[str, str] = {}
        for text in self.peers.gather_texts(json.dumps(self._new)):
            found |= json.loads(text)
        self._new = {}
        fresh = {name: found[name] for name in sorted(found.keys() - self.known.keys())}
        if not fresh:
            return
        self.known |= fresh
        if self.peers.rank == 0:
            write_quarantine(self.folder, self.known)
        for name, reason in fresh.items():
            say(f"passed over from now on, {len(self.known)} of at most {self.limit}: {name}: {reason.splitlines()[0]}")
        self.refuse_many()

    def refuse_many(self) -> None:
        """Raise if more images are damaged than may be.

        Raises:
            DataError: the files are named.
        """
        if len(self.known) > self.limit:
            raise DataError(
                f"{len(self.known):,} of {self.images:,} unlabeled images cannot be read: {some(list(self.known))}",
                where=self.folder / _NAME,
                expected=f"at most {self.limit:,} (data.quarantine)",
                remedy="replace these files and continue with --resume, or raise --data.quarantine",
            )


def bearable(images: int, share: float) -> int:
    """Return how many of a run's unlabeled images may be damaged."""
    return max(_FEW, int(images * share)) if share else 0


def write_quarantine(folder: Path, damaged: Mapping[str, str]) -> None:
    """Write the list of damaged samples, and why they are; none if there are none and never were."""
    if damaged or (folder / _NAME).exists():
        write_text(folder / _NAME, json.dumps(dict(damaged), indent=1) + "\n")


def read_quarantine(folder: Path) -> dict[str, str]:
    """Return the damaged samples of a run, and why they are; none where there is no list.

    Raises:
        DataError: the list is damaged itself.
    """
    path = folder / _NAME
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(known, dict):
            raise ValueError("no mapping")
    except (OSError, ValueError) as error:
        remedy = "remove it: what is damaged will be found again"
        raise DataError(f"unreadable list ({error})", where=path, remedy=remedy) from error
    return {str(name): str(reason) for name, reason in known.items()}
