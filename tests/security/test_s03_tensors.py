"""S3: malformed safetensors or JSON in a model directory end in a message, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from semiseg.api import evaluate
from semiseg.cli import main
from semiseg.data.palette import default_palette
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from semiseg.errors import ModelError, RunError
from semiseg.models import ModelCard, ModelConfig, build_segmenter, load_model, save_model
from semiseg.prediction import predict

Header = dict[str, Any]
PeakBytes = Callable[[Callable[[], object]], int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a whole model directory."""
    config = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(classes=("field", "road"), palette=default_palette(2), crop=32, model=config)
    save_model(tmp_path / "model", build_segmenter(config, 2), card)
    return tmp_path / "model"


def split(path: Path) -> tuple[Header, bytes]:
    """Return the header and the bytes of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join(path: Path, header: object, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def edit(path: Path, change: Callable[[Header], object]) -> None:
    header, data = split(path)
    change(header)
    join(path, header, data)


def first(header: Header) -> Header:
    return header[min(name for name in header if name != "__metadata__")]


def entry(dtype: str, shape: list[int], begin: int, end: int) -> Header:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def overlap(header: Header) -> None:
    for part in header.values():
        if "data_offsets" in part:
            part["data_offsets"] = [0, part["data_offsets"][1] - part["data_offsets"][0]]


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "three bytes": lambda path: path.write_bytes(b"\1\0\0"),
    "giant header": lambda path: path.write_bytes(struct.pack("<Q", 2**40) + b"{}"),
    "header of all bits": lambda path: path.write_bytes(b"\xff" * 64),
    "header longer than the file": lambda path: path.write_bytes(struct.pack("<Q", 2**20) + b"{}"),
    "no JSON": lambda path: join(path, b"\x80\x04}q\x00.", b""),
    "JSON of another kind": lambda path: join(path, [1, 2], b""),
    "deep JSON": lambda path: join(path, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
    "no tensors": lambda path: join(path, {}, b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "bytes behind": lambda path: path.write_bytes(path.read_bytes() + b"x" * 100),
    "overlapping": lambda path: edit(path, overlap),
    "offsets the wrong way": lambda path: edit(path, lambda header: first(header)["data_offsets"].reverse()),
    "offsets behind the end": lambda path: edit(path, lambda header: first(header).update(data_offsets=[0, 2**50])),
    "negative offsets": lambda path: edit(path, lambda header: first(header).update(data_offsets=[-8, 0])),
    "a shape of 2^62": lambda path: edit(path, lambda header: first(header).update(shape=[2**62, 2**62])),
    "a negative shape": lambda path: edit(path, lambda header: first(header).update(shape=[-1])),
    "an empty giant": lambda path: edit(path, lambda header: header.update(giant=entry("F32", [0, 2**62], 0, 0))),
    "an unknown type": lambda path: edit(path, lambda header: first(header).update(dtype="OBJECT")),
    "a type that torch lacks": lambda path: edit(path, lambda header: first(header).update(dtype="F8_E8M0")),
    "integers": lambda path: save_file({name: part.int() for name, part in load_file(path).items()}, path),
    "half precision": lambda path: save_file({name: part.half() for name, part in load_file(path).items()}, path),
    "one too many": lambda path: save_file({**load_file(path), "more": torch.ones(1)}, path),
    "one too few": lambda path: save_file(dict(list(load_file(path).items())[1:]), path),
    "another shape": lambda path: save_file({name: part[None] for name, part in load_file(path).items()}, path),
    "many names": lambda path: join(path, {f"{n}": entry("F32", [0], 0, 0) for n in range(300_000)}, b""),
    "a pickle": lambda path: torch.save({"a": torch.ones(1)}, path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("fault", WEIGHTS)
def test_s03_malformed_weights_are_named_in_bounded_memory(model: Path, fault: str, peak_bytes: PeakBytes) -> None:
    WEIGHTS[fault](model / "model.safetensors")

    def load() -> None:
        with pytest.raises(ModelError, match=r"(?s)model\.safetensors.*remedy"):
            load_model(model)

    assert peak_bytes(load) < 2**20


def card_with(**changes: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def network_with(**changes: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        card = json.loads(path.read_text())
        path.write_text(json.dumps({**card, "model": {**card["model"], **changes}}))

    return change


CARDS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "a list": lambda path: path.write_text("[]"),
    "null": lambda path: path.write_text("null"),
    "deep": lambda path: path.write_text("[" * 200_000),
    "longer than any": lambda path: path.write_text(" " * (2**23 + 1)),
    "a number of a million digits": lambda path: path.write_text('{"crop": ' + "9" * 10**6 + "}"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "an unknown key": card_with(module="os"),
    "a newer version": card_with(version=99),
    "no classes": card_with(classes=[]),
    "classes that a byte cannot hold": card_with(classes=["x"] * 300, palette=[[0, 0, 0]] * 300),
    "a class of control characters": card_with(classes=["a\x1b[2J", "b"]),
    "a class of markup beyond measure": card_with(classes=["<" * 101, "b"]),
    "a palette of another length": card_with(palette=[]),
    "colours out of range": card_with(palette=[[0, 0, 256], [0, 0, 0]]),
    "a crop of nothing": card_with(crop=0),
    "a crop of a text": card_with(crop="32"),
    "a crop that is true": card_with(crop=True),
    "a tile without end": card_with(tile=2**40),
    "an unknown protocol": card_with(protocol="exec"),
    "metrics that are no numbers": card_with(metrics={"miou": float("nan")}),
    "frames that nobody has": card_with(frames=3),
    "a network of a text": card_with(model="os.system"),
    "an encoder that nobody knows": network_with(encoder="os.system"),
    "an encoder from elsewhere": network_with(encoder="timm/hf-hub:evil/repository"),
    "an encoder from a folder": network_with(encoder="timm/local-dir:/tmp"),
    "a decoder of a path": network_with(decoder="../../evil"),
    "a decoder of another kind": network_with(decoder={}),
    "a neck of another kind": network_with(neck=[]),
    "a licence of another kind": network_with(license={"name": []}),
    "features beyond measure": network_with(features=2**31),
    "levels beyond measure": network_with(level_widths=[2**31] * 4),
    "levels of another number": network_with(level_widths=[1]),
}


@pytest.mark.parametrize("fault", CARDS)
def test_s03_a_malformed_card_is_named_in_bounded_memory(model: Path, fault: str, peak_bytes: PeakBytes) -> None:
    CARDS[fault](model / "config.json")

    def load() -> None:
        with pytest.raises(ModelError, match="remedy"):
            load_model(model)

    assert peak_bytes(load) < 2**20


@pytest.mark.parametrize("network", [{"encoder": "dinov2_giant"}, {"features": 2048, "level_widths": [2048] * 4}])
def test_s03_a_small_file_cannot_ask_for_a_large_network(
    model: Path, network: dict[str, Any], peak_bytes: PeakBytes
) -> None:
    network_with(**network)(model / "config.json")

    def load() -> None:
        with pytest.raises(ModelError, match="the weights do not fit the model"):
            load_model(model)

    assert peak_bytes(load) < 2**20, "nothing of it was made"


def test_s03_a_whole_model_loads_and_a_mutated_one_is_refused_by_every_verb(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_model(model)[0].num_classes == 2
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    Image.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "dataset.yaml").write_text("classes: [field, road]\nlists: {val: val.txt}\n")
    (tmp_path / "val.txt").write_text("a.png mask.png\n")
    edit(model / "model.safetensors", overlap)
    words = {
        "evaluate": [str(model), "--data.root", str(tmp_path)],
        "predict": [str(model), str(tmp_path / "a.png"), "--out", str(tmp_path / "new/out")],
        "convert": [str(model), str(tmp_path / "out.pth")],
    }
    for verb, rest in words.items():
        assert main([verb, *rest]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: the file of weights cannot be read (SafetensorError)")
        assert "Traceback" not in said
    for call in (lambda: evaluate(model), lambda: predict(model, tmp_path / "a.png", tmp_path / "new/out")):
        with pytest.raises(ModelError):
            call()
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "out.pth").exists()


STATES = {
    "a list": "[]",
    "no step": "{}",
    "a step of a text": '{"step": "1"}',
    "a step of a fraction": '{"step": 1.5}',
    "deep": "[" * 100_000,
    "null": "null",
}


@pytest.mark.parametrize("fault", STATES)
def test_s03_a_malformed_checkpoint_is_named(tmp_path: Path, fault: str) -> None:
    save_checkpoint(tmp_path, Checkpoint(1, {"a": torch.ones(1)}, {}))
    (tmp_path / "step_00000001/state.json").write_text(STATES[fault])
    names = ("tensors.safetensors", "state.json")
    sums = {name: hashlib.sha256((tmp_path / "step_00000001" / name).read_bytes()).hexdigest() for name in names}
    (tmp_path / "step_00000001/manifest.json").write_text(json.dumps(sums))
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        load_checkpoint(tmp_path, lambda said: None)


@pytest.mark.parametrize("manifest", ["[]", "null", "1", '{"state.json": 1}', "[" * 100_000, "\0"])
def test_s03_a_malformed_manifest_is_named(tmp_path: Path, manifest: str) -> None:
    save_checkpoint(tmp_path, Checkpoint(1, {"a": torch.ones(1)}, {}))
    (tmp_path / "step_00000001/manifest.json").write_text(manifest)
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        load_checkpoint(tmp_path, lambda said: None)


def rename(path: Path, change: Callable[[str], str]) -> None:
    save_file({change(name): tensor for name, tensor in load_file(path).items()}, path)


STRANGE: dict[str, Callable[[Path], object]] = {
    "no facts": lambda folder: (folder / "state.json").write_text('{"step": 3}'),
    "facts of another kind": lambda folder: (folder / "state.json").write_text('{"step": 3, "meter_steps": "x"}'),
    "an optimizer of texts": lambda folder: rename(
        folder / "tensors.safetensors", lambda name: name.replace("optimizer/0/", "optimizer/zero/")
    ),
    "an optimizer of others": lambda folder: rename(
        folder / "tensors.safetensors", lambda name: name.replace("optimizer/0/", "optimizer/9999/")
    ),
    "an optimizer without names": lambda folder: rename(
        folder / "tensors.safetensors", lambda name: name.replace("optimizer/0/", "optimizer/")
    ),
}


@pytest.mark.parametrize("fault", STRANGE)
def test_s03_a_checkpoint_that_was_tampered_with_is_not_resumed(
    train_tiny: Callable[..., Any], tmp_path: Path, fault: str
) -> None:
    """The checksums are right, as whoever writes the file can make them."""
    train_tiny("run", "--method", "supervised")
    folder = max((tmp_path / "run/checkpoints").glob("step_*"))
    STRANGE[fault](folder)
    names = ("tensors.safetensors", "state.json")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "manifest.json").write_text(json.dumps(sums))
    with pytest.raises(RunError, match=r"(?s)not of this run.*remedy"):
        train_tiny("run", "--method", "supervised", resume=True)
