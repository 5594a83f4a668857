"""What is quick stays quick: torch and timm, which take seconds to import, are left to the verbs that compute."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import contextlib, io, json, sys, time
from semiseg.cli import main

quick = []
for words in json.loads(sys.argv[1]):
    began, said = time.process_time(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(words)
    heavy = sorted({"torch", "timm", "torchvision", "huggingface_hub"} & sys.modules.keys())
    quick.append([code, said.getvalue(), heavy, time.process_time() - began])
print(json.dumps(quick))
"""
SECONDS = 10
"""Of the processor. The first of the verbs takes 0.5, the others 0.1; importing torch and timm alone takes 3 to 8."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


CASES = {
    "help": (["--help"], 0, "semiseg train"),
    "recipes": (["recipes"], 0, "camvid-cpu"),
    "a recipe": (["recipes", "camvid-cpu", "--json", "{empty}/recipe.json"], 0, "efficientnet_lite0"),
    "help of train": (["train", "-h"], 0, "--unimatch_v2.dropout"),
    "unknown verb": (["trian"], 2, "did you mean 'train'"),
    "unknown recipe": (["train", "camvid-cpuu"], 2, "did you mean 'camvid-cpu'"),
    "unknown key": (["train", "camvid-cpu", "--data.crp", "256"], 2, "did you mean '--data.crop'"),
    "unknown key of a method": (["train", "--semivl.guidnce", "1"], 2, "did you mean '--semivl.guidance'"),
    "unknown method": (["train", "--method", "unimatch_v3"], 2, "did you mean 'unimatch_v2'"),
    "a value of another kind": (["train", "--schedule.steps", "many"], 2, "schedule.steps cannot be 'many'"),
    "a value out of range": (["train", "--evaluation.every", "0"], 2, "every is 0"),
    "no data": (["train"], 2, "no data folder"),
    "a folder that is no data set": (["train", "{empty}"], 2, "no dataset.yaml"),
    "unknown data set": (["train", "--data.root", "{empty}", "--data.spec", "camvidd"], 2, "did you mean 'camvid'"),
    "unknown split": (["train", "--data.root", "{empty}", "--data.spec", "camvid", "--data.split", "x"], 2, "no split"),
    "planned": (["plan", "camvid-cpuu"], 2, "did you mean 'camvid-cpu'"),
    "fetched": (["fetch", "camvid-cpuu"], 2, "did you mean 'camvid-cpu'"),
    "submitted": (["slurm", "camvid-cpuu"], 2, "did you mean 'camvid-cpu'"),
    "checked": (["data", "check", "{empty}"], 2, "no dataset.yaml"),
}


@pytest.fixture(scope="module")
def found(empty: Path) -> dict[str, tuple[int, str, list[str], float]]:
    """Run all in one process, as each that is quick leaves it as it was."""
    words = [[word.replace("{empty}", str(empty)) for word in case[0]] for case in CASES.values()]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(words)], capture_output=True, text=True, check=True, timeout=600
    )
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_compute_does_not_wait_for_torch(
    found: dict[str, tuple[int, str, list[str], float]], case: str
) -> None:
    code, said, heavy, seconds = found[case]
    assert (code, heavy) == (CASES[case][1], []), said
    assert CASES[case][2] in " ".join(said.split())
    assert seconds < SECONDS


def test_the_package_itself_loads_none_of_its_libraries() -> None:
    program = "import sys, semiseg; print({'numpy', 'PIL', 'torch', 'yaml', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "set()"
