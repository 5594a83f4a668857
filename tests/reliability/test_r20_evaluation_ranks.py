"""R20: an evaluation gives one integer confusion matrix, whatever the number of processes: none counts twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forked import run_together  # tests/support
from PIL import Image

SIZES = [(40, 48), (40, 48), (33, 50), (40, 48), (50, 33), (70, 90), (40, 48)]

SCRIPT = """
import json, sys
from pathlib import Path
from semiseg.data import DatasetSpec, Sample
from semiseg.engine.distributed import join_processes
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.inference import Inference
from semiseg.models import ModelConfig, build_segmenter

folder = Path(sys.argv[1])
names = sorted(path.stem for path in (folder / "images").iterdir())
samples = [Sample(name, (folder / f"images/{name}.png",), folder / f"masks/{name}.png") for name in names]
spec = DatasetSpec(name="val", classes=("field", "road", "water"))
models = {
    name: build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), 3, seed=seed).eval()
    for seed, name in enumerate(("student", "teacher"))
}
# In float32, where rounding can turn a pixel's class: which images share a batch may not differ.
with join_processes("cpu") as processes:
    found = {}
    for protocol in ("original", "sliding"):
        inference = Inference(protocol=protocol, window=32, tile=64, bf16=False)
        evaluator = Evaluator(samples=samples, spec=spec, inference=inference, batch=2, max_pixels=10**6)
        for name, result in evaluator.evaluate(models, processes).items():
            found[f"{name} {protocol}"] = result.confusion_KK.tolist()
    (folder / f"{processes.count}_{processes.rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return seven images and masks of five sizes, one of them seen in tiles."""
    root = tmp_path_factory.mktemp("val")
    (root / "script.py").write_text(SCRIPT)
    rng = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        for part, values in (("images", rng.integers(0, 256, (*size, 3))), ("masks", rng.integers(0, 4, size))):
            (root / part).mkdir(exist_ok=True)
            pixels = np.where(values == 3, 255, values) if part == "masks" else values
            Image.fromarray(pixels.astype(np.uint8)).save(root / part / f"{number}.png")
    return root


def evaluate(folder: Path, count: int, port: str) -> list[dict[str, list[list[int]]]]:
    """Return what each of `count` processes found."""
    run_together([str(folder / "script.py")], [str(folder)], folder / "said", count=count, port=port)
    return [json.loads((folder / f"{count}_{rank}.json").read_text()) for rank in range(count)]


def test_r20_one_two_and_three_processes_find_the_same_confusion(folder: Path, free_port: Callable[[], str]) -> None:
    found = {count: evaluate(folder, count, free_port()) for count in (1, 2, 3)}
    [alone] = found[1]
    pixels = sum(int((np.asarray(Image.open(path)) != 255).sum()) for path in (folder / "masks").iterdir())
    assert list(alone) == ["student original", "teacher original", "student sliding", "teacher sliding"]
    assert {np.sum(confusion) for confusion in alone.values()} == {pixels}, "every pixel counts once"
    assert len({json.dumps(confusion) for confusion in alone.values()}) > 1, "the figures could differ"
    for count in (2, 3):
        assert found[count] == [alone] * count
