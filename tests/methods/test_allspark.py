"""AllSpark's steps against the published training loop, and what is ours alone: processes, resuming, errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import fidelity  # benchmarks/fidelity.py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from semiseg.api import TrainedRun
from semiseg.augment import StrongViewConfig, ViewDraws
from semiseg.augment.photometric import PhotometricDraws
from semiseg.data import (
    Batch,
    DataConfig,
    DatasetSpec,
    Division,
    Labeled,
    PixelCounts,
    Place,
    TrainStream,
    Unlabeled,
    load_dataset,
)
from semiseg.data.palette import default_palette
from semiseg.engine.config import OptimizerConfig
from semiseg.errors import ConfigError
from semiseg.methods import ConsistencyConfig, Context, SharedSettings
from semiseg.methods.allspark import AllSpark, AllSparkConfig
from semiseg.methods.memory import SemanticMemory
from semiseg.models import ModelConfig, Segmenter, build_segmenter
from semiseg.models.encoders import ENCODERS, Encoder, EncoderSpec
from semiseg.models.necks.allspark import AllSpark as Neck

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/allspark.json").read_text())
SIDE, K, BATCH, PER_EPOCH, STEPS = 65, 5, 2, 8, 10
SPEC = DatasetSpec(name="drawn", classes=tuple("abcde"), palette=default_palette(K))
EVERYTHING = SharedSettings(consistency=ConsistencyConfig(threshold=0.0))
"""No threshold, as published."""

TrainTiny = Callable[..., TrainedRun]


class Convolutions(Encoder):
    """The smallest pyramid; the public loop was run with the same one."""

    patch = 1
    widths = (8, 16, 20, 32)
    strides = (4, 8, 16, 32)

    def __init__(self, _: bool) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [nn.Conv2d(3, 8, 7, 4, 3), *(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((8, 16), (16, 20), (20, 32)))]
        )

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        levels = []
        for stage in self.stages:
            images_BCHW = F.gelu(stage(images_BCHW))
            levels.append(images_BCHW)
        return levels


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EncoderSpec(build=Convolutions, features=8, level_widths=(8, 8, 8, 8), on_hub=False)
    monkeypatch.setitem(ENCODERS, "convolutions", spec)


def network(**settings: Any) -> Segmenter:
    config = ModelConfig(encoder="convolutions", weights="random", neck="allspark", features=24, **settings)
    return build_segmenter(config, K)


# Against the published loop


def uniform(name: str, *shape: int) -> np.ndarray:
    drawn: np.ndarray = fidelity.draws(name, shape) / 12**0.5 + 0.5
    return drawn


class Drawn:
    """A stream of sixteen drawn labeled images and as many unlabeled ones, in order, without colour changes."""

    steps, steps_per_epoch = 3 * PER_EPOCH, PER_EPOCH
    division = Division(labeled=BATCH, unlabeled=BATCH)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        places = [BATCH * (step % PER_EPOCH) + place for place in range(BATCH)]
        labeled, unlabeled = (
            torch.stack([self.image(f"{kind} image {place}") for place in places]) for kind in ("labeled", "unlabeled")
        )
        mask = torch.stack([self.mask(f"mask {place}") for place in places])
        unchanged = PhotometricDraws(
            torch.arange(4).expand(BATCH, 1, 4),
            torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(BATCH, 1, 4),
            torch.zeros(BATCH, 1, dtype=torch.bool),
            torch.zeros(BATCH, 1),
        )
        views = (ViewDraws(unchanged, torch.zeros(BATCH, 4, dtype=torch.int64)),)
        counts = torch.tensor([int((mask != 255).sum()), BATCH * SIDE**2, 0.0]).double()
        return Batch(
            place=Place(0, step, self.steps, PER_EPOCH, BATCH, 1, torch.arange(BATCH)),
            labeled=Labeled(labeled, mask, views),
            unlabeled=Unlabeled(unlabeled, torch.zeros(BATCH, SIDE, SIDE, dtype=torch.bool), ()),
            pixels=PixelCounts.unstacked(counts),
            ids=(),
        )

    def image(self, name: str) -> Tensor:
        pixels = (uniform(name, 3, SIDE, SIDE) * 255.999).astype(np.uint8)
        return torch.from_numpy(pixels).permute(1, 2, 0)[None]

    def mask(self, name: str) -> Tensor:
        ids = torch.from_numpy((uniform(name, SIDE, SIDE) * (K + 0.999)).astype(np.uint8))
        return ids.masked_fill(ids == K, 255)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-9)])
def test_ten_steps_are_those_of_the_published_loop(
    precision: Any, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight steps of warm-up, then two with the memory; SGD and its schedule. Without dropout, which nobody redraws."""
    memories = []

    def published(classes: int, channels: int, places: int, *_: Any) -> SemanticMemory:
        maps = fidelity.rule("decoder.allspark.attn.kv_queue", (classes, channels, places), gain=1.4)
        memories.append(SemanticMemory(maps.float(), torch.zeros(classes, dtype=torch.int64)))
        return memories[0]

    monkeypatch.setattr(SemanticMemory, "fresh", published)
    with fidelity.computing_in(precision):
        student = network(decoder="segformer")
        fidelity.rule_allspark(student)
        for name, tensor in student.encoder.state_dict().items():
            tensor.copy_(fidelity.rule(f"backbone.{name}", tuple(tensor.shape), gain=1.4))
        watched = fidelity.train(
            *("allspark", EVERYTHING, student, Drawn(), STEPS, Drawn.steps, SPEC),  # type: ignore[arg-type]
            own=AllSparkConfig(warmup_epochs=1),
            optimizer=OptimizerConfig(kind="sgd", lr=0.01, decoder_multiplier=10, weight_decay=1e-4, lr_batch=0),
        )
    for name, golden in GOLDEN[f"training/{precision}"].items():
        assert [step[name] for step in watched.steps] == pytest.approx(golden, rel=tolerance), name
    assert memories[0].next_K.tolist() == GOLDEN["training/pointers"]


