"""Libraries of the package's extras, which are not everywhere."""

from __future__ import annotations

from importlib.util import find_spec

from semiseg.errors import DataError


def require_library(name: str, extra: str = "prepare", *, reads: str = "this release") -> None:
    """Refuse to begin without a library of an extra of this package.

    Args:
        name: of the library, as it is imported.
        extra: of this package, which brings it.
        reads: what is read with it.

    Raises:
        DataError: it is not installed.
    """
    if find_spec(name) is None:
        raise DataError(
            f"{name} is not installed, and {reads} is read with it", remedy=f"pip install 'semiseg[{extra}]'"
        )
