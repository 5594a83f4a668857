"""Evaluation of student and teacher on val images, and the counting of their pixels alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from benchmarks.speed.clock import alternate
from benchmarks.speed.ground import Ground, opened
from benchmarks.speed.plain.evaluation import both, counts
from benchmarks.speed.plain.loader import Norm
from benchmarks.speed.plain.step import IGNORED
from benchmarks.speed.row import PLAIN, Bench, Row
from benchmarks.speed.training import Ours, Plain

from semiseg.engine.evaluation import count_confusion

CASES = {"dinov2_small": 322, "efficientnet_lite0": 256}


def measure(encoder: str, crop: int, ground: Ground) -> Iterator[Row]:
    """Time the evaluation of both models on a few images."""
    config = ground.config(encoder, 56 if ground.machine.quick else crop, 2)
    images = 2 if ground.machine.quick else 100 if ground.machine.has_gpu else 4
    with opened(config) as task:
        ours, plain = Ours(task), Plain(task, config)
        samples = task.evaluator.samples[:images]
        evaluator = replace(task.evaluator, samples=samples)
        models = {"student": ours.state.student, "teacher": ours.state.teacher}
        norm, found = Norm(task.student.mean.cpu(), task.student.std.cpu()), dict[str, float]()

        def evaluate() -> None:
            for model in models.values():
                model.eval()
            found["fast"] = evaluator.evaluate(models, task.processes)["teacher"].miou

        def evaluate_plain() -> None:
            found[PLAIN] = both(plain.training.student, plain.training.teacher, samples, norm, ground.machine.device)[1]

        timed = alternate(
            {"fast": evaluate, PLAIN: evaluate_plain},
            rounds=ground.rounds,
            device=ground.machine.device,
            budget=ground.budget,
        )
    sides = {name: side.divided(len(samples)) for name, side in timed.items()}
    facts = {
        "images": ground.images,
        "count": len(samples),
        "miou": found,
        "precision": "bf16" if task.bf16 else "fp32",
    }
    yield Row(name=f"evaluation/{encoder}", unit="image", sides=sides, facts=facts)


def measure_counting(classes: int, height: int, width: int, ground: Ground) -> Iterator[Row]:
    """Time the counting of what a model says, one image in twenty of it ignored, of two megapixels together."""
    device, images = ground.machine.device, max(1, 2**21 // (height * width))
    generator = torch.Generator().manual_seed(0)
    truth_BHW = torch.randint(0, classes, (images, height, width), generator=generator, dtype=torch.uint8)
    truth_BHW[torch.rand(truth_BHW.shape, generator=generator) < 0.05] = IGNORED
    said_BHW = torch.randint(0, classes, (images, height, width), generator=generator).to(device)
    pairs, on_device_BHW = list(zip(said_BHW.cpu().numpy(), truth_BHW.numpy(), strict=True)), truth_BHW.to(device)
    sides = alternate(
        {
            "fast": lambda: count_confusion(on_device_BHW, said_BHW, classes, IGNORED),
            PLAIN: lambda: [counts(*pair, classes) for pair in pairs],
        },
        rounds=ground.rounds,
        device=device,
        budget=ground.budget,
    )
    timed = {name: side.divided(images) for name, side in sides.items()}
    yield Row(name=f"counting/{classes}/{width}x{height}", unit="image", sides=timed)


BENCHES = tuple(
    Bench(
        name=f"evaluation/{encoder}",
        measure=lambda ground, encoder=encoder, crop=crop: measure(encoder, crop, ground),
        left_out=lambda machine, encoder=encoder: (
            "no part of the rehearsal" if machine.quick and encoder == "dinov2_small" else ""
        ),
    )
    for encoder, crop in CASES.items()
) + tuple(
    Bench(
        name=f"counting/{classes}/{width}x{height}",
        measure=lambda ground, size=(classes, height, width): measure_counting(*size, ground),
    )
    for classes, height, width in ((11, 360, 480), (19, 1024, 2048))
)
