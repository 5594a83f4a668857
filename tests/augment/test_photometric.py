"""Photometric views: parity with Pillow and torchvision on equal parameters, and what must hold for any of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import functional as TF

from semiseg.augment import PhotometricDraws, StrongViewConfig, apply_photometric, draw_photometric, on_cpu
from semiseg.augment.photometric import _view
from semiseg.seeding import rng

PARITY_DRAWS = 40
LEVEL = 1 / 255
ADJUST = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)


def natural(seed: int, height: int = 72, width: int = 96) -> Image.Image:
    """Smooth colours, a gray ramp, hard edges and fine texture, with pixels at both ends of the range."""
    generator = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(1, 3, 5, 7, generator=generator), (height, width), mode="bicubic")[0]
    smooth = smooth * 1.4 - 0.2 + 0.03 * torch.randn(3, height, width, generator=generator)
    smooth[:, :12] = torch.linspace(0, 1, width)
    smooth[:, 30:50, 20:60] = torch.rand(3, generator=generator)[:, None, None]
    smooth[:, 40:60, 50:80] = torch.tensor([1.0, 0.1, 0.0])[:, None, None]
    levels = (smooth.clamp(0, 1) * 255).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).numpy())


def tensor(image: Image.Image) -> Tensor:
    return TF.pil_to_tensor(image)[None].float() / 255


def draw(index: int, **config: object) -> PhotometricDraws:
    return draw_photometric(rng(1, "test-photometric", index), StrongViewConfig(**config))  # type: ignore[arg-type]


def batch(count: int, **config: object) -> PhotometricDraws:
    return PhotometricDraws.stack([draw(i, **config) for i in range(count)])


def neutral(count: int) -> PhotometricDraws:
    return batch(count, jitter_p=0, grayscale_p=0, blur_p=0)


def difference(ours: Tensor, theirs: Tensor) -> float:
    return (ours - theirs).abs().mean().item()


def jitter_differences(images: Sequence[Image.Image]) -> Tensor:
    """Jitter each image with a draw of its own, ours and torchvision's on Pillow: the mean differences in levels."""
    differences = []
    for index, image in enumerate(images):
        draws = draw(index, jitter_p=1, grayscale_p=0, blur_p=0)
        ours = apply_photometric(tensor(image), PhotometricDraws.stack([draws]))
        for operation in draws.order.tolist():
            image = ADJUST[operation](image, draws.factors[operation].item())
        differences.append(difference(ours, tensor(image)) / LEVEL)
    return torch.tensor(differences)


def test_jitter_agrees_with_torchvision_on_pillow_images() -> None:
    differences = jitter_differences([natural(i) for i in range(PARITY_DRAWS)])
    assert differences.mean() < 2  # Pillow rounds down after each operation, about half a level
    assert differences.max() < 3


def test_jitter_agrees_with_torchvision_on_photographs(camvid_root: Path) -> None:
    paths = sorted((camvid_root / "images").rglob("*.jpg"))[:: 701 // 20]
    photographs = [Image.open(path).convert("RGB").crop((100, 60, 276, 236)) for path in paths]
    assert jitter_differences(photographs).max() < 2


def test_jitter_agrees_with_torchvision_on_float_tensors_in_every_pixel() -> None:
    for index in range(PARITY_DRAWS):
        draws, image = draw(index, jitter_p=1, grayscale_p=0, blur_p=0), tensor(natural(index))
        theirs = image
        for operation in draws.order.tolist():
            theirs = ADJUST[operation](theirs, draws.factors[operation].item())
        ours = apply_photometric(image, PhotometricDraws.stack([draws]))
        assert (ours - theirs).abs().max() < 2e-3  # torchvision rounds the weights of gray to four digits


def test_grayscale_agrees_with_pillow() -> None:
    image = natural(0)
    ours = apply_photometric(tensor(image), replace(neutral(1), grayscale=torch.tensor([True])))
    assert torch.equal(ours[:, 0], ours[:, 1])
    assert (ours - tensor(TF.to_grayscale(image, 3))).abs().max() < LEVEL


@pytest.mark.parametrize("sigma", np.linspace(0.1, 2.0, 9).round(2).tolist())
def test_blur_agrees_with_pillow(sigma: float) -> None:
    image = natural(0)
    ours = apply_photometric(tensor(image), replace(neutral(1), sigma=torch.tensor([sigma])))
    assert difference(ours, tensor(image.filter(ImageFilter.GaussianBlur(sigma)))) < 4 * LEVEL


def test_blur_repeats_the_edge_pixels() -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], (32, 1, 3)))
    for image in (ramp, ramp.transpose(Image.Transpose.ROTATE_90)):
        ours = apply_photometric(tensor(image), replace(neutral(1), sigma=torch.tensor([2.0])))
        theirs = tensor(image.filter(ImageFilter.GaussianBlur(2.0)))
        assert (ours - theirs).abs().max() < 3 * LEVEL  # mirrored edges would give 3.5


