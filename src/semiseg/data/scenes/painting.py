"""How a place looks on one date: what grows, how ripe it is, under which light. None of it moves a pixel of the mask.

A class keeps to a few colours, but light and film change them strongly from scene to scene (see `light`), on purpose:
eight labeled scenes show eight films of the many, and what the classes have in common under all of them is left to the
unlabeled ones.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semiseg.data.scenes.layout import FIELD, FOREST, ROAD, WATER, House, Place
from semiseg.data.scenes.light import Light, Surface, draw_light, photograph
from semiseg.data.scenes.noise import Map, blend, smooth_noise, smoothstep

_PITCH = 0.62
"""Slope of a gable roof."""


def _colours(*rows: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


_GRASS = _colours((0.36, 0.50, 0.22), (0.42, 0.54, 0.26), (0.48, 0.55, 0.29))
_LEAVES = _colours((0.13, 0.25, 0.12), (0.18, 0.31, 0.14), (0.23, 0.34, 0.15))
_WATER = _colours((0.10, 0.20, 0.30), (0.15, 0.27, 0.34), (0.17, 0.34, 0.42))
_CROPS = _colours((0.62, 0.50, 0.34), (0.70, 0.58, 0.36), (0.76, 0.66, 0.38), (0.54, 0.42, 0.29))
_PAVING = _colours((0.42, 0.42, 0.43), (0.50, 0.50, 0.50), (0.57, 0.56, 0.54))
_ROOFS = _colours((0.66, 0.28, 0.20), (0.70, 0.38, 0.26), (0.58, 0.22, 0.18), (0.80, 0.78, 0.75))


def paint(place: Place, houses: tuple[House, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph a place with these houses on a date drawn from `rng`; returns (H, W, 3) uint8."""
    return paint_under(draw_light(rng), place, houses, season=rng, rng=rng)


