from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, build_segmenter
from semiseg.models.encoders import build_encoder
from semiseg.models.encoders.package import EFFICIENTNET_LITE0, PackagedFile
from semiseg.models.folding import FixedNorm
from semiseg.models.weights import read_tensors


@pytest.fixture(scope="module")
def packaged() -> Path:
    try:
        return EFFICIENTNET_LITE0.find()
    except ModelError as error:
        pytest.skip(str(error))


def of_timm(file: Path) -> nn.Module:
    """Return timm's whole network with the file's tensors, which are in timm's order."""
    network = timm.create_model("tf_efficientnet_lite0")
    tensors = read_tensors(file)
    network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
    return network.eval()


def test_the_package_gives_the_levels_of_timm_with_its_weights(packaged: Path) -> None:
    images = torch.randn(2, 3, 70, 96, generator=torch.Generator().manual_seed(0))
    expected = of_timm(packaged).forward_intermediates(images, intermediates_only=True)[-4:]  # type: ignore[operator]
    encoder = build_encoder("efficientnet_lite0", "package")
    assert encoder.training  # the averages are those of pre-training all the same
    levels = encoder(images)
    assert [level.shape[1:] for level in levels] == [(24, 18, 24), (40, 9, 12), (112, 5, 6), (320, 3, 3)]
    for level, wanted in zip(levels, expected, strict=True):
        # Folded norms round otherwise: of values up to 70 the errors against float64 are 1e-4 here and 4e-5 in timm.
        torch.testing.assert_close(level, wanted, rtol=1e-4, atol=2e-4)


def test_a_file_in_timms_own_layout_loads_to_the_same_encoder(packaged: Path, tmp_path: Path) -> None:
    file = tmp_path / "lite0.pth"
    torch.save(of_timm(packaged).state_dict(), file)
    packed, own = build_encoder("efficientnet_lite0", "package"), build_encoder("efficientnet_lite0", str(file))
    assert packed.state_dict().keys() == own.state_dict().keys()
    assert all(torch.equal(tensor, own.state_dict()[key]) for key, tensor in packed.state_dict().items())


def test_grey_127_is_zero_as_in_pre_training() -> None:
    student = build_segmenter(ModelConfig(encoder="efficientnet_lite0", weights="random"), num_classes=3)
    grey = torch.full((1, 1, 3, 32, 32), 127, dtype=torch.uint8)
    assert student.normalize(grey).abs().max() < 1e-6
    assert torch.allclose(student.normalize(grey + 128), torch.tensor(1.0))


def test_training_moves_scale_and_shift_of_a_norm_and_neither_mean_nor_variance() -> None:
    student = build_segmenter(ModelConfig(encoder="efficientnet_lite0", weights="random"), num_classes=3).train()
    norms = [module for module in student.modules() if isinstance(module, FixedNorm)]
    before = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    student(torch.randn(2, 1, 3, 64, 64)).square().mean().backward()
    assert len(norms) == 48
    for norm, (mean, variance) in zip(norms, before, strict=True):
        assert norm.weight.grad is not None
        assert norm.bias.grad is not None
        assert torch.equal(norm.running_mean, mean)
        assert torch.equal(norm.running_var, variance)


def test_the_samples_of_a_training_batch_do_not_see_each_other() -> None:
    student = build_segmenter(ModelConfig(encoder="efficientnet_lite0", weights="random"), num_classes=3).train()
    images = torch.randn(3, 1, 3, 64, 64)
    torch.testing.assert_close(student(images)[:1], student(images[:1]))


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EFFICIENTNET_LITE0.module, None)
    monkeypatch.setattr("semiseg.models.encoders.package.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=re.escape("pip install 'semiseg[starter]'")):
        build_encoder("efficientnet_lite0", "package")


def test_a_package_with_another_file_is_refused_and_none_of_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "borrowed").mkdir()
    (tmp_path / "borrowed" / "__init__.py").write_text("raise SystemExit('run')")
    (tmp_path / "borrowed" / "weights.pth").write_bytes(b"content")
    monkeypatch.syspath_prepend(tmp_path)
    sound = hashlib.sha256(b"content").hexdigest()
    named = {"module": "borrowed", "path": "weights.pth", "extra": "starter"}
    assert PackagedFile(sha256=sound, **named).find() == tmp_path / "borrowed" / "weights.pth"
    with pytest.raises(ModelError, match=r"(?s)not the one that semiseg knows.*SHA-256 0000"):
        PackagedFile(sha256="0" * 64, **named).find()


def test_an_encoder_that_no_package_carries_is_refused() -> None:
    with pytest.raises(ModelError, match=r"(?s)no package carries weights of vit_nano.*efficientnet_lite0"):
        build_encoder("vit_nano", "package")
