from __future__ import annotations

import pytest

from semiseg.data import DataConfig
from semiseg.errors import ConfigError


@pytest.mark.parametrize(
    "wrong", [{"scale": (2.0, 0.5)}, {"scale": (0.0, 1.0)}, {"held_out": 1.5}, {"held_out": -0.1}, {"split_seed": -1}]
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)data\.{next(iter(wrong))}.*remedy"):
        DataConfig(**wrong)  # type: ignore[arg-type]
