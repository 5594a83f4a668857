from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryF1Score,
    BinaryJaccardIndex,
    BinaryPrecision,
    BinaryRecall,
    MulticlassConfusionMatrix,
    MulticlassJaccardIndex,
)

from semiseg.data import DatasetSpec, Sample
from semiseg.data.spec import Protocol
from semiseg.engine.config import EvaluationConfig
from semiseg.engine.distributed import Processes
from semiseg.engine.evaluation import Evaluation, Evaluator, changed_scores, count_confusion
from semiseg.engine.inference import Inference, inference_of
from semiseg.engine.keepsakes import Keepsakes
from semiseg.engine.quality import Quality, QualityCounts
from semiseg.errors import ConfigError
from semiseg.models import ModelCard, ModelConfig, Segmenter, build_segmenter

CLASSES = ("field", "road", "water")
# Neighbours of one size, lonely ones, and sizes that are no multiple of the patch.
SIZES = ((40, 48), (40, 48), (40, 48), (33, 50), (40, 48), (50, 33), (50, 33))


class Apart(Processes):
    """One of several processes that never meet: its sums are its own."""

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    def largest(self, number: int) -> int:
        return number


INFERENCE = Inference(protocol="original", window=32, tile=1024, bf16=False)
ALONE = Apart(0, 1, torch.device("cpu"))


def maps(classes: int, size: int = 20_000) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, (2, size), dtype=np.uint8)
    predicted = np.where(rng.random((2, size)) < 0.6, truth, rng.integers(0, classes, (2, size)))
    truth[rng.random((2, size)) < 0.1] = 255
    return torch.from_numpy(truth), torch.from_numpy(predicted)


def write_samples(folder: Path, sizes: Sequence[tuple[int, int]]) -> tuple[Sample, ...]:
    rng = np.random.default_rng(0)
    samples = []
    for number, size in enumerate(sizes):
        image, mask = folder / f"{number}.png", folder / f"{number}_mask.png"
        patches = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        patches.resize(size[::-1], Image.Resampling.NEAREST).save(image)
        values = rng.integers(0, 4, size, dtype=np.uint8)
        Image.fromarray(np.where(values == 3, 255, values).astype(np.uint8)).save(mask)
        samples.append(Sample(image.name, (image,), mask))
    return tuple(samples)


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return Evaluator(
        samples=write_samples(tmp_path_factory.mktemp("val"), SIZES),
        spec=DatasetSpec(name="val", classes=CLASSES),
        inference=INFERENCE,
        batch=2,
        max_pixels=10**6,
    )


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return random_model(seed=0)


def random_model(seed: int) -> Segmenter:
    model = build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), len(CLASSES), seed=seed).eval()
    with torch.no_grad():  # the logits of an untrained model differ little: let the image decide and not the bias
        patches = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(10, 2)
        logits_BKHW = model(model.normalize(patches.repeat_interleave(10, 3)[:, None]))
        model.decoder.classifier.bias -= logits_BKHW.mean((0, 2, 3))
    return model


def card(protocol: Protocol = "original", tile: int | None = None) -> ModelCard:
    model = ModelConfig(encoder="vit_nano", weights="random")
    return ModelCard(classes=CLASSES, palette=((0, 0, 0),) * 3, crop=32, protocol=protocol, tile=tile, model=model)


def images_of(samples: Sequence[Sample]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(Image.open(sample.frames[0]))) for sample in samples])


