"""Labels that a model made for a person to correct: their mark, and what is left of it when they come back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.data.imports.trees import Folder, Tree
from semiseg.data.predicted import MARK, MARKER
from semiseg.errors import DataError
from semiseg.files import read_json, sha256_of, write_text


def mark_labels(folder: Path, files: Sequence[Path]) -> None:
    """Write beside machine-made labels that they are, with the hash of each; also in the folder of each mask.

    Raises:
        FileError: it cannot be written.
    """
    facts = {
        "made_by": MARK,
        "meaning": "These labels are predictions of a model. Training refuses them, and so does `semiseg data import` "
        "as long as nothing in them is corrected.",
        "sha256": {path.relative_to(folder).as_posix(): sha256_of(path) for path in files},
    }
    for place in sorted({folder, *(path.parent for path in files)}):
        write_text(place / MARKER, json.dumps(facts, indent=1) + "\n")


def corrected(tree: Tree) -> str | None:
    """Return what is to be said of machine-made labels that a person has corrected; None if no mark says they are.

    Raises:
        DataError: nothing in them has changed since the model made them.
    """
    made = _recorded(tree)
    here = [name for name in made if name in tree.names]
    if not here:
        return None
    same = [name for name in here if hashlib.sha256(tree.read(name)).hexdigest() == made[name]]
    if len(same) == len(here):
        raise DataError(
            f"labels as a model made them ({len(here):,} files), in which nothing is corrected",
            where=tree.where,
            expected="labels that a person has corrected",
            remedy="correct them first and import what the annotation tool exports; or, to learn from them as they "
            "are, train on the folder of masks (--format png) with --data.accept_predicted true",
        )
    return f"labels of a model, corrected: {len(here) - len(same):,} of {len(here):,} files changed, all are taken"


def _recorded(tree: Tree) -> dict[str, str]:
    """Return the hash of each machine-made file, by its name in the tree; none where nothing says so."""
    path = tree.where / MARKER if isinstance(tree, Folder) else None
    try:
        content: Any = read_json(path) if path else tree.json(MARKER) if MARKER in tree.names else {}
        sums = content.get("sha256", {})
        return {str(name): str(sum_) for name, sum_ in sums.items()}
    except (OSError, ValueError, AttributeError, DataError):
        return {}
