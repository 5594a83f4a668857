"""CLIP with levels for SemiVL; its figures are held against the published code, see tests/golden/semivl.json."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fidelity import apart, draws  # benchmarks/fidelity.py
from ruled_clip import EXACT, QUICK, ruled_clip  # tests/support
from safetensors.torch import save_file
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models.encoders import ENCODERS, EncoderSpec, build_encoder
from semiseg.models.encoders.clip import CLIP, DetailedCLIP

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/semivl.json").read_text())
SIZES: dict[str, Any] = {"embed_dim": 32, "depth": 4, "num_heads": 2, "channels": 24}
NAMES = (
    ("patch_embed.proj", "conv1"),
    ("norm_pre", "ln_pre"),
    (".norm", ".ln_"),
    ("norm.", "ln_post."),
    ("attn.qkv.", "attn.in_proj_"),
    ("attn.proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("blocks.", "transformer.resblocks."),
)


def openai_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's state dict as OpenAI and open_clip name and shape it, with a part of the text tower."""
    special = {"cls_token": "class_embedding", "pos_embed": "positional_embedding", "head.weight": "proj"}
    found = {"text_projection": torch.zeros(24, 24), "logit_scale": torch.zeros(())}
    for key, tensor in state.items():
        if key == "head.bias":
            continue
        tensor = tensor.flatten(0, -2)[0] if key == "cls_token" else tensor[0] if key == "pos_embed" else tensor
        tensor = tensor.T.contiguous() if key == "head.weight" else tensor
        for ours, theirs in NAMES:
            key = key.replace(ours, theirs)
        found[f"visual.{special.get(key, key)}"] = tensor
    return found


@pytest.mark.parametrize(("name", "side"), [(EXACT, "published"), (QUICK, "quickgelu")])
def test_levels_are_the_published_ones(name: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By way of a file in OpenAI's layout. The published code computes CLIP with the exact GELU; ours, as CLIP was
    trained, with its quick approximation."""
    save_file(openai_layout(ruled_clip()), tmp_path / "clip.safetensors")
    build = partial(CLIP, name, (0, 4), "ViT-B-16-quickgelu")
    spec = EncoderSpec(build=build, features=8, level_widths=(8, 8, 8, 8))
    monkeypatch.setitem(ENCODERS, "clip_base_text", ENCODERS["clip_base_text"] if side == "quickgelu" else spec)
    encoder = build_encoder("clip_base_text", str(tmp_path / "clip.safetensors")).eval()
    image = torch.from_numpy(draws("clip image", (2, 3, 96, 160)).astype(np.float32))
    with torch.inference_mode():
        levels = encoder(image)
    assert max(apart(levels[index], GOLDEN[side][f"level{index}"]) for index in (0, 1, 3)) < 1e-4


def test_the_last_level_has_unit_length_and_can_be_had_alone() -> None:
    encoder = CLIP(QUICK, (0, 2), "tower", False, **SIZES).eval()
    image = torch.randn(2, 3, 48, 64)
    *_, aligned = encoder(image)
    assert aligned.shape == (2, 24, 3, 4)
    torch.testing.assert_close(aligned.norm(dim=1), torch.ones(2, 3, 4))
    torch.testing.assert_close(encoder.deepest(image), aligned)


def test_the_last_level_knows_only_its_own_place_of_the_last_block() -> None:
    """With attention in the earlier blocks out of action, a value path sees one patch."""
    encoder = CLIP(QUICK, (0, 2), "tower", False, **SIZES).eval()
    for block in list(encoder.core().blocks)[:-1]:
        torch.nn.init.zeros_(block.attn.proj.weight)
    image = torch.randn(1, 3, 32, 48)
    changed = image.clone()
    changed[..., :16, :16] = 0
    same = torch.isclose(encoder(image)[-1], encoder(changed)[-1], atol=1e-6).all(dim=1)[0]
    assert same.tolist() == [[False, True, True], [True, True, True]]


@pytest.mark.parametrize(
    ("key", "shape"), [("proj", (24,)), ("positional_embedding", (5,)), ("positional_embedding", (8, 32))]
)
def test_a_malformed_file_is_named_by_its_keys(key: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    wanted = openai_layout(build_encoder("clip_nano", "random").core().state_dict())
    save_file(wanted, tmp_path / "good.safetensors")
    build_encoder("clip_nano", str(tmp_path / "good.safetensors"))
    save_file(wanted | {f"visual.{key}": torch.zeros(shape)}, tmp_path / "bad.safetensors")
    with pytest.raises(ModelError, match=r"do not fit the model: \d wrongly shaped"):
        build_encoder("clip_nano", str(tmp_path / "bad.safetensors"))


@pytest.mark.parametrize("native", [14, 32])
def test_files_of_timm_load_with_positions_of_any_square_grid(native: int, tmp_path: Path) -> None:
    encoder = CLIP(QUICK, (0, 2), "tower", False, **SIZES)
    state = encoder.core().state_dict() | {"pos_embed": torch.randn(1, 1 + native**2, 32)}
    adapted = encoder.adapt(state)
    assert adapted.keys() == state.keys()
    assert adapted["pos_embed"].shape == (1, 1 + 32**2, 32)
    assert torch.equal(adapted["pos_embed"], state["pos_embed"]) == (native == 32)


def test_spatial_fine_tuning_trains_attention_and_positions() -> None:
    encoder = CLIP(QUICK, (0, 2), "tower", False, **SIZES)
    names = {id(p): name for name, p in encoder.core().named_parameters()}
    kinds = {name.split(".", 2)[-1] for name in (names[id(p)] for p in encoder.attention())}
    assert kinds == {"pos_embed", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias"}


def test_the_resnet_sees_its_own_scale_and_trains_as_a_whole() -> None:
    clip = CLIP(QUICK, (0, 2), "tower", False, **SIZES)
    encoder = DetailedCLIP(clip, "test_resnet.r160_in1k", False).eval()
    seen: list[Tensor] = []
    encoder.detail.register_forward_hook(lambda _module, args, _output: seen.append(args[0]))
    grey = torch.full((1, 3, 32, 48), 0.5)
    levels = encoder((grey - torch.tensor(clip.mean).view(3, 1, 1)) / torch.tensor(clip.std).view(3, 1, 1))
    expected = (grey - torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)) / torch.tensor((0.229, 0.224, 0.225)).view(
        3, 1, 1
    )
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-5)
    assert [tuple(level.shape[1:]) for level in levels] == [(32, 8, 12), (32, 2, 3), (32, 2, 3), (24, 2, 3)]
    assert [encoder.widths[0], encoder.strides] == [32, (4, 16, 16, 16)]
    trained = {id(p) for p in encoder.attention()}
    assert trained == {id(p) for p in (*clip.attention(), *encoder.detail.parameters())}
    image = torch.randn(1, 3, 32, 48)
    assert torch.equal(encoder.deepest(image), encoder(image)[-1])
