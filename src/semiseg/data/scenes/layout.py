"""Where things lie in a scene: land parcels, roads, water, trees and houses, as label map and geometry.

Everything hangs on one pair of bent coordinates (u, v): parcels are cells of a brick pattern in them, roads are lines
of constant u or v. So fields follow roads, roads curve, cross and run on, and houses stand square to their road.
All lengths are in pixels; a larger scene shows more land, not larger houses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiseg.data.scenes.noise import Map, smooth_noise

GRASS, FOREST, WATER, FIELD, ROAD, BUILDING = range(6)

Mask = NDArray[np.bool_]
_PARCELS_PER_STRIP = 32
_TREE_CELL = 6.5
"""Distance of two trees in closed wood."""
_LONGEST_BRIDGE = 30.0
"""Length of road over water that is taken as a bridge; a longer one would be a road in the river bed."""


@dataclass(frozen=True, kw_only=True)
class House:
    """A house with a rectangular outline, its long side turned by `angle` from the x axis."""

    x: float
    y: float
    angle: float
    length: float
    width: float
    height: float
    """Height of the ridge in pixels; it sets the length of the shadow."""
    flat: bool
    """Flat roof instead of a gable along the long side."""
    roof: int
    """Which roof colour, an index that the painter takes modulo its palette."""

    def window(self, size: int, margin: float = 0.0) -> tuple[tuple[slice, slice], Map, Map]:
        """Return the slices (rows, columns) around the house and the coordinates along and across it inside them."""
        reach = math.hypot(self.length, self.width) / 2 + margin + 1
        rows, columns = (
            slice(max(0, int(centre - reach)), max(0, min(size, int(centre + reach) + 1)))
            for centre in (self.y, self.x)
        )
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - self.y
        x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] - self.x
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return (rows, columns), x * cos + y * sin, y * cos - x * sin

    def outline(self, size: int, margin: float = 0.0) -> tuple[tuple[slice, slice], Mask]:
        """Return the slices and, inside them, the pixels covered by the house grown by `margin` on every side."""
        window, along, across = self.window(size, margin)
        return window, self.covers(along, across, margin)

    def covers(self, along: Map, across: Map, margin: float = 0.0) -> Mask:
        """Tell of positions along and across the house whether they lie under it, grown by `margin`."""
        inside: Mask = (np.abs(along) <= self.length / 2 + margin) & (np.abs(across) <= self.width / 2 + margin)
        return inside


@dataclass(frozen=True, kw_only=True)
class Place:
    """The land of a scene without its light: the same on every date, but for houses that come and go."""

    ground: NDArray[np.uint8]
    """(H, W) class ids of everything but houses."""
    u: Map
    v: Map
    parcel: NDArray[np.int64]
    """(H, W) number of the land parcel, < `parcel_count`."""
    parcel_count: int
    road: NDArray[np.int64]
    """(H, W) number of the road, -1 beside the roads; number 0 is the main road."""
    road_across: Map
    """(H, W) signed distance to the middle of the road, in half widths."""
    depth: Map
    """(H, W) distance to the shore, about in pixels, positive in the water."""
    crown: NDArray[np.int64]
    """(H, W) number of the tree whose crown covers the pixel, -1 in the open."""
    crown_height: Map
    """(H, W) height of the canopy, 0 in the open."""
    houses: tuple[House, ...]

    @property
    def size(self) -> int:
        """Side of the scene in pixels."""
        return len(self.ground)

    def mask(self) -> NDArray[np.uint8]:
        """Return the (H, W) class ids with all houses on the ground."""
        mask = self.ground.copy()
        mask[footprint(self.houses, self.size)] = BUILDING
        return mask


def footprint(houses: tuple[House, ...], size: int, margin: float = 0.0) -> Mask:
    """Return the (size, size) map of the pixels under the houses, each grown by `margin`."""
    covered = np.zeros((size, size), bool)
    for house in houses:
        window, inside = house.outline(size, margin)
        covered[window] |= inside
    return covered


def draw_place(rng: np.random.Generator, size: int) -> Place:
    """Draw the land of one scene."""
    u, v = _bent_coordinates(rng, size)
    depth = _draw_water(rng, size)
    lines = _draw_roads(rng, u, v, depth > 0)
    road, road_across, clearance = _lay_roads(lines, u, v)
    parcel, parcel_count = _divide(rng, lines, u, v)
    wood = _draw_wood(rng, size)
    houses = _build(rng, lines, u, v, blocked=(road >= 0) | (depth > -2))
    garden = footprint(houses, size, margin=5.0)

    ground = rng.choice([FIELD, GRASS], p=[0.68, 0.32], size=parcel_count).astype(np.uint8)[parcel]
    ground[garden | (depth > -3)] = GRASS
    ground[depth > 0] = WATER
    ground[road >= 0] = ROAD
    closed = (clearance < 2) | (depth > -1.5) | footprint(houses, size, margin=3.0)
    crown, crown_height = _plant(rng, _tree_density(wood, garden, depth, parcel), closed)
    ground[(crown >= 0) | (wood & ~closed & ~garden)] = FOREST
    return Place(
        ground=ground, u=u, v=v, parcel=parcel, parcel_count=parcel_count, road=road, road_across=road_across,
        depth=depth, crown=crown, crown_height=crown_height, houses=houses,
    )  # fmt: skip


@dataclass(frozen=True)
class _Line:
    """A road: where coordinate `axis` equals `at`, from `start` of the other coordinate on."""

    axis: int
    at: float
    half_width: float
    start: float = -math.inf


def _bent_coordinates(rng: np.random.Generator, size: int) -> tuple[Map, Map]:
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2).astype(np.float32)
    angle = rng.uniform(0, math.pi)
    bend = [rng.uniform(6, 16) * smooth_noise(rng, size, 80) for _ in range(2)]
    u = x * math.cos(angle) + y * math.sin(angle) + bend[0]
    v = y * math.cos(angle) - x * math.sin(angle) + bend[1]
    return u.astype(np.float32), v.astype(np.float32)


def _draw_roads(rng: np.random.Generator, u: Map, v: Map, wet: Mask) -> list[_Line]:
    """Draw a main road and a few side roads that end at it or cross it; none follows a river in its bed."""
    size = u.shape[0]
    proposals = [_Line(0, rng.uniform(-0.28, 0.28) * size, rng.uniform(3.8, 5.0)) for _ in range(6)]
    main = min(proposals, key=lambda line: max(_wet_length(line, u, v, wet), _LONGEST_BRIDGE))
    lines = [main]
    for _ in range(rng.integers(1, 4) + size // 192):
        start = main.at if rng.random() < 0.5 else -math.inf
        line = _Line(1, rng.uniform(-0.42, 0.42) * size, rng.uniform(2.8, 3.8), start)
        apart = all(other.axis == 0 or abs(other.at - line.at) > 34 for other in lines)
        if apart and _wet_length(line, u, v, wet) < _LONGEST_BRIDGE:
            lines.append(line)
    return lines


def _wet_length(line: _Line, u: Map, v: Map, wet: Mask) -> float:
    """Return how many pixels of the road's length lie in water."""
    along, across = (u, v - line.at) if line.axis else (v, u - line.at)
    return float((wet & (along >= line.start) & (np.abs(across) <= line.half_width)).sum()) / (2 * line.half_width)


