"""Sun, air and camera of one date: surfaces in, a photograph out."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from semiseg.data.scenes.noise import Map, blur

_AIR = np.array([0.78, 0.80, 0.83], np.float32)
_SKY = np.array([0.33, 0.36, 0.42], np.float32)
_SUN = 0.68


@dataclass(frozen=True)
class Surface:
    """What the light falls on; every map is (H, W), lengths in pixels.

    Attributes:
        albedo: (H, W, 3) colours under full light.
        height: above the ground.
        slope_x: rise of the surface to the right.
        slope_y: rise of the surface downwards in the picture.
    """

    albedo: Map
    height: Map
    slope_x: Map
    slope_y: Map


@dataclass(frozen=True, kw_only=True)
class Light:
    """Sun, air and camera of one date."""

    azimuth: float
    """Direction the light comes from, in radians from the x axis."""
    elevation: float
    """Height of the sun in radians; low sun casts long shadows."""
    cast: NDArray[np.float32]
    """Gain of the three channels."""
    exposure: float
    contrast: float
    saturation: float
    haze: float
    """Share of the air's own brightness in the picture, 0 to 0.4."""
    noise: float
    """Standard deviation of the sensor noise at mid brightness, in units of full scale."""
    clouds: float
    """How much light the shadows of clouds take away, 0 for a clear sky."""
    blur: float
    """Width of the lens, a Gaussian's sigma in pixels."""


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the light of one date and the film it is caught on: every fourth is black and white, or nearly so."""
    warmth, tint = rng.normal(0, 0.2), rng.normal(0, 0.1)
    return Light(
        azimuth=rng.uniform(0, 2 * math.pi),
        elevation=math.radians(rng.uniform(24, 62)),
        cast=np.array([1 + warmth, 1 + tint, 1 - warmth], np.float32),
        exposure=math.exp(rng.normal(0, 0.3)),
        contrast=rng.uniform(0.65, 1.35),
        saturation=rng.uniform(0.4, 1.5) if rng.random() < 0.75 else rng.uniform(0.0, 0.15),
        haze=rng.uniform(0, 0.34) * rng.random(),
        noise=rng.uniform(0.004, 0.022),
        clouds=rng.uniform(0.25, 0.5) if rng.random() < 0.4 else 0.0,
        blur=rng.uniform(0.45, 0.8),
    )


def drift(light: Light, other: Light, share: float) -> Light:
    """Return a light between two: the same camera at another time is neither the same film nor any other.

    Args:
        light: of the first date.
        other: any light.
        share: how far to go towards it, 0 to 1.
    """
    between = {
        item.name: (1 - share) * getattr(light, item.name) + share * getattr(other, item.name) for item in fields(Light)
    }
    return Light(**between)


def photograph(surface: Surface, light: Light, cloud: Map, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light a surface and take its picture.

    Args:
        surface: colours and shape.
        light: of the date.
        cloud: (H, W) share of the sun that clouds keep away.
        rng: source of the sensor's noise.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    sun = _SUN * _facing(surface, light) * (1 - _shadow(surface.height, light)) * (1 - cloud)
    image = blur(surface.albedo * (sun[..., None] + _SKY), light.blur)
    image = _develop(image, light) * (1 - light.haze) + _AIR * light.cast * light.haze
    grain = rng.standard_normal(image.shape, np.float32)
    grain = light.noise * (0.75 * grain.mean(-1, keepdims=True) + 0.6 * grain) * (0.5 + np.clip(image, 0, 1))
    picture: NDArray[np.uint8] = (np.clip(image + grain, 0, 1) * 255 + 0.5).astype(np.uint8)
    return picture


def _facing(surface: Surface, light: Light) -> Map:
    """Return the sunlight on each pixel relative to flat ground, from the angle between surface and sun."""
    flat = math.tan(light.elevation)
    toward_sun = surface.slope_x * math.cos(light.azimuth) + surface.slope_y * math.sin(light.azimuth)
    facing = (flat - toward_sun) / (flat * np.sqrt(1 + np.square(surface.slope_x) + np.square(surface.slope_y)))
    lit: Map = np.clip(facing, 0, 2.2)
    return lit


def _shadow(height: Map, light: Light) -> Map:
    """Return 1 where something between the pixel and the sun stands higher than the sun's ray, else 0."""
    size = height.shape[0]
    rise = math.tan(light.elevation)
    steps = math.ceil(float(height.max()) / rise)
    padded = np.pad(height, steps)
    shadow = np.zeros(height.shape, bool)
    for step in range(1, steps + 1):
        x, y = steps + round(step * math.cos(light.azimuth)), steps + round(step * math.sin(light.azimuth))
        shadow |= padded[y : y + size, x : x + size] - step * rise > height + 0.35
    return shadow.astype(np.float32)


def _develop(image: Map, light: Light) -> Map:
    """Apply saturation, exposure, contrast and cast; highlights roll off instead of clipping."""
    grey = image.mean(-1, keepdims=True)
    image = grey + light.saturation * (image - grey)
    image = np.maximum(0.42 + light.contrast * (image * light.exposure - 0.42), 0) * light.cast
    return np.where(image > 0.65, 0.65 + 0.35 * np.tanh((image - 0.65) / 0.35), image)
