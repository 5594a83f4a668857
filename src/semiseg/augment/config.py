"""What a strong view may do to a crop."""

from __future__ import annotations

from dataclasses import dataclass

from semiseg.errors import ConfigError

MAX_BLUR_SIGMA = 2.0
"""Largest standard deviation, in pixels, that the fixed blur kernel covers."""

MAX_CUTMIX_AREA = 0.9
"""Largest share of the crop a box may take; redrawing until it fits would hardly end beyond it."""


@dataclass(frozen=True, kw_only=True)
class StrongViewConfig:
    """Ranges and probabilities of the strong view; the defaults are those of UniMatch V2 (arXiv 2410.10777).

    Raises:
        ConfigError: a value lies outside its range.
    """

    brightness: float = 0.5
    """Default 0.5. Brightness factor uniform in [max(0, 1 - x), 1 + x]; x >= 0."""

    contrast: float = 0.5
    """Default 0.5. Contrast factor, range as for brightness."""

    saturation: float = 0.5
    """Default 0.5. Saturation factor, range as for brightness."""

    hue: float = 0.25
    """Default 0.25. Hue shift uniform in [-x, x], in turns of the colour circle; 0 <= x <= 0.5."""

    jitter_p: float = 0.8
    """Default 0.8. Probability of the colour jitter: the four changes above, in random order."""

    grayscale_p: float = 0.2
    """Default 0.2. Probability of turning gray, after the jitter. Change detection uses 0."""

    blur_p: float = 0.5
    """Default 0.5. Probability of a Gaussian blur, after the grayscale."""

    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Default (0.1, 2.0). Range of the blur's standard deviation in pixels, drawn uniformly; 0 < low <= high <= 2."""

    cutmix_p: float = 0.5
    """Default 0.5. Probability that a view gets a CutMix box."""

    cutmix_area: tuple[float, float] = (0.02, 0.4)
    """Default (0.02, 0.4). Range of the box's share of the crop's area, drawn uniformly; 0 < low <= high <= 0.9."""

    cutmix_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    """Default (0.3, 1 / 0.3). Range of the box's height / width, drawn uniformly; 0 < low <= 1 <= high."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self._require(name, getattr(self, name) >= 0, "a number >= 0")
        self._require("hue", 0 <= self.hue <= 0.5, "a number in [0, 0.5]")
        for name in ("jitter_p", "grayscale_p", "blur_p", "cutmix_p"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a probability in [0, 1]")
        low, high = self.blur_sigma
        self._require("blur_sigma", 0 < low <= high <= MAX_BLUR_SIGMA, f"0 < low <= high <= {MAX_BLUR_SIGMA}")
        low, high = self.cutmix_area
        self._require("cutmix_area", 0 < low <= high <= MAX_CUTMIX_AREA, f"0 < low <= high <= {MAX_CUTMIX_AREA}")
        low, high = self.cutmix_aspect
        self._require("cutmix_aspect", 0 < low <= 1 <= high, "0 < low <= 1 <= high")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigError(
                f"the strong view's {name} is {getattr(self, name)}",
                where=name,
                expected=expected,
                remedy=f"set {name} to {expected}, or leave it out for the published value",
            )