def _lay_roads(lines: list[_Line], u: Map, v: Map) -> tuple[NDArray[np.int64], Map, Map]:
    """Return road numbers, distance to the middle in half widths, and distance in pixels to the nearest road."""
    road = np.full(u.shape, -1, np.int64)
    road_across = np.zeros_like(u)
    clearance = np.full_like(u, np.inf)
    for number, line in reversed(list(enumerate(lines))):
        along, across = (u, v - line.at) if line.axis else (v, u - line.at)
        across = across / np.hypot(*np.gradient(across))
        reached = along >= line.start
        on = reached & (np.abs(across) <= line.half_width)
        road[on] = number
        road_across[on] = across[on] / line.half_width
        clearance = np.where(reached, np.minimum(clearance, np.abs(across) - line.half_width), clearance)
    return road, road_across, clearance


def _divide(rng: np.random.Generator, lines: list[_Line], u: Map, v: Map) -> tuple[NDArray[np.int64], int]:
    """Cut the land into strips of u and each strip into parcels of v; roads are always borders."""
    reach = float(max(np.abs(u).max(), np.abs(v).max()))
    breaks = _breaks(rng, reach, (30, 56), [line.at for line in lines if line.axis == 0])
    strip = np.searchsorted(breaks, u)
    parcel = strip * _PARCELS_PER_STRIP
    for number in range(len(breaks) + 1):
        cuts = _breaks(rng, reach, (40, 96), [line.at for line in lines if line.axis == 1])
        inside = strip == number
        parcel[inside] += np.minimum(np.searchsorted(cuts, v[inside]), _PARCELS_PER_STRIP - 1)
    return parcel, (len(breaks) + 1) * _PARCELS_PER_STRIP


def _breaks(
    rng: np.random.Generator, reach: float, step: tuple[float, float], fixed: list[float]
) -> NDArray[np.float64]:
    steps = rng.uniform(*step, size=int(2 * reach / step[0]) + 2)
    free = np.cumsum(steps) - reach - rng.uniform(0, step[1])
    far = [at for at in free if all(abs(at - other) > step[0] / 2 for other in fixed) and at < reach]
    return np.sort(np.array(far + fixed))


