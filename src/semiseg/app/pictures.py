"""The pictures that the page may show, by names that the server gave them: no path ever comes from the page."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from semiseg.data.bands import image_suffixes
from semiseg.errors import DataError
from semiseg.models import ModelCard
from semiseg.prediction.frames import Raster, open_frames, shown_to

KEPT = 16
"""Uploads that stay; the oldest goes when another comes."""
LONGEST = 2048
"""Longest side of what the page draws; of larger pictures it draws every second, third .. pixel."""


class Pictures:
    """Uploads, and files that are known from the start.

    Args:
        folder: an empty one for uploads, which is removed when the app ends.
        card: how the model sees images.
        max_pixels: the largest image that is decoded whole.
    """

    def __init__(self, folder: Path, card: ModelCard, max_pixels: int) -> None:
        self.suffixes = image_suffixes(shown_to(card).bands)
        self._shown = replace(shown_to(card), long_side=None)  # people see the pictures as large as they are
        self.max_pixels = max_pixels
        self._folder = folder
        self._paths: dict[str, Path] = {}
        self._uploads: list[str] = []
        self._numbers = itertools.count(1)

    def know(self, path: Path) -> str:
        """Give a file a name."""
        name = f"k{next(self._numbers)}"
        self._paths[name] = path
        return name

    def path(self, name: str) -> Path:
        """Return the file of a name.

        Raises:
            KeyError: nothing is called so, any more.
        """
        return self._paths[name]

    async def receive(self, suffix: str, content: AsyncIterator[bytes]) -> tuple[str, int, int]:
        """Take an upload in and decode it once.

        Args:
            suffix: of its file's name, lower case.
            content: its bytes.

        Returns:
            Its name, width and height.

        Raises:
            DataError: no image, of a format that is not read, damaged or too large.
        """
        if suffix not in self.suffixes:
            raise DataError(
                f"{suffix or 'a file without a suffix'} is no image",
                expected=", ".join(self.suffixes),
                remedy="drop an image",
            )
        name = f"u{next(self._numbers)}"
        path = self._folder / f"{name}{suffix}"
        try:
            with path.open("xb") as file:
                async for chunk in content:
                    file.write(chunk)
            height, width = self._opened(path).shape[:2]
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._paths[name] = path
        self._uploads.append(name)
        if len(self._uploads) > KEPT:
            self._paths.pop(self._uploads.pop(0)).unlink(missing_ok=True)
        return name, width, height

    def shown(self, name: str) -> Image.Image:
        """Return a picture in the bands that the model sees, and in the size that the page draws.

        Raises:
            KeyError: nothing is called so.
            DataError: it cannot be read.
        """
        raster = self._opened(self.path(name))
        step = thinning(*raster.shape[:2])
        return Image.fromarray(raster[:, :][::step, ::step])

    def _opened(self, path: Path) -> Raster:
        return open_frames((path,), 1, self.max_pixels, self._shown).pictures[0]


def thinning(height: int, width: int) -> int:
    """Return n where the page draws every n-th pixel of a picture of this size."""
    return -(-max(height, width) // LONGEST)
