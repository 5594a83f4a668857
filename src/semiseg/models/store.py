"""The model directory: `config.json`, `model.safetensors` and a model card, ready to use and without pickle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from semiseg.errors import ModelError
from semiseg.files import read_json, whole_file, write_text
from semiseg.models.card import ModelCard, card_from_json, card_to_json, render_card
from semiseg.models.config import ModelConfig
from semiseg.models.segmenter import Segmenter, build_segmenter
from semiseg.models.weights import announced_tensors, load_strictly, misfits, read_tensors, refuse_misfits

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
README = "README.md"


def save_model(directory: Path, segmenter: Segmenter, card: ModelCard) -> None:
    """Write a model directory; other files in it are left alone.

    Each file is replaced in one step, `config.json` last: whoever reads in between, or after a crash, finds complete
    files, at worst with the metrics of the model that was there before.

    Raises:
        ModelError: the card describes another model.
        FileError: a file cannot be written.
    """
    described = len(card.classes), card.frames, _network(card.model)
    if described != (segmenter.num_classes, segmenter.frames, _network(segmenter.config)):
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
    write_text(directory / README, render_card(card))
    write_text(directory / CONFIG, json.dumps(card_to_json(card), indent=2) + "\n")


def find_model(path: Path | str) -> Path:
    """Return the model directory of a run directory; any other path is returned as it is."""
    return Path(path) / "model" if (Path(path) / "model").is_dir() else Path(path)


def load_model(directory: Path | str, device: torch.device | str = "cpu") -> tuple[Segmenter, ModelCard]:
    """Read a model directory; strict, offline, and nothing in it is executed.

    Args:
        directory: what `save_model` wrote, or the run directory around it.
        device: where the model goes.

    Returns:
        The model in evaluation mode and its card. The model's own `config.weights` is `random`: it is complete
        without the encoder's origin, which the card keeps.

    Raises:
        ModelError: a file is missing, malformed or does not fit.
    """
    directory = find_model(directory)
    card = read_card(directory)
    _refuse_other_weights(card, directory / WEIGHTS)
    segmenter = build_segmenter(_network(card.model), len(card.classes), card.frames)
    load_strictly(segmenter, read_tensors(directory / WEIGHTS), where=directory / WEIGHTS)
    return segmenter.to(device).eval(), card


def _refuse_other_weights(card: ModelCard, path: Path) -> None:
    """Compare the header of the weights with the network that the card describes, before either takes memory.

    Raises:
        ModelError: malformed, or of another network.
    """
    found, wanted = announced_tensors(path), _announced_network(card)
    if wanted is None:
        return
    problems = misfits(found, wanted)
    mistyped = [
        f"{key} {found[key].dtype} instead of {wanted[key].dtype}"
        for key in sorted(wanted.keys() & found.keys())
        if found[key].dtype != wanted[key].dtype
    ]
    refuse_misfits(problems | ({"of another type": mistyped} if mistyped else {}), len(wanted), path)


def _announced_network(card: ModelCard) -> dict[str, Tensor] | None:
    """Return the network's tensors without content; None for one that cannot be built so, of which all are small."""
    try:
        with torch.device("meta"):
            return build_segmenter(_network(card.model), len(card.classes), card.frames).state_dict()
    except RuntimeError:  # MiT, of another library, looks at values while it is built
        return None


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


def _network(config: ModelConfig) -> ModelConfig:
    """Return the configuration without the origin of the encoder's weights, which a saved model does not need."""
    return replace(config, weights="random")
