"""The pictures of a run, packed into its page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PIL import Image

_EARLIER = 6
"""How many older sheets the page carries; more would make it slow to open."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A picture inside the page: what it is called, and its `data:` address."""

    name: str
    data: str


def sheets(samples: Sequence[Path]) -> list[Sheet]:
    """Pack the newest sheet of samples, last, and before it a few earlier ones, evenly spread."""
    return [found for found in map(sheet, _spread(samples)) if found]


def packed(image: Image.Image, kind: Literal["JPEG", "PNG"] = "JPEG") -> str:
    """Return a picture as a `data:` address; photographs are JPEG, class ids in a palette PNG."""
    content = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(content, kind, quality=90, subsampling=0)
    else:
        image.save(content, kind, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


def _spread(samples: Sequence[Path]) -> list[Path]:
    """Return the newest sample last, and before it at most a few others, evenly spread from the first on."""
    earlier = samples[:-1]
    count = min(len(earlier), _EARLIER)
    return [earlier[index * len(earlier) // count] for index in range(count)] + list(samples[-1:])


def sheet(path: Path) -> Sheet | None:
    """Return one sheet; None if the file is no picture (a run may be writing it)."""
    try:
        data = _packed_file(path.absolute(), path.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    number = path.stem.removeprefix("step_")
    return Sheet(name=f"step {int(number):,}" if number.isdecimal() else path.stem, data=data)


@lru_cache(maxsize=2 * (_EARLIER + 2))
def _packed_file(path: Path, changed_ns: int) -> str:
    """Pack a file once: a training reports after each evaluation, each time with the sheets of earlier ones."""
    with Image.open(path, formats=("PNG",)) as image:
        return packed(image)
