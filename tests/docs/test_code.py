"""The code of the documentation runs.

Every block of Python is run, unless `<!-- not run: REASON -->` stands above it; of all other blocks those below
`<!-- run -->`, which hold nothing but `semiseg` commands. Trainings are shortened. The blocks of a page run one after
the other in a folder with drawn scenes (`fields/`), photographs and small models.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semiseg.cli import main
from semiseg.data.scenes import CLASSES, PALETTE, draw_pair, draw_scene, write_scenes
from semiseg.models import ModelCard, ModelConfig, build_segmenter, save_model

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>run|not run)(?:: (?P<why>[^\n]+))? -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
SHORT = (
    "--model.encoder vit_nano --model.weights random --data.crop 32 --data.workers 0 --schedule.steps 2 "
    "--schedule.batch 2 --evaluation.every 100 --evaluation.protocol original --device cpu"
)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the code of the blocks of a page that are to be run."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        python = match["language"] == "python"
        assert match["mark"] != "not run" or match["why"], f"{page.name}: say why a block is not run"
        if match["mark"] == "run" or (python and match["mark"] is None):
            found.append(("python" if python else "commands", match["code"]))
    return found


RUNNABLE = {page.name: found for page in PAGES if (found := blocks(page))}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of models as runs have them."""
    folder = tmp_path_factory.mktemp("runs")
    for name, frames in (("NAME", 1), ("fields-unimatch_v2-seed0", 1), ("CHANGES", 2)):
        config = ModelConfig(encoder="vit_nano", weights="random", features=8)
        classes, palette = (CLASSES, PALETTE) if frames == 1 else (("unchanged", "changed"), PALETTE[:2])
        card = ModelCard(classes=classes, palette=palette, frames=frames, crop=32, model=config)
        save_model(folder / name / "model", build_segmenter(config, len(classes), frames), card)
    return folder


@pytest.fixture
def place(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a folder with all that the pages name."""
    monkeypatch.chdir(tmp_path)
    write_scenes(Path("fields"), labeled=4, unlabeled=4, val=2, size=64)
    (tmp_path / "runs").mkdir()
    for model in models.iterdir():
        (tmp_path / "runs" / model.name).symlink_to(model)
    scene, pair = draw_scene(0, 0, 64), draw_pair(0, 0, 64)
    pictures = {
        "photo.jpg": scene.image_HW3,
        "photos/a.jpg": scene.image_HW3,
        "scene.tif": draw_scene(0, 1, 192).image_HW3,
    }
    pictures |= {"before.png": pair.before_HW3, "after.png": pair.after_HW3}
    pictures |= {"pairs/A/1.png": pair.before_HW3, "pairs/B/1.png": pair.after_HW3}
    for name, pixels in pictures.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name)
    return tmp_path


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_code_of_a_page_runs(page: str, place: Path) -> None:
    names: dict[str, Any] = {
        "array_HW3": np.zeros((40, 40, 3), np.uint8),
        "tensor_3HW": torch.zeros(3, 40, 40),
        "tensor_B3HW": torch.zeros(2, 3, 40, 40),
    }
    for language, code in RUNNABLE[page]:
        if language == "python":
            exec(compile(code, page, "exec"), names)
        else:
            run(code)


def run(commands: str) -> None:
    """Run commands of semiseg, each in a line or several that end in a backslash."""
    for line in commands.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        assert words[:1] in ([], ["semiseg"]), f"only semiseg can be run here, not {line}"
        if words[1:2] == ["train"]:
            words += shlex.split(SHORT)
        if words[1:2] in (["predict"], ["evaluate"]):
            words += ["--device", "cpu"]
        assert not words or main(words[1:]) == 0, line


def test_pages_with_code_that_must_run_are_found() -> None:
    assert {"README.md", "ten-minutes.md", "prediction.md"} <= RUNNABLE.keys()
