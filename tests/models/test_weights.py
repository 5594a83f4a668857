from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models.encoders import build_encoder
from semiseg.models.weights import load_strictly, read_tensors, timm_names


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A state dict in Meta's layout, as in dinov2_vits14_pretrain.pth, that no initialisation would give."""
    timm_layout = build_encoder("dinov2_small", "random").core().state_dict()
    return {key: value + 1 for key, value in timm_layout.items()} | {"mask_token": torch.zeros(1, 384)}


def encoder_state(path: Path) -> dict[str, Tensor]:
    return build_encoder("dinov2_small", str(path)).core().state_dict()


def assert_loaded(path: Path, published: dict[str, Tensor]) -> None:
    state = encoder_state(path)
    assert state.keys() == published.keys() - {"mask_token"}
    assert all(torch.equal(state[key], published[key]) for key in state)


def test_meta_layout_loads(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save(published, tmp_path / "dinov2.pth")
    assert_loaded(tmp_path / "dinov2.pth", published)


def test_timm_layout_loads_from_safetensors(tmp_path: Path, published: dict[str, Tensor]) -> None:
    save_file({key: value for key, value in published.items() if key != "mask_token"}, tmp_path / "timm.safetensors")
    assert_loaded(tmp_path / "timm.safetensors", published)


def test_blocks_in_chunks_load(tmp_path: Path, published: dict[str, Tensor]) -> None:
    chunked = {}
    for key, value in published.items():
        head, *rest = key.split(".", 2)
        chunked[f"blocks.{int(rest[0]) // 3}.{rest[0]}.{rest[1]}" if head == "blocks" else key] = value
    torch.save(chunked, tmp_path / "dinov2.pth")
    assert_loaded(tmp_path / "dinov2.pth", published)


def test_the_gated_mlp_of_the_giant_is_renamed() -> None:
    names = timm_names({"blocks.3.mlp.w12.weight": torch.zeros(1), "blocks.0.7.mlp.w3.bias": torch.zeros(1)}, {})
    assert list(names) == ["blocks.3.mlp.fc1.weight", "blocks.7.mlp.fc2.bias"]


def test_registers_come_with_the_position_of_the_class_token_merged() -> None:
    meta = {
        "cls_token": torch.full((1, 1, 4), 2.0),
        "register_tokens": torch.randn(1, 4, 4),
        "pos_embed": torch.randn(1, 1 + 9, 4),
        "norm.bias": torch.randn(4),
    }
    names = timm_names(meta, {})
    assert names.keys() == {"cls_token", "reg_token", "pos_embed", "norm.bias"}
    torch.testing.assert_close(names["cls_token"], 2 + meta["pos_embed"][:, :1])
    assert torch.equal(names["pos_embed"], meta["pos_embed"][:, 1:])
    assert torch.equal(names["reg_token"], meta["register_tokens"])
    again = timm_names(names, {})
    assert all(torch.equal(again[key], names[key]) for key in names)


def test_registers_load_from_metas_layout_as_timm_loads_them(tmp_path: Path) -> None:
    core = build_encoder("dinov2_small_reg", "random").core()
    meta = {key: torch.randn_like(value) for key, value in core.state_dict().items()}
    meta["register_tokens"] = meta.pop("reg_token")
    meta["pos_embed"] = torch.cat((torch.randn(1, 1, 384), meta["pos_embed"]), dim=1)
    meta["mask_token"] = torch.zeros(1, 384)
    torch.save(meta, tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    loaded = build_encoder("dinov2_small_reg", str(tmp_path / "dinov2_vits14_reg4_pretrain.pth")).core().state_dict()
    expected = checkpoint_filter_fn(dict(meta), core)
    assert loaded.keys() == expected.keys()
    for key, value in loaded.items():
        torch.testing.assert_close(value, expected[key])


def test_what_does_not_fit_is_named_and_nothing_is_loaded() -> None:
    encoder = build_encoder("vit_nano", "random")
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    wrong = {key: value + 1 for key, value in before.items()}
    del wrong["norm.bias"]
    wrong["extra"] = torch.zeros(1)
    wrong["norm.weight"] = torch.zeros(31)
    with pytest.raises(ModelError) as caught:
        load_strictly(encoder, wrong, where="somewhere")
    for part in ("1 missing (norm.bias)", "1 unexpected (extra)", "norm.weight (31,) instead of (32,)", "somewhere"):
        assert part in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_a_long_list_of_keys_is_capped(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save({"cls_token": published["cls_token"]}, tmp_path / "short.pth")
    with pytest.raises(ModelError, match=r"173 missing \(.* and 165 more\)"):
        encoder_state(tmp_path / "short.pth")


def test_weights_of_another_size_are_an_error(tmp_path: Path, published: dict[str, Tensor]) -> None:
    save_file({**published, "pos_embed": torch.zeros(1, 257, 384)}, tmp_path / "small.safetensors")
    with pytest.raises(ModelError, match=r"pos_embed \(1, 257, 384\) instead of \(1, 1370, 384\)"):
        encoder_state(tmp_path / "small.safetensors")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_a_pickle_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"cls_token": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        read_tensors(tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"\xff" * 64])
def test_a_broken_file_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read"):
        read_tensors(tmp_path / name)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        build_encoder("vit_nano", str(tmp_path / "none.pth"))


def test_a_nested_checkpoint_is_an_error(tmp_path: Path) -> None:
    torch.save({"model": {"cls_token": torch.zeros(1)}, "epoch": 3}, tmp_path / "nested.pth")
    with pytest.raises(ModelError, match="named tensors"):
        read_tensors(tmp_path / "nested.pth")


def test_our_own_encoders_load_their_own_files(tmp_path: Path) -> None:
    state = {key: value + 1 for key, value in build_encoder("vit_nano", "random").state_dict().items()}
    save_file(state, tmp_path / "nano.safetensors")
    loaded = build_encoder("vit_nano", str(tmp_path / "nano.safetensors")).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
