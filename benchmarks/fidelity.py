"""Our training beside the published one: from the same state, on the same batches, both loss curves must be one curve.

    python benchmarks/fidelity.py CAMVID [--precision float32 float64] [--figure FILE.svg]

`tests/golden/training_curve.json` holds the losses that the training loop of the public implementation of UniMatch V2
(commit f6afb4d) gave on a CPU: DINOv2-S + DPT filled by a rule, 20 steps of a schedule of 40, two labeled and two
unlabeled crops of CamVid a step, as our stream draws them. Here the engine's own loop runs on the same. Exit code 1 if
a loss differs by more than 1e-3 in float32 or 1e-9 in float64.

Why float64: in float32 both sides round differently, and AdamW, whose first steps have the size of the learning rate
whatever the size of the gradient, enlarges that from step to step. In float64 a difference would be one of rule.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from semiseg.augment import StrongViewConfig
from semiseg.data import Batch, DataConfig, DatasetSpec, Division, TrainStream, load_dataset
from semiseg.data.quarantine import Quarantine
from semiseg.data.spec import read_spec, shipped_specs
from semiseg.engine.config import EvaluationConfig, OptimizerConfig, ScheduleConfig
from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import Evaluator
from semiseg.engine.inference import Inference
from semiseg.engine.rundir import RunDirectory
from semiseg.engine.schedule import build_optimizer, lr_scale
from semiseg.engine.task import Task
from semiseg.engine.training import fit
from semiseg.errors import DataError, SemisegError
from semiseg.methods import (
    ConsistencyConfig,
    Context,
    Method,
    SharedSettings,
    StepResult,
    find_method,
    make_teacher,
)
from semiseg.methods.dropout import channel_masks
from semiseg.models import ModelCard, ModelConfig, Segmenter, build_segmenter, published_names
from semiseg.reporting.charts import Chart, Line, line_chart
from semiseg.reporting.templating import render

Precision = Literal["float32", "float64"]
Curve = dict[str, list[float]]
"""Values of each step, by name: loss, loss_x (labeled), loss_s (unlabeled) and confident."""

GOLDEN = Path(__file__).resolve().parents[1] / "tests/golden/training_curve.json"
LIMITS: dict[Precision, float] = {"float32": 1e-3, "float64": 1e-9}
LOSSES = ("loss", "loss_x", "loss_s")

SPEC = read_spec(shipped_specs()["camvid"])
CROP, BATCH, SCHEDULED = 182, 2, 40
INFERENCE = Inference(protocol="original", window=CROP, tile=1024, bf16=False)
"""How all data sets of these runs are evaluated."""
SETTINGS = SharedSettings(consistency=ConsistencyConfig(threshold=0.25))
"""With the published threshold of 0.95 no label would be learned in the first steps from random weights."""


class Enough(Exception):
    """The steps that were asked for are done."""


@dataclass
class Watched:
    """What a training did.

    Attributes:
        steps: of each step its losses, the norms of the gradients and both learning rates.
        student: its state after the last step.
        teacher: likewise; nothing where no average is kept.
    """

    steps: list[dict[str, float]] = field(default_factory=list)
    student: dict[str, Tensor] = field(default_factory=dict)
    teacher: dict[str, Tensor] = field(default_factory=dict)


class Watching(Method[Any]):
    """A method that writes down the losses of another one, and ends the training after some steps."""

    def __init__(self, method: Method[Any], steps: int, watched: Watched) -> None:
        super().__init__(method.config, method.shared, method.context)
        self.method, self.last, self.watched = method, steps, watched

    @property
    def student_labels(self) -> bool:
        """As the method that is watched."""
        return self.method.student_labels

    @property
    def ema_teacher(self) -> bool:
        """As the method that is watched."""
        return self.method.ema_teacher

    def step(self, student: nn.Module, teacher: Segmenter, batch: Batch) -> StepResult:
        """Do the method's step, or end."""
        if batch.place.step == self.last:
            raise Enough
        result = self.method.step(student, teacher, batch)
        losses = {"loss": result.loss, **result.logs}
        self.watched.steps.append({name: value.item() for name, value in losses.items()})
        return result


