from __future__ import annotations

import re

import pytest

from semiseg.models.encoders.meta import meta_file


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("size", ["small", "base", "large", "giant"])
def test_every_dinov2_has_a_pinned_file_about_as_long_as_its_parameters(size: str, registers: bool) -> None:
    file = meta_file(size, registers)
    assert re.fullmatch("[0-9a-f]{64}", file.sha256)
    parameters = {"small": 22.06e6, "base": 86.58e6, "large": 304.37e6, "giant": 1136.5e6}[size]
    assert file.size == pytest.approx(4 * parameters, rel=1e-3)


def test_no_two_files_are_the_same() -> None:
    files = [meta_file(size, registers) for size in ("small", "base", "large", "giant") for registers in (False, True)]
    assert len({file.sha256 for file in files}) == len({file.url for file in files}) == 8


def test_the_address_is_metas() -> None:
    base = "https://dl.fbaipublicfiles.com/dinov2/"
    assert meta_file("base", False).url == f"{base}dinov2_vitb14/dinov2_vitb14_pretrain.pth"
    assert meta_file("giant", True).url == f"{base}dinov2_vitg14/dinov2_vitg14_reg4_pretrain.pth"
