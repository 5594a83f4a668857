"""Torch files of others, looked through before torch reads them: they neither run code nor exhaust the memory."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import torch

from semiseg.errors import ModelError

StandIn = Callable[..., object] | tuple[Callable[..., object], str]
"""What takes the place of a name in a file, as `torch.serialization.safe_globals` wants it."""

_ALLOWED = re.compile(
    r"collections\.OrderedDict|_codecs\.encode"
    r"|torch\.(?:\w+Storage|storage\.\w+Storage|Size|device|b?float\d+|u?int\d+|bool)"
    r"|torch\._utils\._rebuild_(?:tensor|tensor_v2|parameter|parameter_with_state)"
    r"|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter"
)
"""What a file of weights may name. torch lets in more, as a `bytearray` of any length, which twenty bytes ask for."""
_BY_STACK = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
"""Other ways to name something, which torch.save does not take."""
_MAX_PICKLE_BYTES = 2**26
_ZIP = b"PK\3\4"  # what torch goes by, and not the directory at a file's end
_PICKLES_OF_OLD = 4
"""Before 2020 a file began with four pickles: a magic number, a version, facts of the machine, and the content."""


def load_foreign(path: Path, stand_ins: Sequence[StandIn] = ()) -> object:
    """Return the content of a torch file: tensors, numbers, text, and lists and mappings of these.

    Args:
        path: the file.
        stand_ins: what is made of further names in it.

    Raises:
        ModelError: it cannot be read, or names something else. A damaged or hostile file makes readers raise nearly
            anything; for the user it is one thing.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
        _refuse_names(_names_in_zip(path) if is_zip else _names_of_old(path), stand_ins)
        with torch.serialization.safe_globals(list(stand_ins)):
            # Mapped, where the format allows: most of a checkpoint is the optimizer's state, which is then never read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:
        reason = str(error) if isinstance(error, _Refused) else type(error).__name__
        raise ModelError(
            f"the file of weights cannot be read ({reason})",
            where=path,
            expected="a torch file of tensors, numbers and text; anything else in it is refused, and never run",
            remedy="download it again from its publisher, or save its state dict alone",
        ) from error


class _Refused(Exception):
    """The file holds what no file of weights holds."""


def _refuse_names(names: Iterator[str], stand_ins: Sequence[StandIn]) -> None:
    known = {entry[1] for entry in stand_ins if isinstance(entry, tuple)}
    for name in names:
        if name not in known and not _ALLOWED.fullmatch(name):
            raise _Refused(f"it names {name[:80]!r}")


def _names_in_zip(path: Path) -> Iterator[str]:
    """Yield what the pickles in a zip name.

    Raises:
        _Refused: parts are compressed, which torch never does: a few of them can stand for terabytes.
    """
    with zipfile.ZipFile(path) as parts:
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
            raise _Refused("its parts are compressed")
        for part in parts.infolist():
            if part.filename.endswith(".pkl"):
                if part.file_size > _MAX_PICKLE_BYTES:
                    raise _Refused(f"{part.file_size:,} bytes that are no tensors")
                with parts.open(part) as file:
                    yield from _names(file)


def _names_of_old(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for _ in range(_PICKLES_OF_OLD):
            yield from _names(file)


def _names(pickle: IO[bytes]) -> Iterator[str]:
    """Yield what a pickle would import, without running it."""
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name in _BY_STACK:
            yield opcode.name