@contextmanager
def watched_optimizer(steps: list[dict[str, float]]) -> Iterator[None]:
    """Add to the latest of `steps` what an optimizer of two groups, encoder and decoder, is about to do."""

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        found: dict[str, float] = {}
        total = 0.0
        for part, group in zip(("encoder", "decoder"), optimizer.param_groups, strict=True):
            gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
            square = sum(gradient.double().square().sum().item() for gradient in gradients)
            found |= {f"gradient/{part}": square**0.5, f"lr/{part}": group["lr"]}
            total += square
        steps[-1] |= {**found, "gradient": total**0.5}

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Compute in a precision; for float64, what the package asks for as float32 is made float64 as well."""
    if precision == "float32":
        yield
        return
    to_float32, default = torch.Tensor.float, torch.get_default_dtype()
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float = to_float32  # type: ignore[method-assign]
        torch.set_default_dtype(default)


def draws(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return uniform draws of unit variance; a bit generator's raw stream is the same in every version of NumPy."""
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(11)) * 2.0**-53 * 2 - 1).reshape(shape) * 3**0.5


def rule(name: str, shape: tuple[int, ...], gain: float = 0.9) -> Tensor:
    """Return the weights of a published tensor: nothing is degenerate; at this gain logits differ by about 0.5."""
    values = draws(name, shape)
    if name.endswith("gamma"):
        values = 0.5 + 0.1 * values
    elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):  # a norm's
        values = 1 + 0.1 * values
    elif name.endswith("pos_embed"):
        values = 0.5 * values
    elif len(shape) > 1 and name.endswith("weight"):
        values = values * (gain / np.sqrt(np.prod(shape[1:])))
    else:
        values = 0.1 * values
    return torch.from_numpy(values.astype(np.float32))


def apart(tensor: Tensor, golden: Mapping[str, Any]) -> float:
    """Return how far a tensor is from recorded figures, relative to its RMS: of the mean, the norm or single values.

    Args:
        tensor: ours.
        golden: `mean` and `norm` of the published one, and some `values`, evenly spaced in the flattened tensor.
    """
    flat = tensor.double().flatten()
    spaced = np.linspace(0, len(flat) - 1, len(golden["values"])).astype(int)
    scale = golden["norm"] / len(flat) ** 0.5
    values = np.abs(flat[spaced].numpy() - golden["values"]).max() / scale
    mean, norm = abs(float(flat.mean()) - golden["mean"]) / scale, abs(float(flat.norm()) / golden["norm"] - 1)
    return float(max(values, mean, norm))


ALLSPARK = {
    **{f"decoder.project.{level}": f"decoder.decoder.linear_c{level + 1}.proj" for level in range(4)},
    "decoder.mix": "decoder.decoder.linear_fuse.conv",
    "decoder.norm": "decoder.decoder.linear_fuse.bn",
    "decoder.classifier": "decoder.decoder.linear_pred",
    "neck.enter": "decoder.allspark.map_in.0",
    "neck.norm": "decoder.allspark.attn_norm",
    "neck.leave_norm": "decoder.allspark.encoder_norm",
    "neck.leave": "decoder.allspark.map_out.0",
    **{
        f"neck.{ours}.{part}": f"decoder.allspark.attn.{part if part == 'out' else part[0]}_{published}"
        for ours, published in (("own", "u"), ("cross", "l2u"))
        for part in ("query", "key", "value", "out")
    },
}
"""The modules of AllSpark's neck and decoder, and their names in its public implementation (commit 9da63e2)."""


