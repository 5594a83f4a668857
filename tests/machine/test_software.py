from __future__ import annotations

import pytest
import torch

from semiseg.machine import software


@pytest.mark.parametrize(
    ("requirement", "installed", "fault"),
    [
        ("torch>=2.10", "2.9.1+cu128", "2.9.1+cu128, needed is 2.10 or newer; older ones run code"),
        ("torch>=2.10", "2.10.0", None),
        ("torch>=2.10", "3.0.0a0", None),
        ("jsonargparse[signatures]>=4.40", "4.9.2", "4.9.2, needed is 4.40 or newer"),
        ("timm>=1.0.20", None, "missing, needed is 1.0.20 or newer"),
        ("rasterio>=1.4; extra == 'geo'", None, None),
    ],
)
def test_a_version_that_is_not_enough_is_bad(
    monkeypatch: pytest.MonkeyPatch, requirement: str, installed: str | None, fault: str | None
) -> None:
    monkeypatch.setattr(software, "requires", lambda _: [requirement])
    monkeypatch.setattr(software, "_installed", lambda name: "0.1" if name == "semiseg" else installed)
    found = list(software.check_libraries())[1:]
    assert [check.verdict for check in found] == ([] if fault is None else ["bad"])
    if fault:
        assert found[0].value.startswith(fault)
        assert found[0].advice.startswith("pip install '")


def test_known_faults_are_tried_and_the_one_that_is_there_is_named_with_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (check,) = software.check_results()
    assert check.verdict == "good"

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available\nfor this device")

    monkeypatch.setattr("torch.nn.functional.conv2d", lambda *_: torch.tensor(1.0))
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", fails)
    first, second = software.check_results()
    assert "convolutions in bf16 on cpu: wrong results (https://github.com/pytorch/pytorch/issues/163347" in first.value
    assert "no kernel image is available (" in second.value
    assert [first.verdict, second.verdict] == ["bad", "bad"]
