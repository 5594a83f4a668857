from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.models import ModelConfig, Segmenter, build_segmenter, published_names
from semiseg.models.published import MASK_TOKEN, build_published, read_published, write_published

KEYS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden/published_keys.json").read_text())
"""Number and sha256 of the lines `NAME SHAPE`, sorted, of the public networks with 21 classes.

The public change detection has the same ones, but for the giant, which it cannot build."""

TEACHER, STUDENT = {"a.weight": torch.ones(2)}, {"a.weight": torch.zeros(2)}


def on_meta(size: str) -> Segmenter:
    with torch.device("meta"):
        return build_segmenter(ModelConfig(encoder=f"dinov2_{size}", weights="random"), 21)


def published_shapes(size: str) -> dict[str, Tensor]:
    """A published state dict without values."""
    model = on_meta(size)
    state = model.state_dict()
    names = published_names(state, gated=size == "giant")
    return {MASK_TOKEN: torch.empty(1, model.width, device="meta")} | {names[key]: state[key] for key in state}


def wrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{key}": value for key, value in state.items()}


@pytest.mark.parametrize("size", KEYS)
def test_names_and_shapes_are_the_published_ones(size: str) -> None:
    lines = [f"{key} {tuple(value.shape)}" for key, value in sorted(published_shapes(size).items())]
    assert len(lines) == KEYS[size]["keys"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == KEYS[size]["sha256"]


@pytest.mark.parametrize(
    ("size", "features", "level_widths"),
    [
        ("small", 64, (48, 96, 192, 384)),
        ("base", 128, (96, 192, 384, 768)),
        ("large", 256, (256, 512, 1024, 1024)),
        ("giant", 384, (1536, 1536, 1536, 1536)),
    ],
)
def test_the_shapes_tell_the_network(size: str, features: int, level_widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = build_published(published_shapes(size), 2, "somewhere")
    assert (model.config.encoder, model.num_classes, model.frames) == (f"dinov2_{size}", 21, 2)
    assert (model.config.features, model.config.level_widths) == (features, level_widths)


def test_every_key_that_does_not_fit_is_named() -> None:
    state = published_shapes("small")
    gone = [key for key in state if key.startswith("backbone.blocks.")]
    for key in gone:
        del state[key]
    state |= {"backbone.register_tokens": torch.empty(1, 4, 384), "head.projects.0.bias": torch.empty(47)}
    with torch.device("meta"), pytest.raises(ModelError) as caught:
        build_published(state, 1, "best.pth")
    message = str(caught.value)
    assert len(gone) == 168
    assert all(f"missing: {key}\n" in message for key in gone)
    assert "unexpected: backbone.register_tokens\n" in message
    assert "wrongly shaped: head.projects.0.bias (47,) instead of (48,)" in message
    assert "best.pth" in message


CHANGES: dict[str, tuple[str, Tensor | None]] = {
    "no decoder": ("head.projects.2.weight", None),
    "no classifier": ("head.scratch.output_conv.2.weight", torch.empty(21)),
    "another width": (MASK_TOKEN, torch.empty(1, 192)),
    "classes that no mask can hold": (
        "head.scratch.output_conv.2.weight",
        torch.empty(1, 1, 1, 1).expand(10**9, 64, 1, 1),
    ),
    "features without end": ("head.scratch.output_conv.2.weight", torch.empty(1, 1, 1, 1).expand(21, 10**9, 1, 1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_network_is_an_error(name: str) -> None:
    key, tensor = CHANGES[name]
    state = published_shapes("small")
    state.pop(key)
    with pytest.raises(ModelError):
        build_published(state if tensor is None else state | {key: tensor}, 1, "somewhere")


@pytest.mark.parametrize(
    ("content", "part", "expected"),
    [
        ({"model": wrapped(STUDENT), "model_ema": wrapped(TEACHER), "epoch": 3}, None, (TEACHER, "teacher")),
        ({"model": wrapped(STUDENT), "model_ema": wrapped(TEACHER)}, "student", (STUDENT, "student")),
        ({"model": wrapped(STUDENT), "optimizer": {"state": {}}}, None, (STUDENT, "student")),
        (wrapped(STUDENT), None, (STUDENT, None)),
        (STUDENT, None, (STUDENT, None)),
    ],
    ids=["teacher and student", "student asked for", "supervised", "wrapped state dict", "state dict"],
)
def test_the_network_is_found(
    tmp_path: Path, content: object, part: Any, expected: tuple[dict[str, Tensor], Any]
) -> None:
    torch.save(content, tmp_path / "best.pth")
    state, found = read_published(tmp_path / "best.pth", part)
    assert found == expected[1]
    assert state.keys() == expected[0].keys()
    assert torch.equal(state["a.weight"], expected[0]["a.weight"])


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(wrapped(TEACHER), tmp_path / "model.safetensors")
    state, part = read_published(tmp_path / "model.safetensors")
    assert part is None
    assert torch.equal(state["a.weight"], TEACHER["a.weight"])


@pytest.mark.parametrize("content", [{"model": STUDENT}, STUDENT])
def test_a_part_that_is_not_there_is_an_error(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "best.pth")
    with pytest.raises(ModelError, match="no teacher in the checkpoint"):
        read_published(tmp_path / "best.pth", "teacher")


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Exchange a text in a torch file, zipped or of the older kind."""
    if not zipfile.is_zipfile(path):
        path.write_bytes(path.read_bytes().replace(old, new))
        return
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content.replace(old, new))


@pytest.mark.parametrize("module", ["numpy._core.multiarray", "numpy.core.multiarray"])
@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_are_let_pass(tmp_path: Path, module: str, zipped: bool) -> None:
    path = tmp_path / "best.pth"
    best = {"previous_best": np.float64(74.1), "epoch": np.int64(3), "model": {}}
    torch.save(best | {"model_ema": wrapped(TEACHER)}, path, _use_new_zipfile_serialization=zipped)
    rewrite(path, b"numpy._core.multiarray", module.encode())
    assert module.encode() in path.read_bytes()
    allowed = set(torch.serialization.get_safe_globals())
    assert torch.equal(read_published(path)[0]["a.weight"], TEACHER["a.weight"])
    assert set(torch.serialization.get_safe_globals()) == allowed


class Calls:
    """Unpickled, it is a call."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["previous_best", "model", "inside"])
def test_code_in_a_file_does_not_run(tmp_path: Path, where: str, zipped: bool) -> None:
    marker = tmp_path / "marker"
    evil = Calls(os.system, f"touch {marker}")
    content = {"model": wrapped(STUDENT), "previous_best": np.float64(1)}
    content[where] = evil if where != "inside" else Calls(np.dtype, evil)
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"cannot be read \(it names '(posix|nt)\.system'\)(.|\n)*remedy"):
        read_published(tmp_path / "evil.pth")
    assert not marker.exists()


@pytest.mark.parametrize("value", [np.zeros(3), np.random.default_rng(), Calls(np.frombuffer, b"abcdefgh"), Path("x")])
def test_nothing_more_of_numpy_is_let_in(tmp_path: Path, value: object) -> None:
    torch.save({"model": STUDENT, "previous_best": value}, tmp_path / "best.pth")
    with pytest.raises(ModelError, match="cannot be read"):
        read_published(tmp_path / "best.pth")


@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
@pytest.mark.parametrize(
    "content",
    [
        *(torch.ones(2), [STUDENT], {}, {"model": {}}, {"model": STUDENT["a.weight"]}, {"a": 1.0}, {1: torch.ones(2)}),
        *(
            {"a": torch.ones(2, dtype=torch.int64)},
            {"a": torch.ones(2).to_sparse()},
            {"a": torch.ones(2, device="meta")},
        ),
    ],
)
def test_what_is_no_state_dict_is_an_error(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "best.pth")
    with pytest.raises(ModelError, match=r"something else than named weights|it names 'torch\._utils"):
        read_published(tmp_path / "best.pth")


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
def test_a_broken_file_is_an_error(tmp_path: Path, name: str) -> None:
    torch.save({"model": STUDENT}, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for content in (
        b"",
        b"no weights",
        whole[: len(whole) // 2],
        whole.replace(b"a.weight", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read"):
            read_published(tmp_path / name)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(ModelError, match="no such checkpoint"):
            read_published(tmp_path / name)


def test_names_are_one_to_one() -> None:
    keys = on_meta("small").state_dict()
    names = published_names(keys)
    assert len(names) == len(set(names.values())) == len(keys)
    assert names["encoder.backbone.blocks.11.mlp.fc1.weight"] == "backbone.blocks.11.mlp.fc1.weight"
    assert names["decoder.resize.3.bias"] == "head.resize_layers.3.bias"
    assert names["decoder.reduce.0.weight"] == "head.scratch.layer1_rn.weight"
    assert names["decoder.fuse.3.skip.conv2.bias"] == "head.scratch.refinenet4.resConfUnit1.conv2.bias"
    assert names["decoder.classifier.weight"] == "head.scratch.output_conv.2.weight"
    assert published_names(["encoder.backbone.blocks.0.mlp.fc2.bias"], gated=True) == {
        "encoder.backbone.blocks.0.mlp.fc2.bias": "backbone.blocks.0.mlp.w3.bias"
    }


def test_writing_gives_what_the_public_training_saves(tmp_path: Path) -> None:
    model = build_segmenter(ModelConfig(weights="random", features=8), 3)
    write_published(tmp_path / "ours.pth", model)
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert content.keys() == {"model"}
    assert content["model"].keys() == wrapped(published_shapes("small")).keys()
    assert torch.equal(content["model"]["module.head.scratch.output_conv.2.weight"], model.decoder.classifier.weight)
    assert torch.equal(content["model"][f"module.{MASK_TOKEN}"], torch.zeros(1, 384))
    assert [path.name for path in tmp_path.iterdir()] == ["ours.pth"]


@pytest.mark.parametrize(("encoder", "decoder"), [("vit_nano", "dpt"), ("dinov2_small", "deeplabv3plus")])
def test_another_network_cannot_be_written(tmp_path: Path, encoder: str, decoder: str) -> None:
    model = build_segmenter(ModelConfig(encoder=encoder, decoder=decoder, weights="random"), 3)
    with pytest.raises(ModelError, match=f"no place for the encoder {encoder} with the decoder {decoder}"):
        write_published(tmp_path / "ours.pth", model)
    assert not list(tmp_path.iterdir())