@torch.no_grad()
def rule_allspark(model: nn.Module, prefix: str = "") -> None:
    """Fill the neck and the decoder of AllSpark by the rule, and switch their dropout off, as it was for the figures.

    Args:
        model: a segmenter, or one of the two.
        prefix: what stands before its names in a segmenter, for example "neck.".
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
        if published := ALLSPARK.get(prefix + name):
            for entry, tensor in module.state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(rule(f"{published}.{entry}", tuple(tensor.shape), gain=1.4))


def ruled_student(spec: DatasetSpec = SPEC) -> Segmenter:
    """Build DINOv2-S + DPT for the frames and classes of a data set and fill it by the rule."""
    config = ModelConfig(encoder="dinov2_small", weights="random")
    student = build_segmenter(config, spec.num_classes, len(spec.frames))
    state = student.state_dict()
    for key, published in published_names(state).items():
        state[key].copy_(rule(published, tuple(state[key].shape)))
    return student


def train(
    method: str,
    shared: SharedSettings,
    student: Segmenter,
    stream: TrainStream,
    steps: int,
    scheduled: int,
    spec: DatasetSpec = SPEC,
    own: Any = None,
    optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008 (frozen)
) -> Watched:
    """Run the first steps of a training of `scheduled` steps by the engine's own loop, and watch them.

    Args:
        method: its name.
        shared: the settings that methods share.
        student: who learns.
        stream: the batches.
        steps: how many steps.
        scheduled: the length that the learning rate is for.
        spec: the data set.
        own: the method's own settings; None: the published ones.
        optimizer: which one, and its rates.
    """
    watched, kept, kind = Watched(), {"student": student}, find_method(method)
    device = torch.device("cpu")
    processes = Processes(0, 1, device)
    context = Context(spec=spec, model=student.config, crop=CROP, seed=0, device=device, normalize=student.normalize)

    def keep_teacher(student: Segmenter) -> Segmenter:  # which a method that lets the student label never sees
        kept["teacher"] = make_teacher(student)
        return kept["teacher"]

    with (
        tempfile.TemporaryDirectory() as folder,
        watched_optimizer(watched.steps),
        patch("semiseg.engine.state.make_teacher", keep_teacher),
    ):
        task = Task(
            method=Watching(kind(own or kind.config_class(), shared, context), steps, watched),
            student=student,
            stream=stream,
            evaluator=Evaluator(samples=(), spec=spec, inference=INFERENCE, batch=1, max_pixels=0),
            card=ModelCard(
                classes=spec.classes, palette=spec.palette, frames=len(spec.frames), crop=CROP, model=student.config
            ),
            optimizer=build_optimizer(
                student, optimizer, lr_scale(optimizer, stream.division.labeled // kind.labeled_factor)
            ),
            schedule=ScheduleConfig(steps=scheduled, log_every=scheduled, checkpoint_every=scheduled),
            evaluation=EvaluationConfig(every=scheduled),
            workers=0,
            bf16=False,
            directory=RunDirectory(Path(folder)),
            processes=processes,
            quarantine=Quarantine(Path(folder), images=0, share=0.0, peers=processes),
        )
        try:
            fit(task, resume=False)
        except Enough:
            return replace(watched, **{name: model.state_dict() for name, model in kept.items()})
    raise ValueError(f"a schedule of {scheduled} steps ends before step {steps}")


def camvid_stream(root: Path) -> TrainStream:
    """Return the batches that both sides learn from."""
    data = DataConfig(root=str(root), spec="camvid", split="1_16", crop=CROP)
    division = Division(labeled=BATCH, unlabeled=BATCH)
    strong = StrongViewConfig()
    return TrainStream(load_dataset(data), data, division, strong=strong, views=2, seed=0, steps=SCHEDULED)


def checksum(batch: Batch, width: int) -> int:
    """Return the CRC-32 of all that a step of UniMatch V2 is given and draws."""
    assert batch.unlabeled is not None
    tensors = [batch.labeled.images_BTHWC, batch.labeled.mask_BHW, batch.unlabeled.images_BTHWC]
    tensors += [batch.unlabeled.ignore_BHW, *channel_masks("complementary", batch.place, width, 2, torch.device("cpu"))]
    for view in batch.unlabeled.views:
        photometric = view.photometric
        tensors += [view.box_B4, photometric.order, photometric.factors, photometric.grayscale, photometric.sigma]
    crc = 0
    for tensor in tensors:
        crc = zlib.crc32(tensor.to(torch.float32).contiguous().numpy().tobytes(), crc)
    return crc


def refuse_other_batches(stream: TrainStream, student: Segmenter, expected: Sequence[int]) -> None:
    """Check that the stream draws what the public implementation was given.

    Raises:
        DataError: another version of a library, or of this package, draws or resizes differently.
    """
    for step, recorded in enumerate(expected):
        if checksum(stream[step], student.width) != recorded:
            raise DataError(
                f"the batch of step {step} is not the one that the published curve was recorded on",
                where=GOLDEN,
                remedy="record the public implementation on the batches as they are drawn now",
            )


def our_curve(camvid: Path, steps: int, precision: Precision) -> Curve:
    """Train, and return each loss by step.

    Raises:
        DataError: no CamVid, or batches other than the recorded ones.
    """
    golden = json.loads(GOLDEN.read_text())
    with computing_in(precision):
        student, stream = ruled_student(), camvid_stream(camvid)
        refuse_other_batches(stream, student, golden["batches"][:steps])
        watched = train("unimatch_v2", SETTINGS, student, stream, steps, SCHEDULED)
    return {name: [step[name] for step in watched.steps] for name in (*LOSSES, "confident")}


def published_curve(precision: Precision) -> Curve:
    """Return the recorded losses of the public implementation."""
    curve: Curve = json.loads(GOLDEN.read_text())[precision]
    return curve


def differences(ours: Curve, published: Curve) -> list[float]:
    """Return for each of our steps the largest difference of a loss."""
    steps = range(len(ours["loss"]))
    return [max(abs(ours[name][step] - published[name][step]) for name in LOSSES) for step in steps]


def table(ours: Curve, published: Curve) -> str:
    """Write a row for each step; the last column is the largest difference of the three losses."""
    lines = ["step      ours  published   labeled  unlabeled  confident  difference"]
    for step, difference in enumerate(differences(ours, published)):
        values = (ours["loss"][step], published["loss"][step], ours["loss_x"][step], ours["loss_s"][step])
        numbers = "  ".join(f"{value:9.6f}" for value in values)
        lines.append(f"{step:4}  {numbers}  {ours['confident'][step]:9.1%}  {difference:10.1e}")
    return "\n".join(lines)


STYLE = """
text { font: 11px system-ui, sans-serif; fill: #6d7280 } .title { font-size: 13px; font-weight: 600; fill: #23252b }
.grid { stroke: #e5e5e0 } .line { fill: none; stroke-width: 1.6 } .dot { display: none }
.s1, .s3 { stroke: #2f6fb5 } .s2, .s4 { stroke: #d9822b } .losses .s1, .losses .s2 { stroke-width: 8; opacity: 0.3 }
.k1 { fill: #2f6fb5 } .k2 { fill: #d9822b }
"""


def figure(curves: dict[Precision, tuple[Curve, Curve]]) -> str:
    """Return an SVG: our losses as thin lines on the published ones as bands, and below how far they lie apart.

    Args:
        curves: ours and the published one, by precision; the losses of the first precision are drawn.
    """
    losses = [
        Line(name=f"{side} {name}", points=list(enumerate(curve[name])))
        for side, curve in zip(("ours", "published"), next(iter(curves.values())), strict=True)
        for name in ("loss_x", "loss_s")
    ]
    # Equal losses have no logarithm; they are drawn at what their precision resolves.
    apart = []
    for precision, pair in curves.items():
        heights = (math.log10(max(value, float(np.finfo(precision).eps))) for value in differences(*pair))
        apart.append(Line(name=precision, points=list(enumerate(heights))))
    charts = (
        line_chart("Losses", [*losses[2:], *losses[:2]], x_name="step", show="{:.1f}".format),
        line_chart("Difference", apart, x_name="step", show="1e{:.0f}".format, y_range=(-17, 0)),
    )
    titles = (
        'Losses, ours (lines) on published (bands): <tspan class="k1">labeled</tspan>, '
        '<tspan class="k2">unlabeled</tspan>',
        "Largest difference of a loss: "
        + ", ".join(f'<tspan class="k{index}">{line.name}</tspan>' for index, line in enumerate(apart, 1)),
    )

    def drawing(chart: Chart | None) -> str:  # without the report's frame of HTML
        html = render("chart.html", chart=chart)
        return html[html.index(">", html.index("<svg")) + 1 : html.index("</svg>")]

    parts = [
        f'<text class="title" x="16" y="{24 + 260 * row}">{title}</text>'
        f'<g class="{kind}" transform="translate(8 {32 + 260 * row})">{drawing(chart)}</g>'
        for row, (kind, title, chart) in enumerate(zip(("losses", "apart"), titles, charts, strict=True))
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 500 520" width="750" height="780">'
        f'<style>{STYLE}</style><rect width="500" height="520" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def main(words: Sequence[str] | None = None) -> int:
    """Compare, print, draw; return the exit code."""
    parser = argparse.ArgumentParser(description="Our training beside the published one, on CamVid.")
    parser.add_argument("camvid", type=Path, help="folder with images/, masks/ and splits/1_16/")
    parser.add_argument("--steps", type=int, default=20, choices=range(1, 21), metavar="N", help="1 to 20 (default)")
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=list(LIMITS))
    parser.add_argument("--figure", type=Path, help="draw the curves and their difference as SVG")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    curves, failed = {}, False
    for precision in args.precision:
        curves[precision] = ours, published = our_curve(args.camvid, args.steps, precision), published_curve(precision)
        largest = max(differences(ours, published))
        failed = failed or largest > LIMITS[precision]
        print(f"{precision}\n{table(ours, published)}")
        print(f"largest difference of a loss: {largest:.1e} (limit {LIMITS[precision]:g})\n", flush=True)
    if args.figure:
        args.figure.write_text(figure(curves), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SemisegError as error:
        sys.exit(str(error))