def paint_under(
    light: Light, place: Place, houses: tuple[House, ...], *, season: np.random.Generator, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Photograph a place with these houses under a given light; returns (H, W, 3) uint8.

    Args:
        light: of the date.
        place: the land.
        houses: that stand there.
        season: draws what grows and how it looks.
        rng: draws roofs' weather, clouds and the sensor's noise.
    """
    surface = Surface(_paint_ground(place, season), *_shape_ground(place, season))
    for house in houses:
        _put_up(house, surface, rng)
    cloud = light.clouds * smoothstep(smooth_noise(rng, place.size, 60, 2), -0.1, 0.7)
    return photograph(surface, light, cloud, rng)


def _pick(rng: np.random.Generator, palette: NDArray[np.float32], count: int, spread: float) -> NDArray[np.float32]:
    """Draw `count` colours: palette entries, mixed a little and jittered."""
    first, second = rng.integers(len(palette), size=(2, count))
    share = rng.uniform(0, 0.35, (count, 1))
    colours = palette[first] * (1 - share) + palette[second] * share
    brightness = np.exp(rng.normal(0, spread, (count, 1)))
    jittered: NDArray[np.float32] = (colours * brightness + rng.normal(0, spread / 4, (count, 3))).astype(np.float32)
    return jittered


def _paint_ground(place: Place, rng: np.random.Generator) -> Map:
    size = place.size
    fine, patches = smooth_noise(rng, size, 2), smooth_noise(rng, size, 13, 2)
    meadow = _pick(rng, _pick(rng, _GRASS, 2, 0.1), place.parcel_count, 0.09)
    albedo: Map = meadow[place.parcel] * (1 + 0.08 * fine + 0.09 * patches)[..., None]
    field = place.ground == FIELD
    albedo[field] = _paint_fields(place, rng, fine, patches)[field]
    albedo = blend(albedo, _paint_water(place, rng), smoothstep(place.depth, -0.7, 0.7) * (place.ground == WATER))
    albedo = _paint_roads(place, albedo, rng, fine)
    return _paint_trees(place, albedo, rng, fine)


def _paint_fields(place: Place, rng: np.random.Generator, fine: Map, patches: Map) -> Map:
    count = place.parcel_count
    grown = _CROPS[rng.permutation(len(_CROPS))[:3]]
    crop = _pick(rng, grown, count, 0.1)[place.parcel]
    along_u = (rng.random(count) < 0.5)[place.parcel]
    across = np.where(along_u, place.u, place.v)
    period = rng.uniform(3.8, 7.0, count).astype(np.float32)[place.parcel]
    depth = rng.uniform(0.1, 0.26, count).astype(np.float32)[place.parcel]
    rows = np.sin(2 * math.pi * across / period) * depth
    tramline = np.abs(np.mod(across, 17.0) - 8.5) < 0.9
    furrowed: Map = crop * (1 + rows + 0.05 * fine + 0.06 * patches - 0.12 * tramline)[..., None]
    return furrowed


def _paint_water(place: Place, rng: np.random.Generator) -> Map:
    deep = _pick(rng, _WATER, 1, 0.12)[0]
    shallow = deep * 0.75 + np.array([0.13, 0.13, 0.09], np.float32)
    ripples = 0.035 * smooth_noise(rng, place.size, 2.2) * rng.random()
    glint = rng.uniform(0, 0.1) * smoothstep(smooth_noise(rng, place.size, 34), 0, 1.2)
    water = blend(np.broadcast_to(shallow, (*place.depth.shape, 3)), deep, smoothstep(place.depth, 0, 6))
    return water + (ripples + glint)[..., None]


def _paint_roads(place: Place, albedo: Map, rng: np.random.Generator, fine: Map) -> Map:
    colours = _pick(rng, _PAVING, int(place.road.max()) + 1, 0.1)
    on = place.road >= 0
    across = np.abs(place.road_across)
    paving: Map = colours[place.road] * (1 + 0.04 * fine + 0.08 * smoothstep(across, 0.7, 1.0))[..., None]
    tracks = 0.09 * np.exp(-(((across - 0.5) / 0.16) ** 2)) * (place.road > 0)
    dashes = (across < 0.14) & (np.mod(place.v, 10) < 5.5) & (place.road == 0)
    paving = paving - tracks[..., None]
    if colours[0].mean() < 0.55:
        paving = blend(paving, 0.82, 0.65 * dashes)
    albedo[on] = paving[on]
    return albedo


def _paint_trees(place: Place, albedo: Map, rng: np.random.Generator, fine: Map) -> Map:
    kinds = _pick(rng, _LEAVES, 3, 0.12)
    leaves = _pick(rng, kinds, int(place.crown.max()) + 1, 0.13)
    under = place.ground == FOREST
    albedo[under] = (kinds.mean(0) * 0.55)[None]
    crown = place.crown >= 0
    albedo[crown] = leaves[place.crown[crown]] * (1 + 0.12 * fine[crown])[:, None]
    return albedo


def _shape_ground(place: Place, rng: np.random.Generator) -> tuple[Map, Map, Map]:
    """Return height and slopes along x and y: domes of trees, clods and tufts; water and roads are flat."""
    rough = ~np.isin(place.ground, (WATER, ROAD))
    height = place.crown_height + 0.25 * rough * smooth_noise(rng, place.size, 2.5)
    slope_y, slope_x = np.gradient(height)
    gentle = np.where(place.ground == FOREST, np.float32(1), np.float32(0.35))
    return height, gentle * slope_x, gentle * slope_y


def _put_up(house: House, surface: Surface, rng: np.random.Generator) -> None:
    """Build a house on the surface, in place."""
    window, along, across = house.window(surface.height.shape[0])
    inside = house.covers(along, across)
    pitch = 0.0 if house.flat else _PITCH
    fall = -pitch * np.sign(across)
    surface.albedo[window][inside] = _roof(house, along, across, rng)[inside]
    surface.height[window][inside] = (house.height - pitch * np.abs(across))[inside]
    surface.slope_x[window][inside] = (-math.sin(house.angle) * fall)[inside]
    surface.slope_y[window][inside] = (math.cos(house.angle) * fall)[inside]


def _roof(house: House, along: Map, across: Map, rng: np.random.Generator) -> Map:
    """Return the colours of a roof: a light rim around a flat one, rows of tiles and a dark ridge on a gable."""
    base = _ROOFS[house.roof % len(_ROOFS)] * (0.85 + 0.3 * (house.roof % 97) / 97)
    weather = 1 + 0.03 * rng.standard_normal(along.shape, np.float32)
    if house.flat:
        rim = (np.abs(along) > house.length / 2 - 1.1) | (np.abs(across) > house.width / 2 - 1.1)
        texture = weather + 0.12 * rim
    else:
        texture = weather + 0.05 * np.sin(along * 2.2) - 0.12 * (np.abs(across) < 0.6)
    colours: Map = base * texture[..., None]
    return colours
