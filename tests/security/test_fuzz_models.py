"""Any mutation of a model directory, a checkpoint or a foreign file is read or refused, never another exception."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from semiseg.data.palette import default_palette
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from semiseg.errors import SemisegError
from semiseg.models import ModelCard, ModelConfig, build_segmenter, load_model, read_card, save_model
from semiseg.models.published import read_published
from semiseg.models.weights import announced_tensors, read_tensors

EXAMPLES = settings(
    max_examples=int(os.environ.get("SEMISEG_FUZZ", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**53, 2**63, 2**64, -1, 10**400]),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["os.system", "../x", "F32", "I64", "F8_E4M3", "timm/resnet18", "timm/hf-hub:a/b", "\ud800", "\0"]),
)
JSON = st.recursive(
    ODD, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=4), below, max_size=3)
)
BYTES = st.binary(max_size=64)


@st.composite
def mutated_json(draw: st.DrawFn, content: Any) -> Any:
    """Replace, remove or add some parts of a JSON value."""
    if draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    if isinstance(content, dict):
        changed = dict(content)
        for key in draw(st.lists(st.sampled_from(sorted(content)), max_size=2)) if content else []:
            if draw(st.booleans()):
                changed[key] = draw(mutated_json(content[key]))
            else:
                changed.pop(key, None)
        return changed | draw(st.dictionaries(st.text(max_size=4), JSON, max_size=1))
    if isinstance(content, list) and content:
        place = draw(st.integers(0, len(content) - 1))
        return [*content[:place], draw(mutated_json(content[place])), *content[place + 1 :]]
    return draw(ODD)


@st.composite
def mutated_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, flip, insert or repeat some bytes."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content)))
        content = draw(
            st.one_of(
                st.just(content[:place]),
                st.just(content[place:]),
                BYTES.map(lambda more, at=place, whole=content: whole[:at] + more + whole[at:]),  # type: ignore[misc]
                BYTES.map(lambda more, at=place, whole=content: whole[:at] + more + whole[at + len(more) :]),  # type: ignore[misc]
            )
        )
    return content


def safe(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def unsafe(content: bytes) -> tuple[Any, bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def tried(call: Callable[[], object]) -> None:
    """Let a call succeed or raise one of our errors, which says what to do."""
    message = "remedy:"
    try:
        call()
    except SemisegError as error:
        message = str(error)
    assert "remedy:" in message


MODEL = ModelConfig(encoder="vit_nano", weights="random")
CARD = ModelCard(classes=("field", "road"), palette=default_palette(2), crop=32, model=MODEL)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "model"
    save_model(folder, build_segmenter(MODEL, 2), CARD)
    return folder


@pytest.fixture(scope="module")
def whole(model: Path) -> Path:
    """Return a copy that no test changes; its content itself would fill the message of a failure."""
    return shutil.copytree(model, model.with_name("whole"))


@EXAMPLES
@given(data=st.data())
def test_a_mutated_card_is_read_or_refused(model: Path, whole: Path, data: st.DataObject) -> None:
    shutil.copy(whole / "model.safetensors", model)
    content = (whole / "config.json").read_bytes()
    text = data.draw(mutated_json(json.loads(content)).map(json.dumps).map(str.encode) | mutated_bytes(content))
    (model / "config.json").write_bytes(text)
    tried(lambda: read_card(model))
    tried(lambda: load_model(model))


@EXAMPLES
@given(data=st.data())
def test_mutated_weights_are_read_or_refused(model: Path, whole: Path, data: st.DataObject) -> None:
    shutil.copy(whole / "config.json", model)
    content = (whole / "model.safetensors").read_bytes()
    header, tensors = unsafe(content)
    headers = mutated_json(header).map(lambda changed: safe(changed, tensors))
    (model / "model.safetensors").write_bytes(data.draw(headers | mutated_bytes(content)))
    tried(lambda: load_model(model))
    tried(lambda: announced_tensors(model / "model.safetensors"))


SMALL = save({"a": torch.arange(4.0), "b": torch.ones(2, 3, dtype=torch.int64)})


@EXAMPLES
@given(data=st.data())
def test_a_mutated_small_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """Of two tensors: nearly every mutation meets a field that matters."""
    header, tensors = unsafe(SMALL)
    headers = mutated_json(header).map(lambda changed: safe(changed, tensors))
    (tmp_path / "a.safetensors").write_bytes(data.draw(headers | mutated_bytes(SMALL)))
    tried(lambda: read_tensors(tmp_path / "a.safetensors"))
    tried(lambda: announced_tensors(tmp_path / "a.safetensors"))


def resealed(folder: Path) -> None:
    """Make the checksums right again, as an attacker would."""
    names = ("tensors.safetensors", "state.json")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "manifest.json").write_text(json.dumps(sums))


@EXAMPLES
@given(data=st.data(), seal=st.booleans(), name=st.sampled_from(["tensors.safetensors", "state.json", "manifest.json"]))
def test_a_mutated_checkpoint_is_read_or_refused(tmp_path: Path, data: st.DataObject, seal: bool, name: str) -> None:
    save_checkpoint(tmp_path, Checkpoint(7, {"student/a": torch.ones(3)}, {"best": 0.5, "meter_steps": 2}))
    path = tmp_path / "step_00000007" / name
    content = path.read_bytes()
    if name.endswith(".json"):
        mutants = mutated_json(json.loads(content)).map(json.dumps).map(str.encode) | mutated_bytes(content)
    else:
        header, tensors = unsafe(content)
        mutants = mutated_json(header).map(lambda changed: safe(changed, tensors)) | mutated_bytes(content)
    path.write_bytes(data.draw(mutants))
    if seal:
        resealed(path.parent)
    tried(lambda: load_checkpoint(tmp_path, lambda said: None))


def torch_file(*, new: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"model": {"a": torch.ones(2), "b": torch.ones(1, 2)}, "epoch": 3}
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


FILES = {new: torch_file(new=new) for new in (True, False)}


@pytest.mark.filterwarnings("ignore")
@EXAMPLES
@given(data=st.data(), new=st.booleans())
def test_a_mutated_torch_file_is_read_or_refused(tmp_path: Path, data: st.DataObject, new: bool) -> None:
    (tmp_path / "a.pth").write_bytes(data.draw(mutated_bytes(FILES[new])))
    tried(lambda: read_published(tmp_path / "a.pth"))
    tried(lambda: read_tensors(tmp_path / "a.pth"))


@pytest.mark.filterwarnings("ignore")
@EXAMPLES
@given(data=st.data())
def test_a_mutated_pickle_in_a_torch_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """The archive is whole, so that every mutation reaches torch's own unpickler."""
    with zipfile.ZipFile(io.BytesIO(FILES[True])) as parts:
        members = {part.filename: parts.read(part) for part in parts.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    own = st.sampled_from([members[name], pickle.dumps({"a": [1, (2.0, "x")]}, protocol=2)])
    members[name] = data.draw(own.flatmap(mutated_bytes))
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as file:
        for member, content in members.items():
            file.writestr(member, content)
    tried(lambda: read_published(tmp_path / "a.pth"))
    tried(lambda: read_tensors(tmp_path / "a.pth"))
