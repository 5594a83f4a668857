"""From a recipe's name and overrides to a configuration, without torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg.config import Config, make_config, overridden
from semiseg.methods.registry import require_method
from semiseg.recipes import is_recipe, load_recipe

_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/nvhost-gpu", "/dev/nvmap")
"""What drivers of GPUs show on Linux: of NVIDIA, of WSL, of AMD, and of NVIDIA's Jetson."""


def recipe_config(recipe: str, overrides: list[str] | None = None) -> Config:
    """Build the configuration of a recipe and overrides, as `semiseg train` does.

    Args:
        recipe: name of a recipe, path of a YAML file, or a data folder (then the recipe is `default`, or `laptop` where
            there is no GPU and no encoder is named).
        overrides: for example `["--data.split", "30"]`.

    Raises:
        ConfigError: an unknown recipe, key or method, or a value of the wrong kind.
    """
    is_folder = not is_recipe(recipe) and Path(recipe).is_dir()
    settings = load_recipe(_of_folder(overrides or []) if is_folder else recipe)
    folder = ["--data.root", recipe] if is_folder else []
    config = make_config(settings, [*folder, *(overrides or [])], where=f"recipe {recipe}")
    require_method(config.method)
    return config


def _of_folder(overrides: Sequence[str]) -> str:
    """Return the recipe of a data folder by what there is to train on."""
    given = overridden(overrides)
    if "model.encoder" in given:
        return "default"
    device = given.get("device", "auto")
    return "default" if device.startswith("cuda") or (device == "auto" and _has_gpu()) else "laptop"


def _has_gpu() -> bool:
    """Whether torch finds a GPU; it takes seconds to import, and is not asked where no driver shows a device."""
    if sys.platform == "linux" and not any(map(os.path.exists, _DEVICES)):
        return False
    import torch

    return torch.cuda.is_available()
