"""Masks of a whole pool, kept until it is known which images are chosen, so that the model looks at each once."""

from __future__ import annotations

import tempfile
import zlib

import numpy as np

from semiseg.suggestion.uncertainty import Mask


class KeptMasks:
    """Masks by the ids of their samples, compressed in a temporary file: those of thousands of images are gigabytes."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object
        self._places: dict[str, tuple[int, int, tuple[int, ...]]] = {}

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self._places)

    def __setitem__(self, id: str, mask_HW: Mask) -> None:
        """Keep a mask.

        Raises:
            OSError: the folder for temporary files is full.
        """
        packed = zlib.compress(mask_HW.tobytes(), 1)
        self._places[id] = (self._file.seek(0, 2), len(packed), mask_HW.shape)
        self._file.write(packed)

    def __getitem__(self, id: str) -> Mask:
        """Return a mask; KeyError: none was kept."""
        start, length, shape = self._places[id]
        self._file.seek(start)
        return np.frombuffer(zlib.decompress(self._file.read(length)), dtype=np.uint8).reshape(shape)