def test_blur_is_a_gaussian_of_the_drawn_sigma() -> None:
    point = torch.zeros(3, 3, 33, 33)
    point[..., 16, 16] = 1
    sigma = torch.tensor([0.6, 1.2, 2.0])
    blurred = apply_photometric(point, replace(neutral(3), sigma=sigma))[:, 0]
    squared = (torch.arange(33.0) - 16).square()
    assert torch.allclose(blurred.sum((1, 2)), torch.ones(3), atol=1e-5)
    assert torch.allclose((blurred.sum(1) * squared).sum(1).sqrt(), sigma, rtol=0.02)
    assert torch.allclose((blurred.sum(2) * squared).sum(1).sqrt(), sigma, rtol=0.02)


def test_a_third_of_a_turn_moves_red_to_green() -> None:
    red = torch.tensor([0.8, 0.1, 0.1])[None, :, None, None].expand(1, 3, 4, 4)
    draws = replace(neutral(1), factors=torch.tensor([[1, 1, 1, 1 / 3]]))
    assert torch.allclose(apply_photometric(red, draws)[0, :, 0, 0], torch.tensor([0.1, 0.8, 0.1]), atol=1e-5)


def test_neutral_draws_change_nothing() -> None:
    images = torch.cat([tensor(natural(i)) for i in range(3)])
    assert torch.equal(apply_photometric(images, neutral(3)), images)


def test_the_order_matters() -> None:
    image, factors = tensor(natural(0)), torch.tensor([[1.5, 1.5, 0.5, 0.2]])
    forward = replace(neutral(1), order=torch.tensor([[0, 1, 2, 3]]), factors=factors)
    backward = replace(forward, order=torch.tensor([[3, 2, 1, 0]]))
    assert difference(apply_photometric(image, forward), apply_photometric(image, backward)) > 2 * LEVEL


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_views_stay_in_range_and_the_images_as_they_were(memory_format: torch.memory_format) -> None:
    images = torch.cat([tensor(natural(i)) for i in range(8)]).to(memory_format=memory_format)
    before, draws = images.clone(), batch(8, jitter_p=1, blur_p=1)
    views = apply_photometric(images, draws)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(views, apply_photometric(before.contiguous(), draws))


def test_the_way_of_accelerators_gives_the_same_views() -> None:
    """They treat the batch as a whole, where a CPU goes sample by sample and skips what a sample does not need."""
    images, draws = torch.cat([tensor(natural(i)) for i in range(24)]), batch(24)
    together = _view(images, draws)
    assert torch.allclose(together, apply_photometric(images, draws), atol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_bytes_give_the_views_of_their_fractions(memory_format: torch.memory_format) -> None:
    images, draws = torch.cat([tensor(natural(i)) for i in range(4)]), batch(4, jitter_p=1, blur_p=1)
    levels = (images * 255).round().byte().to(memory_format=memory_format)
    assert torch.allclose(apply_photometric(levels, draws), apply_photometric(images, draws), atol=1e-6)
    assert torch.equal(apply_photometric(levels, neutral(4)), levels.float() / 255)


def test_views_of_one_precision_leave_nothing_to_those_of_another() -> None:
    """As in the golden steps, which compute in float64."""
    images, draws = torch.cat([tensor(natural(i)) for i in range(4)]), batch(4, jitter_p=1, blur_p=1)
    views = apply_photometric(images, draws)
    try:
        torch.set_default_dtype(torch.float64)
        exact = apply_photometric(images, draws)
    finally:
        torch.set_default_dtype(torch.float32)
    assert exact.dtype == torch.float64
    assert torch.allclose(views.double(), exact, atol=1e-6)
    assert torch.equal(apply_photometric(images, draws), views)


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    images, draws = torch.cat([tensor(natural(i)) for i in range(8)]), batch(8, jitter_p=1, blur_p=1)
    whole = apply_photometric(images, draws)
    for pixels in (1, 7 * 96, 71 * 96):  # one row, a last strip that is shorter, a last strip of one row
        monkeypatch.setattr(on_cpu, "STRIP_PIXELS", pixels)
        assert torch.allclose(apply_photometric(images, draws), whole, atol=1e-6)


def test_every_turn_of_the_hue_is_that_of_accelerators() -> None:
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.25, 0.5, 1.0])] * 3).T.reshape(1, 3, 8, 8)
    for sixth in torch.linspace(-0.5, 0.5, 25):
        draws = replace(neutral(1), factors=torch.tensor([[1, 1, 1, sixth]]))
        assert torch.allclose(apply_photometric(corners, draws), _view(corners, draws), atol=1e-5)


