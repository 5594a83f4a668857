"""A corpus of malicious and broken files of every kind: each is refused by name, in bounded memory, and none runs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model

MEGABYTES = 250
"""What a refused file may add to the memory of a process that has torch loaded: reading sound files of 32 pixels and
importing the rest of the package takes most of it."""


@dataclass(frozen=True)
class Place:
    """Where a case lies: a sound data set, model, run and recipe, of which the case spoils one file."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def marker(self) -> Path:
        return self.root / "marker"


Spoil = Callable[[Place], object]
"""Writes a file."""
SIZE = 32


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"\0\0", extra: bytes = b""
) -> bytes:
    """Return a PNG that claims a size, whatever its pixels are."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def tiff(entries: list[tuple[int, int, int, int]], *, more: bytes = b"") -> bytes:
    """Return a little-endian TIFF of tags (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + body + struct.pack("<I", 0) + more


def giant_tiff() -> bytes:
    tags = [(256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 1)]
    return tiff(tags)


def endless_tiff() -> bytes:
    """A TIFF whose directory follows itself."""
    return struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHII", 256, 4, 1, 1) + struct.pack("<I", 8)


def image(content: bytes, name: str = "a.png") -> Spoil:
    def spoil(place: Place) -> None:
        (place.data / "images/a.png").unlink()
        (place.data / "images" / name).write_bytes(content)

    return spoil


def mask(content: bytes) -> Spoil:
    return lambda place: (place.data / "masks/a.png").write_bytes(content)


def saved(array: object, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    made = Image.fromarray(np.asarray(array))
    (made.convert(mode) if mode else made).save(buffer, "PNG")
    return buffer.getvalue()


def link(name: str, target: str) -> Spoil:
    def spoil(place: Place) -> None:
        (place.data / name).unlink()
        (place.data / name).symlink_to(target)

    return spoil


def listed(line: str) -> Spoil:
    """Name something in the list of labeled images."""

    def spoil(place: Place) -> None:
        (place.data / "splits/1").mkdir(parents=True)
        (place.data / "splits/1/labeled.txt").write_text(line + "\n")
        (place.data / "splits/val.txt").write_text("images/d.png masks/d.png\n")

    return spoil


def yaml(text: str) -> Spoil:
    return lambda place: (place.data / "dataset.yaml").write_text(text)


def recipe(text: str) -> Spoil:
    return lambda place: (place.root / "recipe.yaml").write_text(text)


class Calls:
    """Unpickled, it is a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def touching(place: Place) -> bytes:
    return pickle.dumps({"model": Calls(f"touch {place.marker}")}, protocol=2)


def foreign(content: Callable[[Place], bytes]) -> Spoil:
    return lambda place: (place.root / "foreign.pth").write_bytes(content(place))


def tarred(place: Place) -> bytes:
    """torch's oldest format: a tar of pickles."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors", "../marker"):
            part = touching(place)
            entry = tarfile.TarInfo(name)
            entry.size = len(part)
            file.addfile(entry, io.BytesIO(part))
    return buffer.getvalue()


def torch_saved(place: Place, *, new: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": Calls(f"touch {place.marker}")}, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


BYTEARRAY = b"\x80\x02c__builtin__\nbytearray\n\x8a\x05" + (2 * 10**9).to_bytes(5, "little") + b"\x85R."


def card(**changes: object) -> Spoil:
    def spoil(place: Place) -> None:
        path = place.model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def network(**changes: object) -> Spoil:
    def spoil(place: Place) -> None:
        path = place.model / "config.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"model": content["model"] | changes}))

    return spoil


def weights(content: bytes) -> Spoil:
    return lambda place: (place.model / "model.safetensors").write_bytes(content)


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int, end: int, *, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def checkpoint(**files: bytes) -> Spoil:
    """A run whose one checkpoint holds these files under right checksums."""

    def spoil(place: Place) -> None:
        folder = place.root / "runs/run/checkpoints/step_00000001"
        folder.mkdir(parents=True)
        save_file({"student/a": torch.ones(1)}, folder / "tensors.safetensors")
        (folder / "state.json").write_text('{"step": 1, "meter_steps": 0}')
        for name, content in files.items():
            (folder / name.replace("_", ".")).write_bytes(content)
        names = ("tensors.safetensors", "state.json")
        sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
        (folder / "manifest.json").write_text(json.dumps(sums))

    return spoil


@dataclass(frozen=True)
class Case:
    """A file, the words that lead to it, and what the refusal says."""

    spoil: Spoil
    words: tuple[str, ...]
    says: str


TRAIN = ("train", "DATA")
SPLIT = ("train", "DATA", "--data.split", "1")
RECIPE = ("train", "ROOT/recipe.yaml", "--data.root", "DATA")
WEIGHTS = (
    "train",
    "DATA",
    "--model.encoder",
    "dinov2_small",
    "--data.crop",
    "28",
    "--model.weights",
    "ROOT/foreign.pth",
)
CONVERT = ("convert", "ROOT/foreign.pth", "ROOT/out")
PREDICT = ("predict", "MODEL", "DATA/images", "--out", "ROOT/masks")
EVALUATE = ("evaluate", "MODEL", "--data.root", "DATA")
SMALL = (
    *("--model.encoder", "vit_nano", "--model.weights", "random", "--data.crop", str(SIZE), "--data.workers", "0"),
    *("--method", "supervised", "--schedule.steps", "1", "--schedule.batch", "1", "--run.folder", "ROOT/runs"),
    *("--run.name", "run"),
)
"""What makes a training small, but where a case says otherwise."""
RESUME = ("train", "DATA", "--resume")
MASK = np.eye(SIZE, dtype=np.uint8)

CASES: dict[str, Case] = {
    # Images
    "image: empty": Case(image(b""), TRAIN, "a.png"),
    "image: a page": Case(image(b"<html><script>alert(1)</script>"), TRAIN, "a.png"),
    "image: a program": Case(image(b"\x7fELF" + b"\0" * 100), TRAIN, "a.png"),
    "image: PostScript": Case(
        image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(marker) (w) file\n"), TRAIN, "a.png"
    ),
    "image: of 30,000 x 30,000 in 100 bytes": Case(image(png(30_000, 30_000)), TRAIN, "larger than the cap"),
    "image: of 2^31 x 1": Case(image(png(2**31 - 1, 1)), TRAIN, "a.png"),
    "image: of no pixels": Case(image(png(0, 0)), TRAIN, "a.png"),
    "image: pixels missing": Case(image(png(SIZE, SIZE)), TRAIN, "a.png"),
    "image: a truncated JPEG": Case(image(jpeg()[:300], "a.jpg"), TRAIN, "a.jpg"),
    "image: a text of 64 MB in a chunk": Case(
        image(png(SIZE, SIZE, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 2**26)))), TRAIN, "a.png"
    ),
    "image: a TIFF of 60,000 x 60,000": Case(image(giant_tiff(), "a.tif"), TRAIN, "a.tif"),
    "image: a TIFF that follows itself": Case(image(endless_tiff(), "a.tif"), TRAIN, "a.tif"),
    "image: 16 bits": Case(image(saved(np.full((SIZE, SIZE), 40_000, np.uint16))), TRAIN, "8 bits a channel"),
    "image: a link to nothing": Case(link("images/a.png", "/nonexistent"), TRAIN, "a.png"),
    "image: a link to itself": Case(link("images/a.png", "a.png"), TRAIN, "a.png"),
    "image: a device": Case(link("images/a.png", "/dev/zero"), TRAIN, "a.png"),
    # Masks
    "mask: colours": Case(mask(saved(MASK, "RGB")), TRAIN, "masks/a.png"),
    "mask: a class that nobody has": Case(mask(saved(MASK * 77)), TRAIN, "[77]"),
    "mask: another size": Case(mask(saved(MASK[:9])), TRAIN, "masks/a.png"),
    "mask: ids of 16 bits": Case(mask(saved(np.full((SIZE, SIZE), 4000, np.uint16))), TRAIN, "ids from 0 to 255"),
    "mask: of 30,000 x 30,000": Case(mask(png(30_000, 30_000)), TRAIN, "larger than the cap"),
    "mask: damaged": Case(mask(saved(MASK)[:-30]), TRAIN, "masks/a.png"),
    # Lists
    "list: out of the folder": Case(listed("../../secret.png masks/a.png"), SPLIT, "leaves the data folder"),
    "list: an absolute path": Case(listed("/etc/passwd masks/a.png"), SPLIT, "leaves the data folder"),
    "list: a mask out of the folder": Case(listed("images/a.png ../a.png"), SPLIT, "leaves the data folder"),
    "list: too many fields": Case(listed("a b c d"), SPLIT, "labeled.txt, line 1"),
    "list: what is not there": Case(listed("images/none.png masks/a.png"), SPLIT, "none.png"),
    "list: no text": Case(
        lambda place: (listed("x")(place), (place.data / "splits/1/labeled.txt").write_bytes(b"\xff\xfe\0")),
        SPLIT,
        "labeled.txt",
    ),
    # YAML
    "yaml: a Python object": Case(
        yaml("classes: !!python/object/apply:os.system ['touch MARKER']\n"), TRAIN, "dataset.yaml"
    ),
    "yaml: an alias bomb": Case(
        yaml(
            "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        ),
        TRAIN,
        "dataset.yaml",
    ),
    "yaml: too deep": Case(yaml("classes: " + "[" * 100_000), TRAIN, "dataset.yaml"),
    "yaml: too long": Case(yaml("classes: [a, b]\n#" + "x" * 2_000_000), TRAIN, "dataset.yaml"),
    "yaml: a folder outside": Case(yaml("classes: [a, b]\nmasks: ../../etc\n"), TRAIN, "dataset.yaml"),
    "yaml: a list outside": Case(
        yaml("classes: [a, b]\nlists: {val: ../../val.txt}\n"), TRAIN, "leaves the data folder"
    ),
    "yaml: an unknown key": Case(yaml("clases: [a, b]\n"), TRAIN, "did you mean 'classes'"),
    "recipe: a Python object": Case(recipe("method: !!python/name:os.system\n"), RECIPE, "recipe.yaml"),
    "recipe: a path of code": Case(recipe("method: os.system\n"), RECIPE, "os.system"),
    "recipe: a class to import": Case(recipe("model: {class_path: os.system}\n"), RECIPE, "class_path"),
    "recipe: a number without end": Case(recipe(f"seed: {'9' * 5000}\n"), RECIPE, "seed"),
    # Foreign checkpoints
    "pth: a pickle": Case(foreign(touching), CONVERT, "foreign.pth"),
    "pth: a pickle as weights": Case(foreign(touching), WEIGHTS, "foreign.pth"),
    "pth: torch's zip": Case(foreign(lambda place: torch_saved(place, new=True)), CONVERT, "foreign.pth"),
    "pth: torch's format of old": Case(foreign(lambda place: torch_saved(place, new=False)), WEIGHTS, "foreign.pth"),
    "pth: a tar": Case(foreign(tarred), CONVERT, "foreign.pth"),
    "pth: members outside": Case(
        foreign(lambda place: zipped({"../../data.pkl": touching(place), "../marker": b"", "/tmp/x": b""})),
        CONVERT,
        "foreign.pth",
    ),
    "pth: 2 GB of zeros": Case(
        foreign(lambda _: zipped({"a/data.pkl": BYTEARRAY, "a/version": b"3"})), CONVERT, "bytearray"
    ),
    "pth: compressed": Case(
        foreign(lambda _: zipped({"a/data.pkl": b"\0" * 2**28, "a/version": b"3"}, zipfile.ZIP_DEFLATED)),
        CONVERT,
        "compressed",
    ),
    "pth: gzip": Case(foreign(lambda place: gzip.compress(touching(place))), CONVERT, "foreign.pth"),
    "pth: nothing": Case(foreign(lambda _: b""), WEIGHTS, "foreign.pth"),
    # Model directories
    "model: a giant header": Case(weights(struct.pack("<Q", 2**60)), PREDICT, "model.safetensors"),
    "model: overlapping tensors": Case(
        weights(safetensors({"a": tensor(0, 4), "b": tensor(0, 4)}, b"\0" * 4)), EVALUATE, "model.safetensors"
    ),
    "model: more than the file holds": Case(
        weights(safetensors({"a": tensor(0, 2**40, shape=(2**38,))})), PREDICT, "model.safetensors"
    ),
    "model: another type": Case(
        weights(safetensors({"a": tensor(0, 4, dtype="PY_OBJECT")}, b"\0" * 4)), PREDICT, "model.safetensors"
    ),
    "model: a pickle": Case(
        lambda place: (place.model / "model.safetensors").write_bytes(touching(place)), EVALUATE, "model.safetensors"
    ),
    "model: a network larger than its file": Case(network(encoder="dinov2_giant"), PREDICT, "do not fit the model"),
    "model: an encoder from the hub of others": Case(network(encoder="timm/hf-hub:a/b"), PREDICT, "hf-hub"),
    "model: features beyond measure": Case(network(features=2**40), EVALUATE, "model.features"),
    "model: classes beyond a byte": Case(card(classes=["x"] * 999, palette=[[0, 0, 0]] * 999), PREDICT, "classes"),
    "model: a class of escape codes": Case(card(classes=["\x1b[2J", "b"]), PREDICT, "classes"),
    "model: deep JSON": Case(
        lambda place: (place.model / "config.json").write_text("[" * 10**6), EVALUATE, "config.json"
    ),
    "model: a newer version": Case(card(version=10**6), PREDICT, "version"),
    # Checkpoints of a run
    "checkpoint: no facts": Case(checkpoint(state_json=b"[]"), RESUME, "checkpoint"),
    "checkpoint: a pickle": Case(checkpoint(tensors_safetensors=pickle.dumps([1])), RESUME, "checkpoint"),
    "checkpoint: deep facts": Case(checkpoint(state_json=b"[" * 10**6), RESUME, "checkpoint"),
}


def sound(root: Path) -> Place:
    """Write a sound data set, a model and a recipe."""
    place = Place(root)
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (place.data / folder).mkdir(parents=True)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(place.data / f"images/{name}.png")
        Image.fromarray(MASK).save(place.data / f"masks/{name}.png")
    (place.data / "dataset.yaml").write_text("classes: [field, road]\n")
    config = ModelConfig(encoder="vit_nano", weights="random")
    classes = ModelCard(classes=("field", "road"), palette=((0, 0, 0), (9, 9, 9)), crop=SIZE, model=config)
    save_model(place.model, build_segmenter(config, 2), classes)
    (root / "recipe.yaml").write_text("method: supervised\n")
    return place


# A fresh process would take seconds to import torch for each case; all go through one, which reports its memory.
RUNNER = """
import json, resource, sys
from semiseg.cli import main

for line in sys.stdin:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        code = main(json.loads(line))
    except BaseException as error:
        code = repr(error)
    sys.stderr.flush()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print("\\0" + json.dumps([code, grown]), flush=True)
    print("\\0", file=sys.stderr, flush=True)
"""


class Runner:
    """The command line in a process of its own, which answers each command with its code, its words and its memory."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def run(self, words: list[str]) -> tuple[int | str, str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer = ""
        while not answer.startswith("\0"):
            answer = self.process.stdout.readline()
            assert answer, f"the process died: {self.process.stderr.read()}"
        said: list[str] = []
        while not said or said[-1] != "\0\n":
            said.append(self.process.stderr.readline())
        code, grown = json.loads(answer[1:])
        return code, "".join(said[:-1]), grown


def words_of(place: Place, words: tuple[str, ...]) -> list[str]:
    """Return the command line of a case."""
    given = list(words)
    if given[0] == "train":
        own = {word for word in given if word.startswith("--")} | ({"--method"} if words == RECIPE else set())
        pairs = zip(SMALL[::2], SMALL[1::2], strict=True)
        given += [word for pair in pairs if pair[0] not in own for word in pair]
    if given[0] != "convert":
        given += ["--device", "cpu"]
    names = {"ROOT": str(place.root), "DATA": str(place.data), "MODEL": str(place.model)}
    return ["/".join([names.get(first, first), *rest]) for first, *rest in (word.split("/") for word in given)]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Return a process that has done sound work of each kind, so that only what a case adds is measured."""
    runner = Runner()
    for words in (TRAIN, RECIPE, PREDICT, EVALUATE):
        code, said, _ = runner.run(words_of(sound(tmp_path_factory.mktemp("sound")), words))
        assert code == 0, said
    yield runner
    runner.process.kill()
    runner.process.communicate()


def test_the_corpus_is_large_and_of_every_kind() -> None:
    kinds = {name.partition(":")[0] for name in CASES}
    assert kinds == {"image", "mask", "list", "yaml", "recipe", "pth", "model", "checkpoint"}
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_each_file_is_refused_by_name_in_bounded_memory_and_none_runs(
    name: str, tmp_path: Path, runner: Runner
) -> None:
    case, place = CASES[name], sound(tmp_path)
    if case.words == RESUME:
        code, said, _ = runner.run(words_of(place, TRAIN))
        assert code == 0, said
        for old in (place.root / "runs/run/checkpoints").glob("step_*"):
            shutil.rmtree(old)
    case.spoil(place)
    files = {path for path in tmp_path.rglob("*") if "runs" not in path.parts}
    code, said, grown = runner.run(words_of(place, case.words))
    assert code == 2, said
    assert case.says in said
    assert "remedy:" in said
    assert "Traceback" not in said
    assert grown < MEGABYTES
    assert {path for path in tmp_path.rglob("*") if "runs" not in path.parts} == files, "nothing is written"
    assert not place.marker.exists()