def confusion_one_by_one(model: Segmenter, evaluator: Evaluator) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Count pixel by pixel, image by image."""
    counts = np.zeros((3, 3), np.int64)
    for sample in evaluator.samples:
        assert sample.mask is not None
        with torch.no_grad():
            [block] = evaluator.blocks(model, images_of([sample]).permute(0, 3, 1, 2)[:, None], torch.device("cpu"))
        scores = block.scores_BKHW
        for truth, found in zip(np.asarray(Image.open(sample.mask)).ravel(), scores.argmax(1).flatten(), strict=True):
            if truth != 255:
                counts[truth, int(found)] += 1
    return counts


@pytest.mark.parametrize("classes", [2, 6, 150, 255])
def test_the_confusion_is_that_of_torchmetrics(classes: int) -> None:
    truth, predicted = maps(classes)
    oracle = MulticlassConfusionMatrix(classes, ignore_index=255)
    found = count_confusion(truth, predicted, classes, 255).sum(0)
    assert found.dtype == torch.int64
    assert torch.equal(found, oracle(predicted, truth.long()))


@pytest.mark.parametrize("classes", [2, 6, 150, 255])
def test_the_iou_is_that_of_torchmetrics(classes: int) -> None:
    truth, predicted = maps(classes, size=400)
    oracle = MulticlassJaccardIndex(classes, average="none", ignore_index=255)(predicted, truth.long())
    confusion = count_confusion(truth, predicted, classes, 255).sum(0).numpy()
    evaluation = Evaluation(tuple(map(str, range(classes))), confusion)
    np.testing.assert_allclose(evaluation.iou_K, oracle.numpy(), atol=1e-6)
    assert evaluation.miou == pytest.approx(float(oracle.mean()), abs=1e-6)


def test_the_largest_pair_of_255_classes_is_counted_where_it_belongs() -> None:
    truth, predicted = torch.tensor([[[254, 254, 0]]], dtype=torch.uint8), torch.tensor([[[254, 0, 254]]])
    [found] = count_confusion(truth, predicted, 255, 255)
    assert found.nonzero().tolist() == [[0, 254], [254, 0], [254, 254]]


def test_the_ignore_value_may_be_any_value() -> None:
    truth, predicted = torch.tensor([[[0, 0, 1, 2]]], dtype=torch.uint8), torch.tensor([[[0, 1, 1, 0]]])
    assert count_confusion(truth, predicted, 3, 0).tolist() == [[[0, 0, 0], [0, 1, 0], [1, 0, 0]]]


def test_a_class_that_appears_nowhere_counts_as_zero_as_published() -> None:
    evaluation = Evaluation(CLASSES, np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert evaluation.iou_K.tolist() == [0.75, 0.8, 0.0]
    assert evaluation.miou == pytest.approx(1.55 / 3)
    assert Evaluation(CLASSES, np.zeros((3, 3), np.int64)).miou == 0


@pytest.mark.parametrize("protocol", ["original", "sliding"])
@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_every_pixel_counts_once_however_images_are_batched(
    evaluator: Evaluator, model: Segmenter, batch: int, protocol: Protocol
) -> None:
    evaluator = replace(evaluator, batch=batch, inference=replace(INFERENCE, protocol=protocol))
    done: list[int] = []
    found = evaluator.evaluate({"model": model}, ALONE, done.append)["model"]
    assert found.classes == CLASSES
    expected = confusion_one_by_one(model, evaluator)
    assert (expected > 0).all(), "a confusion that could not show a mistake"
    assert np.array_equal(found.confusion_KK, expected)
    assert done[-1] == len(SIZES)
    assert max(np.diff([0, *done])) == min(batch, 4), "four have one size, though others stand between them"
    assert done == sorted(set(done))


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_processes_share_the_images_and_lose_none(evaluator: Evaluator, model: Segmenter, count: int) -> None:
    parts = [
        evaluator.evaluate({"model": model}, Apart(rank, count, torch.device("cpu")))["model"].confusion_KK
        for rank in range(count)
    ]
    assert np.array_equal(sum(parts), confusion_one_by_one(model, evaluator))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_batches_are_the_same_for_any_number_of_processes(evaluator: Evaluator, model: Segmenter, count: int) -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(QualityCounts):
        def begin(self, samples: Sequence[int]) -> None:
            seen.append(tuple(samples))
            super().begin(samples)

    for rank in range(count):
        quality = Watching(len(SIZES), 3, threshold=0.5, ignore_value=255, device=torch.device("cpu"))
        evaluator.evaluate({"model": model}, Apart(rank, count, torch.device("cpu")), quality=quality)
    assert sorted(seen) == [(0, 1), (2, 4), (3,), (5, 6)]


def test_what_is_kept_for_the_pictures_is_what_was_said(evaluator: Evaluator, model: Segmenter) -> None:
    for tile in (4000, 42):
        judge = replace(evaluator, inference=replace(INFERENCE, tile=tile))
        quality, keepsakes = judge.quality_counts(0.5, ALONE.device), Keepsakes(judge.sizes, chosen=[3], extremes=1)
        judge.evaluate({"student": random_model(seed=1), "teacher": model}, ALONE, quality=quality, keepsakes=keepsakes)
        iou_N = quality.result(ALONE).images_N3[:, 1]
        places = {3, int(iou_N.argmin()), int(iou_N.argmax())}
        for place, seen in keepsakes.gathered(places, ALONE).items():
            images_1TCHW = images_of([judge.samples[place]]).permute(0, 3, 1, 2)[:, None]
            with torch.no_grad():
                for block in judge.blocks(model, images_1TCHW, ALONE.device):
                    part = block.rows, block.columns
                    assert np.array_equal(seen.label_HW[part], block.scores_BKHW[0].argmax(0).numpy())
                    confidence_HW = block.probabilities()[0].amax(0).numpy()
                    np.testing.assert_allclose(seen.confidence_HW[part], confidence_HW, atol=1e-6)


def test_processes_add_up_what_they_counted(evaluator: Evaluator, model: Segmenter) -> None:
    class Doubled(Processes):
        def sum(self, tensor: Tensor) -> Tensor:
            return tensor * 2

    alone = evaluator.evaluate({"model": model}, ALONE)["model"]
    doubled = evaluator.evaluate({"model": model}, Doubled(0, 1, torch.device("cpu")))["model"]
    assert np.array_equal(doubled.confusion_KK, 2 * alone.confusion_KK)


def test_models_are_judged_apart_on_the_same_images(evaluator: Evaluator, model: Segmenter) -> None:
    other = random_model(seed=1)
    together = evaluator.evaluate({"student": model, "teacher": other}, ALONE)
    assert list(together) == ["student", "teacher"]
    for name, alone in (("student", model), ("teacher", other)):
        expected = evaluator.evaluate({name: alone}, ALONE)[name].confusion_KK
        assert np.array_equal(together[name].confusion_KK, expected)
    assert not np.array_equal(together["student"].confusion_KK, together["teacher"].confusion_KK)


@pytest.mark.parametrize("tile", [4000, 42])
def test_an_examination_is_an_evaluation_and_its_parts_add_up(
    evaluator: Evaluator, model: Segmenter, tile: int
) -> None:
    models = {"student": random_model(seed=1), "teacher": model}
    evaluator = replace(evaluator, inference=replace(INFERENCE, tile=tile), batch=1)

    def examine(processes: Processes) -> tuple[dict[str, Evaluation], Quality]:
        counts = evaluator.quality_counts(0.3333, processes.device)
        return evaluator.evaluate(models, processes, quality=counts), counts.result(processes)

    found, whole = examine(ALONE)
    expected = evaluator.evaluate(models, ALONE)
    assert all(np.array_equal(found[name].confusion_KK, expected[name].confusion_KK) for name in models)
    assert whole.pixels_B.sum() == found["teacher"].confusion_KK.sum()
    assert whole.right_B.sum() == np.diag(found["teacher"].confusion_KK).sum()
    assert whole.disagreement
    assert not np.isnan(whole.images_N3).any()

    parts = [examine(Apart(rank, 3, torch.device("cpu")))[1] for rank in range(3)]
    for name in ("pixels_B", "right_B", "confidence_B", "kept_K", "kept_right_K"):
        assert np.array_equal(sum(getattr(part, name) for part in parts), getattr(whole, name)), name
    images_N3 = np.nansum([part.images_N3 for part in parts], axis=0)
    assert np.allclose(images_N3, whole.images_N3, rtol=1e-12, atol=0)


def test_an_evaluation_leaves_no_gradient(evaluator: Evaluator, model: Segmenter) -> None:
    scores: list[Tensor] = []
    model.register_forward_hook(lambda module, inputs, output: scores.append(output))
    evaluator.evaluate({"model": model}, ALONE)
    assert scores
    assert not any(score.requires_grad for score in scores)


@pytest.mark.parametrize("values", [{"every": 0}, {"batch": -1}])
def test_numbers_below_one_are_refused(values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ConfigError, match=rf"(?s){name} is {value}.*evaluation\.{name}"):
        EvaluationConfig(**values)


# Change detection


def test_the_figures_of_the_changed_class_are_those_of_torchmetrics() -> None:
    truth, predicted = maps(2)
    confusion = count_confusion(truth, predicted, 2, 255).sum(0).numpy()
    counted = truth != 255
    oracles = {
        "changed_iou": BinaryJaccardIndex(),
        "changed_f1": BinaryF1Score(),
        "changed_precision": BinaryPrecision(),
        "changed_recall": BinaryRecall(),
        "accuracy": BinaryAccuracy(),
    }
    found = changed_scores(confusion)
    assert list(found) == list(oracles)
    for name, oracle in oracles.items():
        assert found[name] == pytest.approx(oracle(predicted[counted].int(), truth[counted].int()).item()), name


@pytest.mark.parametrize("confusion", [[[0, 0], [0, 0]], [[9, 0], [0, 0]], [[0, 9], [0, 0]], [[0, 0], [9, 0]]])
def test_where_nothing_changed_or_nothing_was_found_every_figure_is_a_number(confusion: list[list[int]]) -> None:
    found = changed_scores(np.array(confusion))
    assert [found[name] for name in found if name != "accuracy"] == [0.0] * 4
    assert found["accuracy"] in (0.0, 1.0)


def test_change_detection_is_judged_by_the_changed_class_and_segmentation_by_the_mean() -> None:
    confusion = np.array([[90, 2], [3, 5]])
    change = Evaluation(("unchanged", "changed"), confusion, "changed_iou")
    assert change.judged_by == change.scores["changed_iou"] == change.iou_K[1] == 0.5
    segmentation = Evaluation(("field", "road"), confusion)
    assert segmentation.judged_by == segmentation.miou
    assert list(segmentation.scores) == ["miou"]


# Large images


class Pointwise(nn.Module):
    """A stub whose logits are the colours."""

    patch, num_classes = 1, 3

    def normalize(self, images_BTCHW: Tensor) -> Tensor:
        return images_BTCHW.float() / 255

    def forward(self, images_BTCHW: Tensor) -> Tensor:
        self.most = max(getattr(self, "most", 0), images_BTCHW[:, 0, 0].numel())
        return images_BTCHW[:, 0] + torch.arange(3).view(3, 1, 1) / 1000


@pytest.mark.parametrize(("protocol", "tile"), [("original", 1024), ("sliding", 2048)])
def test_an_image_of_12_megapixels_is_evaluated_in_the_memory_of_a_tile(
    evaluator: Evaluator,
    tmp_path: Path,
    protocol: Protocol,
    tile: int,
    peak_bytes: Callable[[Callable[[], object]], int],
) -> None:
    size = 3000, 4000
    inference = inference_of(replace(card(protocol), crop=512), 1, device=torch.device("cpu"), precision="fp32")
    assert inference.tile == tile
    large = replace(
        evaluator, samples=write_samples(tmp_path, [size] * 2), inference=inference, batch=4, max_pixels=12 * 10**6
    )
    found: dict[str, Evaluation] = {}
    model: Any = Pointwise()
    held = peak_bytes(lambda: found.update(large.evaluate({"model": model}, ALONE)))
    read = (3 + 1) * size[0] * size[1]
    scores = 4 * 3 * tile**2
    assert held < read + 7 * scores, "not the scores of a whole image, let alone of four"
    expected = np.zeros((3, 3), np.int64)
    for sample in large.samples:
        assert sample.mask is not None
        colours = torch.from_numpy(np.array(Image.open(sample.frames[0]))).movedim(-1, 0)[None, None]
        truth = torch.from_numpy(np.array(Image.open(sample.mask)))[None]
        expected += count_confusion(truth, model(model.normalize(colours)).argmax(1), 3, 255)[0].numpy()
    assert np.array_equal(found["model"].confusion_KK, expected)


def test_images_are_batched_by_pixels_too(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semiseg.engine.evaluation.ON_DEVICE", 2 * 4 * 3 * 40 * 48)
    model: Any = Pointwise()
    done: list[int] = []
    replace(evaluator, batch=100).evaluate({"model": model}, ALONE, done.append)
    assert model.most == 2 * 40 * 48
    assert done == [2, 4, 6, 7]
    monkeypatch.setattr("semiseg.engine.evaluation.ON_DEVICE", 1)
    done.clear()
    replace(evaluator, batch=100).evaluate({"model": model}, ALONE, done.append)
    assert done == [1, 2, 3, 4, 5, 6, 7], "one image at least"


def test_a_class_without_a_mask_is_named_beside_the_figure() -> None:
    found = Evaluation(CLASSES, np.array([[3, 1, 0], [0, 4, 2], [0, 0, 0]]))
    assert found.absent == ("water",)
    assert found.miou == pytest.approx(found.iou_K.sum() / 3)
    assert found.miou_present == pytest.approx(found.iou_K.sum() / 2)
    assert found.absence.startswith("1 of 3 classes are in no val mask")
    assert Evaluation(CLASSES, np.eye(3, dtype=np.int64)).absence == ""
    nothing = Evaluation(CLASSES, np.zeros((3, 3), np.int64))
    assert nothing.absent == CLASSES
    assert nothing.miou_present == 0