def test_a_sample_does_not_depend_on_the_others() -> None:
    images, draws = torch.cat([tensor(natural(i)) for i in range(4)]), batch(4, jitter_p=1, blur_p=1)
    others = images.clone()
    others[1:] = 0.5
    assert torch.equal(_view(images, draws)[0], _view(others, draws)[0])
    assert torch.equal(apply_photometric(images, draws)[2:3], apply_photometric(images[2:3], draws[2:3]))


def test_leading_dimensions_are_those_of_the_draws() -> None:
    images, draws = torch.cat([tensor(natural(i)) for i in range(6)]), batch(6, jitter_p=1)
    frames = apply_photometric(images.unflatten(0, (3, 2)), draws.map(lambda value: value.unflatten(0, (3, 2))))
    assert torch.equal(frames.flatten(0, 1), apply_photometric(images, draws))


def test_autocast_does_not_lower_the_precision() -> None:
    images, draws = torch.cat([tensor(natural(i)) for i in range(2)]), batch(2, jitter_p=1, blur_p=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = apply_photometric(images, draws)
    assert torch.equal(views, apply_photometric(images, draws))


def test_views_never_ask_the_device() -> None:
    draws = batch(4).map(lambda value: value.to("meta"))
    assert apply_photometric(torch.empty(4, 3, 32, 32, device="meta"), draws).shape == (4, 3, 32, 32)


DRAWS = 4000


@pytest.fixture(scope="module")
def many() -> PhotometricDraws:
    generator = rng(2, "test-distribution")
    return PhotometricDraws.stack([draw_photometric(generator, StrongViewConfig()) for _ in range(DRAWS)])


def test_probabilities_are_those_of_the_config(many: PhotometricDraws) -> None:
    jitters = (many.factors != torch.tensor([1.0, 1.0, 1.0, 0.0])).any(1)
    for happens, probability in ((jitters, 0.8), (many.grayscale, 0.2), (many.sigma > 0, 0.5)):
        tolerance = 4 * (probability * (1 - probability) / DRAWS) ** 0.5
        assert happens.float().mean().item() == pytest.approx(probability, abs=tolerance)


def test_parameters_are_uniform_over_their_ranges(many: PhotometricDraws) -> None:
    jittered = many.factors[many.factors[:, 3] != 0]
    columns = [(column, (0.5, 1.5)) for column in jittered[:, :3].unbind(1)]
    columns += [(jittered[:, 3], (-0.25, 0.25)), (many.sigma[many.sigma > 0], (0.1, 2.0))]
    for values, (low, high) in columns:
        share = (values.sort().values - low) / (high - low)
        steps = torch.arange(1, len(share) + 1) / len(share)
        assert share.min() >= 0
        assert share.max() <= 1
        assert (share - steps).abs().max() < 2 / len(share) ** 0.5  # Kolmogorov-Smirnov, p below 0.001


def test_wide_factors_stop_at_zero() -> None:
    factors = torch.stack([draw(i, brightness=3.0, jitter_p=1).factors[0] for i in range(200)])
    assert 0 <= factors.min() < 0.1
    assert 3.8 < factors.max() <= 4


def test_every_order_is_equally_likely(many: PhotometricDraws) -> None:
    counts = np.array(list(Counter(map(tuple, many.order.tolist())).values()))
    expected = DRAWS / 24
    assert len(counts) == 24
    assert ((counts - expected) ** 2 / expected).sum() < 55  # chi-squared of 23 degrees, p below 0.001


def test_the_draws_are_independent(many: PhotometricDraws) -> None:
    used = (many.factors[:, 3] != 0) & (many.sigma > 0)
    columns = torch.cat(
        [many.factors[used], many.sigma[used, None], many.grayscale[used, None], many.order[used, :1]], dim=1
    )
    correlation = torch.corrcoef(columns.T) - torch.eye(columns.shape[1])
    assert correlation.abs().max() < 4 / used.sum().item() ** 0.5


def test_one_probability_leaves_the_other_draws_alone() -> None:
    with_gray, without = batch(50, grayscale_p=1), batch(50, grayscale_p=0)
    assert with_gray.grayscale.all()
    assert not without.grayscale.any()
    assert torch.equal(with_gray.factors, without.factors)
    assert torch.equal(with_gray.sigma, without.sigma)
