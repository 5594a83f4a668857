"""S1: a malicious pickle, wherever a file of weights is read, runs nothing and asks for no memory."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semiseg.cli import main
from semiseg.errors import ModelError
from semiseg.models import ModelCard, ModelConfig, build_segmenter, load_model, save_model
from semiseg.models.published import read_published
from semiseg.models.weights import read_tensors


class Calls:
    """Unpickled, it is a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def zipped(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a torch file around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, part in (("data.pkl", content), ("version", b"3\n"), ("byteorder", b"little")):
            file.writestr(f"archive/{name}", part)
    return buffer.getvalue()


def with_protocol_4(marker: Path) -> bytes:
    return zipped(pickle.dumps({"a": Calls(os.system, f"touch {marker}")}, protocol=4))


def by_torch(marker: Path, *, new: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"a": torch.ones(2), "b": Calls(os.system, f"touch {marker}")}
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def by_getattr(marker: Path) -> bytes:
    """A call of what an allowed module holds: `torch._utils.os.system`."""
    text = f"touch {marker}".encode()
    return zipped(b"\x80\x02ctorch._utils\nos.system\nX" + len(text).to_bytes(4, "little") + text + b"\x85R.")


def by_build(marker: Path) -> bytes:
    """State set upon a class: torch's reader allows BUILD for few kinds only."""
    return zipped(pickle.dumps(Calls(exec, f"open({str(marker)!r}, 'w')"), protocol=2))


def hidden_behind_a_zip(marker: Path) -> bytes:
    """A pickle in front, and a harmless archive behind it, by which a reader could take it for one."""
    return pickle.dumps(Calls(os.system, f"touch {marker}"), protocol=2) + zipped(pickle.dumps({}, protocol=2))


MALICIOUS: dict[str, Callable[[Path], bytes]] = {
    "a plain pickle": lambda marker: pickle.dumps(Calls(os.system, f"touch {marker}")),
    "torch's zip": lambda marker: by_torch(marker, new=True),
    "torch's format of old": lambda marker: by_torch(marker, new=False),
    "protocol 4": with_protocol_4,
    "an attribute of a module": by_getattr,
    "exec": by_build,
    "subprocess": lambda marker: zipped(pickle.dumps(Calls(subprocess.check_call, ["touch", str(marker)]), protocol=2)),
    "a pickle before a zip": hidden_behind_a_zip,
}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Return a file that only a malicious one would make."""
    return tmp_path / "marker"


@pytest.fixture(params=MALICIOUS)
def evil(request: pytest.FixtureRequest, tmp_path: Path, marker: Path) -> Path:
    path = tmp_path / "evil.pth"
    path.write_bytes(MALICIOUS[request.param](marker))
    return path


def test_s01_the_files_are_malicious_indeed(marker: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    for name in ("torch's zip", "torch's format of old"):
        path.write_bytes(MALICIOUS[name](marker))
        torch.load(path, weights_only=False)
        assert marker.exists()
        marker.unlink()


def test_s01_weights_named_on_the_command_line_run_nothing(
    evil: Path, marker: Path, tiny_words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert (
        main(
            [
                "train",
                *tiny_words(
                    "run", "--model.encoder", "dinov2_small", "--model.weights", str(evil), "--data.crop", "28"
                ),
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert "evil.pth" in said
    assert "Traceback" not in said
    assert not marker.exists()
    assert not (tmp_path / "run/checkpoints").exists()


def test_s01_a_source_to_convert_runs_nothing(
    evil: Path, marker: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("evil.pth", "evil.pt", "evil.bin", "evil.safetensors"):
        if name != evil.name:
            shutil.copy(evil, tmp_path / name)
        assert main(["convert", str(tmp_path / name), str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert name in said
        assert "Traceback" not in said
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_s01_a_model_directory_and_a_checkpoint_run_nothing(evil: Path, marker: Path, tmp_path: Path) -> None:
    config = ModelConfig(encoder="vit_nano", weights="random")
    card = ModelCard(classes=("a", "b"), palette=((0, 0, 0),) * 2, crop=32, model=config)
    save_model(tmp_path / "model", build_segmenter(config, 2), card)
    for name in ("model.safetensors", "config.json"):
        whole = (tmp_path / "model" / name).read_bytes()
        shutil.copy(evil, tmp_path / "model" / name)
        with pytest.raises(ModelError):
            load_model(tmp_path / "model")
        (tmp_path / "model" / name).write_bytes(whole)
    assert load_model(tmp_path / "model")[1] == card
    assert not marker.exists()


BOMB = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (2 * 10**9).to_bytes(5, "little") + b"\x85R."
"""Twenty bytes that ask for 2 GB of zeros."""
LIMITED = """
import resource, sys
from semiseg.errors import ModelError
from semiseg.models.published import read_published

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_published(__import__("pathlib").Path(sys.argv[1]))
except ModelError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(BOMB), "it names 'builtins.bytearray'"),
        (zipped(BOMB.replace(b"builtins", b"__builtin__")), "it names '__builtin__.bytearray'"),
        (zipped(b"\0" * 2**28, zipfile.ZIP_DEFLATED), "its parts are compressed"),
        (zipped(b"\0" * (2**26 + 1)), "67,108,865 bytes that are no tensors"),
    ],
    ids=["bytearray", "bytearray of Python 2", "compressed zeros", "a long pickle"],
)
def test_s01_a_small_file_asks_for_no_memory(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bomb.pth"
    path.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    *said, megabytes = done.stdout.splitlines()
    assert reason in said[0]
    assert int(megabytes) < 100


def test_s01_what_others_save_is_still_read(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)[::2]}
    for new in (True, False):
        torch.save(tensors, tmp_path / "plain.pth", _use_new_zipfile_serialization=new)
        found = read_tensors(tmp_path / "plain.pth")
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
        parameters = torch.nn.ParameterDict(tensors)
        content = {"model": parameters.state_dict(), "optimizer": {"lr": 0.1, "betas": (0.9, 0.999)}, "text": "ä"}
        torch.save(content, tmp_path / "run.pth", _use_new_zipfile_serialization=new)
        assert set(read_published(tmp_path / "run.pth")[0]) == {"a", "b"}