# What is ours alone


def built(student: Segmenter, config: AllSparkConfig | None = None, **context: Any) -> AllSpark:
    device = torch.device("cpu")
    facts = {"spec": SPEC, "model": student.config, "crop": 64, "seed": 0, "device": device, **context}
    return AllSpark(config or AllSparkConfig(), EVERYTHING, Context(normalize=student.normalize, **facts))


def chunks(scenes: Path, *, processes: int = 1) -> list[Batch]:
    """Return the first step's batch of four, as each process gets it; the scenes have six classes, here are five."""
    config = DataConfig(root=str(scenes), crop=64, scale=(0.5, 1.5))
    division = Division(labeled=4, unlabeled=4, processes=processes)
    batches = [
        TrainStream(
            load_dataset(config),
            config,
            replace(division, rank=rank),
            strong=StrongViewConfig(jitter_p=1.0),
            views=1,
            seed=0,
            labeled_views=1,
        )[0]
        for rank in range(processes)
    ]
    for batch in batches:
        batch.labeled.mask_BHW[batch.labeled.mask_BHW == K] = 255
    return batches


def test_labeled_images_change_their_colours_and_unlabeled_ones_do_not(tiny_scenes: Path) -> None:
    student = network()
    (batch,) = chunks(tiny_scenes)
    seen: list[Tensor] = []
    with student.register_forward_pre_hook(lambda _, given: seen.append(given[0])):
        built(student).step(student, student, batch)
    labeling, learning = seen
    assert batch.unlabeled is not None
    weak = student.normalize(batch.unlabeled.images_BTCHW)
    assert torch.equal(labeling, weak)
    assert torch.equal(learning[4:], weak)
    plain = student.normalize(batch.labeled.images_BTCHW)
    assert all(not torch.allclose(*pair, atol=0.05) for pair in zip(learning[:4], plain, strict=True))


@pytest.mark.parametrize(("step", "images"), [(0, 4), (5, 4), (6, K), (100, K)])
def test_the_memory_is_asked_after_the_warm_up(
    step: int, images: int, tiny_scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of three steps: until then the four images of the batch are asked, then the five queues."""
    student = network()
    (batch,) = chunks(tiny_scenes)
    batch = replace(batch, place=replace(batch.place, step=step, steps_per_epoch=3))
    asked = []
    learn = Neck.learn

    def spied(self: Neck, levels: list[Tensor], labeled: int, sources: Any) -> list[Tensor]:
        def counted(unlabeled_BND: Tensor) -> Tensor:
            asked.append(sources(unlabeled_BND))
            return asked[-1]

        return learn(self, levels, labeled, counted)

    monkeypatch.setattr(Neck, "learn", spied)
    method = built(student, AllSparkConfig(warmup_epochs=2))
    method.step(student, student, batch)
    assert len(asked[0]) == images
    assert asked[0].requires_grad == (step < 6)
    assert int(method.state()["next"].sum()) > 0


def test_processes_remember_the_same_channels_in_the_same_order(
    tiny_scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads stand for two processes. Images that are labeled alone are labeled alike however they are divided."""
    monkeypatch.setattr(Neck, "together", Neck.forward)
    barrier, parts = Barrier(2), [torch.empty(0)] * 2

    def gather_as(rank: int) -> Callable[[Tensor], Tensor]:
        def gather(tensor: Tensor) -> Tensor:
            parts[rank] = tensor
            barrier.wait(30)
            gathered = torch.cat(parts)
            barrier.wait(30)
            return gathered

        return gather

    students = [network() for _ in range(3)]  # not in the threads, which share one global generator

    def memory(student: Segmenter, batch: Batch, **context: Any) -> dict[str, Tensor]:
        method = built(student, **context)
        method.step(student, student, batch)
        return method.state()

    (whole,), parted = chunks(tiny_scenes), chunks(tiny_scenes, processes=2)
    with ThreadPoolExecutor() as threads:
        ranks = range(2)
        both = threads.map(lambda rank: memory(students[rank], parted[rank], gather=gather_as(rank)), ranks)
        first, second = both
    alone = memory(students[2], whole)
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor)


def test_two_processes_train(
    tiny_words: Callable[..., list[str]], train_by_two: Callable[[list[str]], str], tmp_path: Path
) -> None:
    """Their messages meet within the forward pass, where DistributedDataParallel has its own."""
    words = ("--method", "allspark", "--allspark.warmup_epochs", "1", "--model.neck", "allspark")
    train_by_two(tiny_words("two", *words, "--schedule.batch", "4", "--schedule.steps", "4"))
    found = load_file(sorted((tmp_path / "two" / "checkpoints").iterdir())[-1] / "tensors.safetensors")
    assert int(found["method/next"].sum()) > 0
    assert all(tensor.isfinite().all() for tensor in found.values())


def test_a_student_without_the_neck_is_refused_before_anything_is_written(
    train_tiny: TrainTiny, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--model\.neck allspark"):
        train_tiny("x", "--method", "allspark")
    assert not (tmp_path / "x").exists()


def test_a_negative_warm_up_is_refused(train_tiny: TrainTiny) -> None:
    with pytest.raises(ConfigError, match=r"warmup_epochs is -1"):
        train_tiny("x", "--method", "allspark", "--model.neck", "allspark", "--allspark.warmup_epochs", "-1")
