"""The images that `semiseg data suggest` found worth a label, and what a person has decided on each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from semiseg.app.results import Result
from semiseg.data.lists import Sample, write_list
from semiseg.data.predicted import png_mark
from semiseg.engine.pictures import save_picture
from semiseg.errors import ConfigError, DataError
from semiseg.files import read_json, write_text
from semiseg.models import ModelCard
from semiseg.prediction.protection import mark_folder
from semiseg.printable import printable

SUGGESTIONS, DECISIONS, ACCEPTED = "suggestions.json", "decisions.json", "accepted.txt"
MASKS = "accepted_masks"
Decision = Literal["accepted", "rejected"]


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """An image to label next.

    Attributes:
        name: as the file calls it.
        frames: the image, or the two of a pair.
        score: what it was chosen for.
        reasons: why, in words.
        mask: a label that a machine made, if there is one.
    """

    name: str
    frames: tuple[Path, ...]
    score: float
    reasons: tuple[str, ...]
    mask: Path | None


class Queue:
    """The suggestions of a folder, in their order, and the decisions on them, which are written down as they are made.

    `accepted.txt` lists what was accepted, for `semiseg train --data.accepted`; `decisions.json` holds all decisions,
    so that the next session goes on.

    Args:
        folder: with `suggestions.json` in it.
        card: of the model that judges.
        root: where relative paths lead that do not exist below the folder: the data folder of the run.

    Raises:
        DataError: no such file, or not of this kind.
    """

    def __init__(self, folder: Path, card: ModelCard, root: Path | None = None) -> None:
        self.folder, self.card = folder, card
        self.suggestions = _read(folder, card.frames, root)
        self.decisions: dict[str, Decision] = _decisions(folder / DECISIONS)
        self._masks: dict[str, Path] = {}

    def accept(self, number: int, result: Result, threshold: float) -> int:
        """Accept a label: write it, with pixels of a lower confidence ignored, and put it on the list.

        Args:
            number: of the suggestion.
            result: the mask that was looked at.
            threshold: least confidence of a pixel that is kept, 0 to 1.

        Returns:
            The number of pixels kept.

        Raises:
            IndexError: there is no such suggestion.
            DataError: pixels of a pair would be left out.
            FileError: it cannot be written.
        """
        suggestion = self.suggestions[number]
        kept_HW = (result.confidence_HW >= threshold * 255) & (result.mask_HW < len(self.card.classes))
        if self.card.frames == 2 and not kept_HW.all():
            raise DataError(  # 255 is a change in masks of pairs
                "a label of a pair with pixels left out, which masks of pairs cannot say",
                remedy="accept what a model says, with every pixel: set the least confidence to 0",
            )
        ids_HW = np.where(kept_HW, result.mask_HW, self.card.ignore_value).astype(np.uint8)
        path = self._mask(number)
        # Gray levels are ids whatever the colours of the data set's own masks are.
        save_picture(Image.fromarray(ids_HW, "L"), path, pnginfo=png_mark())
        mark_folder(path.parent)
        self._decide(suggestion.name, "accepted")
        return int(kept_HW.sum())

    def reject(self, number: int) -> None:
        """Reject a label; IndexError: there is no such suggestion."""
        self._decide(self.suggestions[number].name, "rejected")

    def reopen(self, number: int) -> None:
        """Take a decision back; IndexError: there is no such suggestion."""
        self._decide(self.suggestions[number].name, None)

    def _mask(self, number: int) -> Path:
        """Return where an accepted label goes: the number parts images of one name in several folders."""
        return self.folder / MASKS / f"{number + 1:04d}_{self.suggestions[number].frames[0].stem}.png"

    def _decide(self, name: str, decision: Decision | None) -> None:
        self.decisions.pop(name, None)
        if decision:
            self.decisions[name] = decision
        accepted = [
            Sample(suggestion.name, suggestion.frames, self._mask(number))
            for number, suggestion in enumerate(self.suggestions)
            if self.decisions.get(suggestion.name) == "accepted"
        ]
        write_list(self.folder / ACCEPTED, accepted, self.folder)
        write_text(self.folder / DECISIONS, json.dumps(self.decisions, indent=1) + "\n")


def _read(folder: Path, frames: int, root: Path | None) -> tuple[Suggestion, ...]:
    path = folder / SUGGESTIONS
    try:
        content = read_json(path)
        found = [_suggestion(entry, frames, folder, root) for entry in content]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise DataError(
            f"unreadable suggestions ({printable(str(reason))})",
            where=path,
            expected='a list of {"image": .., "score": .., "reasons": [..], "mask": ..}',
            remedy="name the folder that `semiseg data suggest` has made",
        ) from error
    if len({suggestion.name for suggestion in found}) < len(found):
        raise DataError("an image is suggested twice", where=path, remedy="take the other entry out")
    return tuple(found)


def _suggestion(entry: Mapping[str, Any], frames: int, folder: Path, root: Path | None) -> Suggestion:
    image = str(entry["image"])
    names = [str(name) for name in entry.get("frames", [image])]
    if len(names) != frames or not all(name and "\0" not in name for name in (image, *names)):
        raise ValueError(f"an image of {len(names)} pictures for a model of {frames}")
    mask = entry.get("mask")
    return Suggestion(
        name=image,
        frames=tuple(_found(name, folder, root) for name in names),
        score=float(entry.get("score", 0.0)),
        reasons=tuple(str(reason) for reason in entry.get("reasons", ())),
        mask=_found(str(mask), folder, root) if mask else None,
    )


def _found(name: str, folder: Path, root: Path | None) -> Path:
    """Return the file of a name: below the folder, else below the data folder; absolute names are as they are."""
    path = (folder / name).absolute()
    return path if root is None or path.exists() else (root / name).absolute()


def _decisions(path: Path) -> dict[str, Decision]:
    if not path.exists():
        return {}
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"unreadable decisions ({error})", where=path, remedy="restore or remove the file") from error
    known = get_args(Decision)
    return {str(name): word for name, word in dict(content).items() if word in known}
