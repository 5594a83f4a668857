"""Training against the published training loops (commit f6afb4d): losses, gradients, learning rates, weights.

The first test runs the three loops for two steps on inputs that are redrawn here by a rule. The public loops' own lines
ran outside this repository on the same weights, crops, masks, strong views, boxes and dropout masks; only their figures
are stored. The second continues what `benchmarks/fidelity.py` does on CamVid.
"""

from __future__ import annotations

import json
import sys
import zlib
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor

from semiseg.augment import ViewDraws, cutmix
from semiseg.augment.photometric import PhotometricDraws
from semiseg.data import Batch, Division, Labeled, PixelCounts, Place, Unlabeled
from semiseg.errors import DataError
from semiseg.methods import METHODS, ConsistencyConfig, MethodSettings
from semiseg.models import published_names

REPOSITORY = Path(__file__).parents[2]


def load_benchmark() -> Any:
    """Import `benchmarks/fidelity.py`, which is no part of the package."""
    spec = spec_from_file_location("fidelity", REPOSITORY / "benchmarks/fidelity.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["fidelity"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fidelity = load_benchmark()
GOLDEN: dict[str, Any] = json.loads((REPOSITORY / "tests/golden/training_step.json").read_text())
CROP, BATCH, SCHEDULED = 98, 4, 8
# Random weights label a quarter of the pixels of noise with this confidence, and none with the published 0.95.
SETTINGS = MethodSettings(consistency=ConsistencyConfig(threshold=0.22))

# x0, y0, x1, y1 of each sample, by view.
BOXES = (
    torch.tensor([[3, 2, 47, 85], [0, 0, 0, 0], [40, 25, 98, 94], [11, 1, 19, 70]]),
    torch.tensor([[0, 0, 0, 0], [34, 40, 90, 72], [0, 0, 42, 98], [0, 0, 0, 0]]),
)
# Brightness, contrast, saturation and hue of each sample, by view; the last sample of the second view has no jitter.
FACTORS = (
    torch.tensor([[1.3, 0.7, 1.2, 0.1], [0.6, 1.4, 0.9, -0.2], [1.0, 1.1, 0.5, 0.25], [0.8, 0.8, 1.5, -0.05]]),
    torch.tensor([[0.9, 1.5, 0.6, -0.1], [1.2, 0.6, 1.3, 0.2], [0.7, 1.2, 1.0, -0.25], [1.0, 1.0, 1.0, 0.0]]),
)
ORDERS = (
    torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]]),
    torch.tensor([[1, 0, 3, 2], [0, 3, 2, 1], [3, 0, 1, 2], [0, 1, 2, 3]]),
)
GRAYSCALE = (torch.tensor([False, True, False, False]), torch.tensor([False, False, False, True]))
SIGMAS = (torch.tensor([0.0, 1.1, 0.4, 2.0]), torch.tensor([0.7, 0.0, 0.0, 1.6]))


def drawn_bytes(name: str, *shape: int) -> Tensor:
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return torch.from_numpy((raw >> np.uint64(56)).astype(np.uint8).reshape(shape))


def drawn_mask(name: str, batch: int) -> Tensor:
    """Squares of a class or, as often as each class, of the ignore value."""
    classes = drawn_bytes(name, batch, CROP // 14, CROP // 14) % 12
    return classes.masked_fill(classes == 11, 255).repeat_interleave(14, 1).repeat_interleave(14, 2)


def drawn_view(view: int) -> ViewDraws:
    photometric = PhotometricDraws(ORDERS[view], FACTORS[view], GRAYSCALE[view], SIGMAS[view])
    return ViewDraws(photometric.map(lambda draw: draw[:, None]), BOXES[view])


def padding() -> Tensor:
    ignore = torch.zeros(BATCH, CROP, CROP, dtype=torch.bool)
    ignore[1, 80:] = True
    ignore[3, :, :30] = True
    return ignore


class Drawn:
    """A stream that draws its batches by a rule instead of reading images."""

    steps = steps_per_epoch = SCHEDULED

    def __init__(self, method: str) -> None:
        self.views = METHODS[method].views
        self.division = Division(
            labeled=BATCH * METHODS[method].labeled_factor, unlabeled=BATCH if METHODS[method].views else 0
        )

    def __len__(self) -> int:
        return SCHEDULED

    def __getitem__(self, step: int) -> Batch:
        size = self.division.labeled
        labeled = Labeled(drawn_bytes(f"labeled {step}", size, 1, CROP, CROP, 3), drawn_mask(f"mask {step}", size))
        unlabeled, valid = None, ~padding()
        if self.views:
            views = tuple(drawn_view(view) for view in range(self.views))
            unlabeled = Unlabeled(drawn_bytes(f"unlabeled {step}", BATCH, 1, CROP, CROP, 3), ~valid, views)
        counts = [(labeled.mask_BHW != 255).sum(), valid.sum(), *(cutmix(valid, box).sum() for box in BOXES)]
        return Batch(
            place=Place(seed=0, step=step, batch=BATCH, chunks=1, positions_B=torch.arange(BATCH)),
            labeled=labeled,
            unlabeled=unlabeled,
            pixels=PixelCounts.unstacked(torch.stack(counts).double()),
            ids=(),
        )


@dataclass(frozen=True)
class Case:
    ours: Any
    published: dict[str, Any]
    exact: bool


# In float32 a second step would test rounding: AdamW's first step multiplies that of every tiny gradient.
RUNS = [
    ("supervised", "float32", 1),
    ("fixmatch", "float32", 1),
    ("unimatch_v2", "float32", 1),
    ("unimatch_v2", "float64", 2),
]


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: f"{run[0]}-{run[1]}")
def case(request: pytest.FixtureRequest) -> Case:
    method, precision, steps = request.param
    with fidelity.computing_in(precision):
        ours = fidelity.train(method, SETTINGS, fidelity.ruled_student(), Drawn(method), steps, SCHEDULED)
    return Case(ours, GOLDEN[method][precision], precision == "float64")


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


@pytest.mark.parametrize("model", ["student", "teacher"])
@pytest.mark.parametrize("case", RUNS[2:], indirect=True, ids=lambda run: run[1])
def test_weights_after_the_last_step(case: Case, model: str) -> None:
    """One entry of every tensor. After one step the teacher is the student, after two the mean of both students."""
    state = getattr(case.ours, model)
    keys = sorted((published, key) for key, published in published_names(state).items())
    found = [state[key].flatten()[state[key].numel() // 4].item() for _, key in keys]
    assert found == pytest.approx(case.published[model], rel=0, abs=1e-12 if case.exact else 1e-6)


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
    stream = Drawn("unimatch_v2")
    recorded = [fidelity.checksum(stream[step], 384) for step in range(2)]
    fidelity.refuse_other_batches(stream, SimpleNamespace(width=384), recorded)
    with pytest.raises(DataError, match="step 1"):
        fidelity.refuse_other_batches(stream, SimpleNamespace(width=384), [recorded[0], recorded[1] + 1])
