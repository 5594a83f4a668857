from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.engine.inference import predict_scores, window_starts
from semiseg.models import ModelConfig, Segmenter, build_segmenter

PATCH = 8


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), num_classes=4).eval()


def noise(batch: int, height: int, width: int, frames: int = 1) -> Tensor:
    return torch.randn(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(height * 1000 + width))


def starts(side: int, window: int) -> list[int]:
    """Walk along a side as published: two thirds of a window at a time, the last window flush with the border."""
    found = [0]
    while found[-1] < side - window:
        found.append(min(found[-1] + int(window * 2 / 3), side - window))
    return found


@torch.no_grad()
def whole(model: Segmenter, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Predict on the image resized to `size`, the logits resized back."""
    resized = torch.stack([F.interpolate(frames, size, mode="bilinear", align_corners=True) for frames in images])
    return F.interpolate(model(resized), images.shape[-2:], mode="bilinear", align_corners=True)


@torch.no_grad()
def windows(model: Segmenter, images: Tensor, side: int) -> Tensor:
    """Add the probabilities of one window after the other."""
    sums = torch.zeros(len(images), model.num_classes, *images.shape[-2:])
    for y in starts(images.shape[-2], side):
        for x in starts(images.shape[-1], side):
            sums[..., y : y + side, x : x + side] += model(images[..., y : y + side, x : x + side]).softmax(1)
    return sums


@pytest.mark.parametrize(
    ("side", "window", "expected"),
    [
        (798, 798, [0]),
        (799, 798, [0, 1]),
        (1024, 798, [0, 226]),
        (1330, 798, [0, 532]),  # exactly two thirds further: not twice at the border
        (2048, 798, [0, 532, 1064, 1250]),
    ],
)
def test_windows_start_where_they_do_in_the_published_evaluation(side: int, window: int, expected: list[int]) -> None:
    assert window_starts(side, window) == starts(side, window) == expected


def test_windows_start_alike_for_any_sizes() -> None:
    for window in (8, 16, 24, 56):
        for side in range(window, 4 * window):
            assert window_starts(side, window) == starts(side, window)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((40, 56), (40, 56)),
        ((45, 70), (48, 72)),
        ((36, 44), (40, 48)),  # a half goes up, also to an odd number of patches (4.5 to 5)
        ((35, 92), (32, 96)),
        ((3, 50), (8, 48)),
    ],
)
@torch.no_grad()
def test_the_original_protocol_resizes_to_the_nearest_patches_and_back(
    model: Segmenter, size: tuple[int, int], resized: tuple[int, int]
) -> None:
    images = noise(2, *size)
    scores = predict_scores(model, images, protocol="original", window=32)
    assert scores.shape == (2, 4, *size)
    torch.testing.assert_close(scores, whole(model, images, resized))


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (75, 130), (53, 54)])
@torch.no_grad()
def test_the_sliding_protocol_adds_the_probabilities_of_windows(model: Segmenter, size: tuple[int, int]) -> None:
    images = noise(2, *size)
    scores = predict_scores(model, images, protocol="sliding", window=32)
    torch.testing.assert_close(scores, windows(model, images, 32))
    covered = scores.sum(1)
    assert covered.min() >= 1 - 1e-5, "every pixel lies in some window"


@pytest.mark.parametrize("size", [(31, 64), (64, 20), (24, 24)])
@torch.no_grad()
def test_an_image_smaller_than_a_window_is_seen_whole(model: Segmenter, size: tuple[int, int]) -> None:
    images = noise(1, *size)
    sliding = predict_scores(model, images, protocol="sliding", window=32)
    assert torch.equal(sliding, predict_scores(model, images, protocol="original", window=32))


@torch.no_grad()
def test_images_of_a_batch_do_not_mix(model: Segmenter) -> None:
    images = noise(3, 50, 70)
    for protocol in ("original", "sliding"):
        together = predict_scores(model, images, protocol=protocol, window=32)
        alone = [predict_scores(model, image[None], protocol=protocol, window=32) for image in images]
        torch.testing.assert_close(together, torch.cat(alone))


@torch.no_grad()
def test_the_frames_of_a_pair_go_the_same_way() -> None:
    pair_model = build_segmenter(ModelConfig(encoder="vit_nano", weights="random"), num_classes=2, frames=2).eval()
    images = noise(2, 45, 50, frames=2)
    original = predict_scores(pair_model, images, protocol="original", window=32)
    torch.testing.assert_close(original, whole(pair_model, images, (48, 48)))
    sliding = predict_scores(pair_model, images, protocol="sliding", window=32)
    torch.testing.assert_close(sliding, windows(pair_model, images, 32))


@torch.no_grad()
def test_scores_are_fp32_also_where_the_model_runs_in_bf16(model: Segmenter) -> None:
    images = noise(1, 40, 40)
    for protocol in ("original", "sliding"):
        exact = predict_scores(model, images, protocol=protocol, window=32)
        with torch.autocast("cpu", torch.bfloat16):
            scores = predict_scores(model, images, protocol=protocol, window=32)
        assert scores.dtype == torch.float32
        torch.testing.assert_close(scores, exact, atol=0.1, rtol=0.1)