def _draw_water(rng: np.random.Generator, size: int) -> Map:
    """Return the distance to the shore in pixels, positive in a river or a lake; now and then there is no water."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    kind = rng.random()
    cx, cy = rng.uniform(0.1, 0.9, 2) * size
    angle = rng.uniform(0, math.pi)
    along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    across = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
    edge = 1.2 * smooth_noise(rng, size, 9)
    if kind < 0.47:
        middle = across + rng.uniform(8, 18) * smooth_noise(rng, size, 56)
        half_width = rng.uniform(6, 11) * (1 + 0.25 * smooth_noise(rng, size, 40))
        bank: Map = np.abs(middle) / np.hypot(*np.gradient(middle)) - edge
        return half_width - bank
    if kind < 0.9:
        radius = rng.uniform(18, 34) * (1 + 0.22 * smooth_noise(rng, size, 26))
        from_centre: Map = np.hypot(along * rng.uniform(0.6, 1.0), across) - edge
        return radius - from_centre
    return np.full((size, size), -np.inf, np.float32)


def _draw_wood(rng: np.random.Generator, size: int) -> Mask:
    height = smooth_noise(rng, size, 46, octaves=3)
    return height > np.quantile(height, 1 - rng.uniform(0.12, 0.34))


def _build(rng: np.random.Generator, lines: list[_Line], u: Map, v: Map, blocked: Mask) -> tuple[House, ...]:
    """Put houses on both sides of the roads around one village centre, and a few farms anywhere along them."""
    size = u.shape[0]
    taken = blocked.copy()
    houses: list[House] = []
    wanted = round(rng.uniform(6, 12) * (size / 128) ** 2)
    village = [rng.uniform(-0.3, 0.3) * size for _ in range(2)]
    for _ in range(wanted * 6):
        house = _propose(rng, lines, village, u, v)
        if house is None or len(houses) == wanted:
            continue
        window, inside = house.outline(size, margin=1.5)
        if inside.any() and not taken[window][inside].any():
            taken[window] |= inside
            houses.append(house)
    return tuple(houses)


def _propose(rng: np.random.Generator, lines: list[_Line], village: list[float], u: Map, v: Map) -> House | None:
    line = lines[rng.integers(len(lines))]
    barn = rng.random() < 0.25
    length, width = (rng.uniform(18, 28), rng.uniform(11, 16)) if barn else (rng.uniform(11, 16), rng.uniform(9, 12))
    setback = line.half_width + width / 2 + rng.uniform(1.5, 5)
    own = line.at + setback * rng.choice([-1, 1])
    other = village[1 - line.axis] + rng.normal(0, 30 if not barn else 50)
    if other < line.start:
        return None
    here, along = (v, u) if line.axis else (u, v)
    off = np.abs(here - own) + np.abs(along - other)
    y, x = divmod(int(off.argmin()), u.shape[1])
    if off[y, x] > 2:
        return None
    y0, x0 = min(max(y, 1), u.shape[0] - 2), min(max(x, 1), u.shape[0] - 2)
    slope_y, slope_x = here[y0 + 1, x0] - here[y0 - 1, x0], here[y0, x0 + 1] - here[y0, x0 - 1]
    return House(
        x=x + rng.uniform(-0.5, 0.5), y=y + rng.uniform(-0.5, 0.5),
        angle=math.atan2(slope_y, slope_x) + math.pi / 2 + rng.normal(0, 0.05),
        length=length, width=width, height=rng.uniform(5, 8), flat=bool(rng.random() < (0.5 if barn else 0.12)),
        roof=int(rng.integers(1 << 16)),
    )  # fmt: skip


def _tree_density(wood: Mask, garden: Mask, depth: Map, parcel: NDArray[np.int64]) -> Map:
    """Return the chance of a tree at each pixel: closed wood, hedges on some parcel borders, banks and gardens."""
    density = np.full(depth.shape, 0.012, np.float32)
    border = (parcel != np.roll(parcel, 2, 0)) | (parcel != np.roll(parcel, 2, 1))
    density[border & (parcel % 3 == 0)] = 0.5
    density[(depth > -7) & (depth < 0)] = 0.22
    density[wood] = 1.0
    density[garden] = 0.2
    return density


def _plant(rng: np.random.Generator, density: Map, closed: Mask) -> tuple[NDArray[np.int64], Map]:
    """Stand trees on a jittered grid and return the tree number and canopy height of every pixel."""
    size = density.shape[0]
    count = math.ceil(size / _TREE_CELL) + 2
    cells = np.arange(count, dtype=np.float32) - 0.5
    ty = (cells[:, None] + rng.uniform(-0.36, 0.36, (count, count))) * _TREE_CELL
    tx = (cells[None] + rng.uniform(-0.36, 0.36, (count, count))) * _TREE_CELL
    radius = rng.uniform(0.5, 0.88, (count, count)) * _TREE_CELL
    iy, ix = (np.clip(t.astype(int), 0, size - 1) for t in (ty, tx))
    radius[(rng.random((count, count)) >= density[iy, ix]) | closed[iy, ix]] = 0

    crown = np.full((size, size), -1, np.int64)
    height = np.zeros((size, size), np.float32)
    pixel = np.arange(size, dtype=np.float32)
    cell = np.floor(pixel / _TREE_CELL).astype(int) + 1
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            rows, columns = (cell + dy)[:, None], (cell + dx)[None]
            r = radius[rows, columns]
            square = r * r - (ty[rows, columns] - pixel[:, None]) ** 2 - (tx[rows, columns] - pixel[None]) ** 2
            dome = np.sqrt(np.maximum(square, 0)) * 0.9 + r * 0.5 * (square > 0)
            higher = dome > height
            height[higher] = dome[higher]
            crown[higher] = np.broadcast_to(rows * count + columns, crown.shape)[higher]
    return crown, height
