"""Training against the published training loops: losses, gradients, learning rates, weights.

The first test runs the three loops of UniMatch V2 (commit f6afb4d), those of its change detection, and that of UniMatch
V1 (commit 0324f3d, a small deep-stem ResNet + DeepLabV3+) for a few steps on inputs that are redrawn by a rule. The
public loops' own lines ran outside this repository on the same weights, crops, masks, strong views, boxes and dropout
masks; only their figures are stored. Change detection's evaluation follows. The next continues what
`benchmarks/fidelity.py` does on CamVid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import fidelity  # benchmarks/fidelity.py
import pytest
import torch
from deeplab import deeplab_names, small_student  # tests/support/deeplab.py
from drawn import SCHEDULED, Drawn, drawn_bytes  # tests/support/drawn.py
from PIL import Image

from semiseg.data import Sample
from semiseg.data.spec import read_spec, shipped_specs
from semiseg.engine.config import OptimizerConfig
from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import Evaluator
from semiseg.errors import DataError
from semiseg.methods import ConsistencyConfig, SharedSettings
from semiseg.models import published_names

REPOSITORY = Path(__file__).parents[2]

GOLDEN: dict[str, Any] = json.loads((REPOSITORY / "tests/golden/training_step.json").read_text())
GOLDEN["camvid"]["unimatch_v1"] = json.loads((REPOSITORY / "tests/golden/training_unimatch_v1.json").read_text())
SPECS = {name: read_spec(shipped_specs()[name]) for name in ("camvid", "levir")}
# Random weights label a quarter of the pixels of noise with this confidence, and none with the published 0.95. In the
# published change detection the student labels, and its average is only evaluated.
SETTINGS = {
    "camvid": SharedSettings(consistency=ConsistencyConfig(threshold=0.22)),
    "levir": SharedSettings(consistency=ConsistencyConfig(threshold=0.64, teacher="student", average=True)),
    "unimatch_v1": SharedSettings(consistency=ConsistencyConfig(threshold=0.17)),
}
SGD = OptimizerConfig(kind="sgd", lr=1e-3, decoder_multiplier=10, weight_decay=1e-4, lr_batch=0)


@dataclass(frozen=True)
class Case:
    ours: Any
    published: dict[str, Any]
    exact: bool
    names: Callable[[Iterable[str]], dict[str, str]]


# In float32 a second step would test rounding: AdamW's first step multiplies that of every tiny gradient.
# Of pairs the third step is the first in which the student and its average would label differently.
RUNS = [
    ("camvid", "supervised", "float32", 1),
    ("camvid", "fixmatch", "float32", 1),
    ("camvid", "unimatch_v2", "float32", 1),
    ("camvid", "unimatch_v2", "float64", 2),
    ("camvid", "unimatch_v1", "float64", 2),
    ("levir", "supervised", "float32", 1),
    ("levir", "unimatch_v2", "float32", 1),
    ("levir", "unimatch_v2", "float64", 3),
]


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: "-".join(run[:3]))
def case(request: pytest.FixtureRequest) -> Case:
    data, method, precision, steps = request.param
    spec = SPECS[data]
    first = method == "unimatch_v1"
    shared, optimizer = (SETTINGS[method], SGD) if first else (SETTINGS[data], OptimizerConfig())
    with fidelity.computing_in(precision):
        student = small_student(spec) if first else fidelity.ruled_student(spec)
        stream = Drawn(method, spec)
        ours = fidelity.train(method, shared, student, stream, steps, SCHEDULED, spec, optimizer=optimizer)
    names = deeplab_names if first else published_names
    return Case(ours, GOLDEN[data][method][precision], precision == "float64", names)


def named(steps: list[dict[str, float]], beginning: str) -> list[dict[str, float]]:
    return [{name: value for name, value in step.items() if name.startswith(beginning)} for step in steps]


def assert_published(case: Case, beginning: str, tolerance: float) -> None:
    ours, published = (named(steps, beginning) for steps in (case.ours.steps, case.published["steps"]))
    for found, golden in zip(ours, published, strict=True):
        assert found == pytest.approx(golden, rel=tolerance)


def test_losses(case: Case) -> None:
    assert_published(case, "loss", 1e-9 if case.exact else 1e-5)


def test_the_part_of_confident_pixels(case: Case) -> None:
    assert_published(case, "confident", 1e-6)


def test_norms_of_gradients(case: Case) -> None:
    assert_published(case, "gradient", 1e-9 if case.exact else 1e-4)


def test_learning_rates(case: Case) -> None:
    assert_published(case, "lr/", 1e-12)


@pytest.mark.parametrize("case", [*RUNS[2:5], RUNS[7]], indirect=True, ids=lambda run: "-".join(run[:3]))
def test_weights_after_the_last_step(case: Case) -> None:
    """One entry of every tensor. After one step the teacher is the student, after more the mean of all students."""
    models = [model for model in ("student", "teacher") if model in case.published]
    assert models[0] == "student"
    for model in models:
        state = getattr(case.ours, model)
        keys = sorted((published, key) for key, published in case.names(state).items())
        found = [state[key].flatten()[state[key].numel() // 4].item() for _, key in keys]
        assert found == pytest.approx(case.published[model], rel=0, abs=1e-12 if case.exact else 1e-6)


def written_pair(folder: Path, name: str) -> Sample:
    """A picture of noise, the same with squares of other noise, and a mask of these, 0 and 255 as in LEVIR-CD."""
    before, other = drawn_bytes(f"pair {name}", 2, 64, 64, 3)
    changed = (drawn_bytes(f"changed {name}", 8, 8) < 64).repeat_interleave(8, 0).repeat_interleave(8, 1)
    pictures = {"A": before, "B": torch.where(changed[..., None], other, before), "label": 255 * changed.byte()}
    for part, pixels in pictures.items():
        Image.fromarray(pixels.numpy()).save(folder / f"{name} {part}.png")
    paths = [folder / f"{name} {part}.png" for part in pictures]
    return Sample(name, (paths[0], paths[1]), paths[2])


def test_figures_of_change_detection(tmp_path: Path) -> None:
    """Pairs of 64 pixels, which evaluation resizes to 70; a single pixel would change the accuracy by 0.008 %."""
    spec = SPECS["levir"]
    samples = [written_pair(tmp_path, name) for name in "012"]
    evaluator = Evaluator(samples=samples, spec=spec, inference=fidelity.INFERENCE, batch=2, max_pixels=64 * 64)
    model = fidelity.ruled_student(spec).eval()
    scores = evaluator.evaluate({"model": model}, Processes(0, 1, torch.device("cpu")))["model"].scores
    golden = GOLDEN["levir"]["evaluation"]
    assert {name: 100 * scores[name] for name in golden} == pytest.approx(golden, rel=0, abs=1e-3)


@pytest.mark.parametrize(("steps", "precision"), [(2, "float64"), (20, "float32")])
def test_the_curve_on_camvid(camvid_root: Path, steps: int, precision: Any) -> None:
    ours, published = fidelity.our_curve(camvid_root, steps, precision), fidelity.published_curve(precision)
    assert len(ours["loss"]) == steps
    assert max(fidelity.differences(ours, published)) < fidelity.LIMITS[precision]
    assert 0.1 < sum(ours["confident"]) / steps < 0.9


@pytest.mark.parametrize(("shift", "code"), [(0.9e-3, 0), (1.1e-3, 1)])
def test_the_benchmark_fails_where_a_loss_leaves_the_published_curve(
    shift: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = fidelity.published_curve("float32")
    ours["loss_s"][7] += shift
    monkeypatch.setattr(fidelity, "our_curve", lambda *_: ours)
    assert fidelity.main(["camvid", "--figure", str(tmp_path / "curves.svg")]) == code
    assert f"largest difference of a loss: {shift:.1e}" in capsys.readouterr().out
    assert len(ElementTree.parse(tmp_path / "curves.svg").findall(".//{*}polyline")) == 5


def test_other_batches_than_the_recorded_ones_are_refused() -> None:
    stream = Drawn("unimatch_v2", SPECS["camvid"])
    recorded = [fidelity.checksum(stream[step], 384) for step in range(2)]
    fidelity.refuse_other_batches(stream, SimpleNamespace(width=384), recorded)
    with pytest.raises(DataError, match="step 1"):
        fidelity.refuse_other_batches(stream, SimpleNamespace(width=384), [recorded[0], recorded[1] + 1])
