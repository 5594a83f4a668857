"""What a suggestion leaves on the disk: a list, its reasons, and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from semiseg.data import Sample
from semiseg.data.bands import read_picture
from semiseg.data.predicted import png_mark
from semiseg.data.reduction import reduce_mask
from semiseg.engine.pictures import Cell, contact_sheet, indexed_image, save_picture
from semiseg.errors import DataError
from semiseg.files import is_bare, whole_folder, write_text
from semiseg.models import ModelCard
from semiseg.prediction.protection import mark_folder
from semiseg.prediction.result import tinted
from semiseg.suggestion.choice import Choice
from semiseg.suggestion.pool import Pool
from semiseg.suggestion.uncertainty import Mask

LIST, SUGGESTIONS, MASKS = "suggested.txt", "suggestions.json", "masks"
_ON_A_SHEET = 24


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """An image to label next, as `suggestions.json` lists it.

    Attributes:
        image: its path from the disk's root; of a pair that of the later image.
        frames: the paths of all its images, of a pair the earlier one first.
        score: what it was chosen for; a later one is chosen among those that are unlike the earlier.
        reasons: why, in words.
        mask: with a model, the file of its confident mask, below the folder of `suggestions.json`.
    """

    image: str
    frames: Sequence[str]
    score: float
    reasons: Sequence[str]
    mask: str | None


def refuse_existing(folder: Path) -> None:
    """Refuse to write where something is.

    Raises:
        DataError: the folder exists and holds something.
    """
    if folder.exists() and not (folder.is_dir() and is_bare(folder)):
        raise DataError(
            "the output exists", where=folder, expected="a new folder", remedy="name another one, such as --out round2"
        )


def write_suggestions(
    folder: Path, pool: Pool, choice: Choice, card: ModelCard | None, max_pixels: int
) -> list[Suggestion]:
    """Write the folder of a choice, whole or not at all.

    Args:
        folder: where; it does not exist yet.
        pool: what was chosen from.
        choice: what was chosen.
        card: of the model, if there is one, for the colours of masks.
        max_pixels: the largest image that is opened.

    Raises:
        FileError: it cannot be written.
    """
    with whole_folder(folder) as draft:
        found, cells = [], []
        for place, sample in enumerate(choice.samples):
            mask_HW = choice.masks[sample.id] if card else None
            mask = f"{MASKS}/{place + 1:03}.png" if mask_HW is not None else None
            if card and mask_HW is not None:
                save_picture(indexed_image(mask_HW, card.palette), draft / str(mask), pnginfo=png_mark())
            score, reasons = choice.picks[place].score, choice.reasons(place)
            frames = [path.absolute().as_posix() for path in sample.frames]
            found.append(Suggestion(image=frames[-1], frames=frames, score=score, reasons=reasons, mask=mask))
            picture = _picture(sample, pool, mask_HW, card, max_pixels)
            cells.append(Cell(picture, f"{place + 1}  {score:.3f}  {sample.id}"))
        if card:
            mark_folder(draft / MASKS)
        _write_sheets(draft, cells, card)
        write_text(draft / LIST, "".join(f"{each.image}\n" for each in found))
        write_text(draft / SUGGESTIONS, json.dumps([asdict(each) for each in found], indent=1) + "\n")
    return found


def _picture(sample: Sample, pool: Pool, mask_HW: Mask | None, card: ModelCard | None, max_pixels: int) -> Image.Image:
    """Return a sample for a contact sheet, of a pair both frames, tinted with its mask."""
    frames = [np.asarray(read_picture(path, max_pixels, pool.spec.shown)) for path in sample.frames]
    if mask_HW is not None and card is not None:
        small_HW = reduce_mask(mask_HW, pool.spec.long_side)
        frames[-1] = np.asarray(tinted(frames[-1], small_HW, card.palette))
    return Image.fromarray(np.concatenate(frames, axis=1))


def _write_sheets(folder: Path, cells: Sequence[Cell], card: ModelCard | None) -> None:
    legend = list(zip(card.classes, card.palette, strict=True)) if card else []
    for number, start in enumerate(range(0, len(cells), _ON_A_SHEET), 1):
        sheet = contact_sheet(cells[start : start + _ON_A_SHEET], legend)
        save_picture(sheet, folder / f"sheet_{number:02}.jpg", quality=88)
