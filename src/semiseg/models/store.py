"""The model directory: `config.json`, `model.safetensors` and a model card, ready to use and without pickle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.files import read_json, whole_file, write_text
from semiseg.models.card import ModelCard, card_from_json, card_to_json
from semiseg.models.config import ModelConfig
from semiseg.models.hub import CONFIG, PREFIX, README, WEIGHTS, fetch_model
from semiseg.models.readme import render_readme
from semiseg.models.weights import announced_tensors, misfits, refuse_misfits


class Network(Protocol):
    """What is saved of a segmenter."""

    config: ModelConfig
    num_classes: int
    frames: int

    def state_dict(self) -> dict[str, Any]:
        """Return its tensors by name."""


def save_model(
    directory: Path, segmenter: Network, card: ModelCard, *, name: str = "DIR", license: str | None = None
) -> None:
    """Write a model directory; other files in it are left alone.

    Each file is replaced in one step, `config.json` last: whoever reads in between, or after a crash, finds complete
    files, at worst with the metrics of the model that was there before.

    Args:
        directory: where to.
        segmenter: the model.
        card: what it says about itself.
        name: what the README calls it in its commands; default: the folder it lies in.
        license: of the model, for its README, as the hub names it.

    Raises:
        ModelError: the card describes another model.
        FileError: a file cannot be written.
    """
    described = len(card.classes), card.frames, network_of(card.model)
    if described != (segmenter.num_classes, segmenter.frames, network_of(segmenter.config)):
        raise ModelError(
            "the card describes another model than the one to save",
            where=directory,
            expected=f"{segmenter.num_classes} classes, {segmenter.frames} frame(s), {segmenter.config}",
            remedy="make the card from the model's own configuration and classes",
        )
    # Safetensors stores plain row-major tensors; the weights may be channels-last or on a device.
    tensors = {key: value.detach().cpu().contiguous() for key, value in segmenter.state_dict().items()}
    with whole_file(directory / WEIGHTS) as draft:
        save_file(tensors, draft, metadata={"format": "pt"})
    write_text(directory / README, render_readme(card, name=name, license=license))
    write_text(directory / CONFIG, json.dumps(card_to_json(card), indent=2) + "\n")


def find_model(path: Path | str) -> Path:
    """Return the model directory of a run directory, or of a model of the hub, `hf:OWNER/NAME[@REVISION]`.

    Any other path is returned as it is.

    Raises:
        ModelError: the model of the hub cannot be had.
    """
    if str(path).startswith(PREFIX) and not Path(path).exists():
        # A Path makes one slash of the two of `hf://`.
        repo, _, revision = str(path).removeprefix(PREFIX).lstrip("/").partition("@")
        return fetch_model(repo, revision=revision or None)
    return Path(path) / "model" if (Path(path) / "model").is_dir() else Path(path)


def refuse_other_weights(announced: dict[str, Tensor] | None, path: Path) -> None:
    """Compare the header of the weights with the network that the card describes, before either takes memory.

    Args:
        announced: the network's tensors without content; None: they are not known.
        path: of the weights.

    Raises:
        ModelError: malformed, or of another network.
    """
    found = announced_tensors(path)
    if announced is None:
        return
    problems = misfits(found, announced)
    mistyped = [
        f"{key} {found[key].dtype} instead of {announced[key].dtype}"
        for key in sorted(announced.keys() & found.keys())
        if found[key].dtype != announced[key].dtype
    ]
    refuse_misfits(problems | ({"of another type": mistyped} if mistyped else {}), len(announced), path)


def read_card(directory: Path) -> ModelCard:
    """Read and check the `config.json` of a model directory.

    Raises:
        ModelError: missing, malformed, or with unknown or wrong values.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise ModelError(
            f"no model here: {CONFIG} is missing",
            where=directory,
            expected=f"a directory with {CONFIG} and {WEIGHTS}",
            remedy="name the `model` directory of a run",
        )
    try:
        data = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{CONFIG} is not readable JSON ({error})", where=path, remedy="save the model again"
        ) from error
    return card_from_json(data, where=path)


def network_of(config: ModelConfig) -> ModelConfig:
    """Return the configuration without the origin of the encoder's weights, which a saved model does not need."""
    return replace(config, weights="random")
