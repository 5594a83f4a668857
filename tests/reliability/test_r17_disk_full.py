"""R17: a full disk costs neither an earlier checkpoint nor room, and the message says what to do."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from forked import Forked  # tests/support

from semiseg.api import TrainedRun
from semiseg.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from semiseg.errors import FileError

LIMIT = 600_000
"""Bytes: more than a log, a picture or a report of a tiny run takes, less than its checkpoint does."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of its own with room for one checkpoint of `checkpoint_of`, and not for two."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def checkpoint_of(step: int) -> Checkpoint:
    return Checkpoint(step, {"a": torch.full((500_000,), float(step))}, {})


def test_r17_a_checkpoint_that_finds_no_room_leaves_none_of_itself_and_the_one_before(small_disk: Path) -> None:
    save_checkpoint(small_disk, checkpoint_of(1))
    for _ in range(2):
        with pytest.raises(FileError, match=r"cannot write step_00000002 \(No space left on device\)[\s\S]*free space"):
            save_checkpoint(small_disk, checkpoint_of(2))
        assert [path.name for path in small_disk.iterdir()] == ["step_00000001"]
    found = load_checkpoint(small_disk, pytest.fail)
    assert found is not None
    assert torch.equal(found.tensors["a"], checkpoint_of(1).tensors["a"])


def limit_files() -> None:
    """Let no file of the process grow over the limit, as if its disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))


def test_r17_a_training_that_finds_no_room_ends_with_a_message_and_goes_on_when_there_is_some(
    tiny_words: Callable[..., list[str]],
    train_tiny: Callable[..., TrainedRun],
    python: tuple[list[str], dict[str, str]],
    end_state: Callable[[Path], dict[str, torch.Tensor]],
    tmp_path: Path,
) -> None:
    words = ("--schedule.steps", "7", "--schedule.checkpoint_every", "2")
    undisturbed = train_tiny("undisturbed", *words)
    command, environment = python
    done = subprocess.run(
        [*command, "semiseg", "train", *tiny_words("x", *words)],
        env=environment,
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert "error: cannot write step_00000002 (File too large)" in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in (tmp_path / "x").rglob("*") if ".part" in path.name] == []
    resumed = train_tiny("x", *words, resume=True)
    expected, found = end_state(undisturbed.path), end_state(resumed.path)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def test_r17_the_other_process_is_told(
    tiny_words: Callable[..., list[str]], launcher: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    limited = tmp_path / "limited.py"
    limited.write_text(
        f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, resource.RLIM_INFINITY))\n"
        "import sys\nfrom semiseg.cli import main\nsys.exit(main())\n"
    )
    words = tiny_words("x", "--schedule.steps", "7", "--schedule.checkpoint_every", "2")
    job = launcher([], words, program=[str(limited)])
    said = job.communicate(timeout=120)[1]
    assert job.returncode != 0
    assert "error: cannot write step_00000002 (File too large)" in said
    assert "error: process 0 could not go on" in said


WRITERS = {
    "checkpoint": "from semiseg.engine.checkpoint import *; save_checkpoint(path, Checkpoint(1, {'a': zeros}, {}))",
    "published": """
from semiseg.models import ModelConfig, build_segmenter
from semiseg.models import published
published._ENCODERS = {1: "vit_nano"}
published._names_of = lambda model: {key: key for key in model.state_dict()}
published.write_published(path, build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), 3))
""",
    "model": """
from semiseg.models import *
model = build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), 2)
card = ModelCard(
    classes=("a", "b"), palette=((0, 0, 0), (9, 9, 9)), ignore_value=255, frames=1, crop=32, protocol="original",
    model=model.config,
)
save_model(path, model, card)
""",
    "picture": """
from PIL import Image
from semiseg.engine.pictures import save_picture
save_picture(Image.effect_noise((999, 999), 99), path / "a.png")
""",
    "geotiff": """
import numpy, rasterio
from semiseg.prediction.geotiff import Georeference, write_geotiff
noise = numpy.random.default_rng(0).integers(0, 255, (999, 999), dtype=numpy.uint8)
write_geotiff(noise, [(0, 0, 0)], Georeference(None, rasterio.Affine.identity()), path / "a.tif")
""",
    "scenes": "from semiseg.data.scenes import write_scenes; write_scenes(path / 'd', labeled=1, unlabeled=0, val=0)",
    "text": "from semiseg.files import write_text; write_text(path / 'a.json', 'x' * 100_001)",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_r17_whatever_is_written_is_whole_or_a_message(writer: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"""
import resource, sys
from pathlib import Path
import torch
from semiseg.errors import FileError
path, zeros = Path(sys.argv[1]) / "out", torch.zeros(50_000)
path.mkdir()
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
try:
{"".join(f"    {line}{chr(10)}" for line in WRITERS[writer].strip().splitlines())}
except FileError as error:
    print(error)
""")
    done = Forked([str(tmp_path / "program.py")], [str(tmp_path)], tmp_path / "said")
    assert done.wait() == 0, done.said.read_text()
    said = done.said.read_text()
    assert any(line.startswith("cannot write ") for line in said.splitlines())  # GDAL has words of its own
    assert "remedy:" in said
    assert list((tmp_path / "out").iterdir()) == []
