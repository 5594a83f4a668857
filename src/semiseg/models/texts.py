"""What classes are called, as CLIP sees it: embeddings of texts, computed once, read from a file, or random."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from semiseg.download import cache_folder
from semiseg.errors import ModelError
from semiseg.files import sha256_of, whole_file
from semiseg.models.config import ModelConfig
from semiseg.models.decoders.semivl import LanguageGuided
from semiseg.models.encoders import Encoder
from semiseg.models.hub import asking_the_hub
from semiseg.models.segmenter import Segmenter
from semiseg.models.weights import SHOWN, misfits, read_tensors
from semiseg.seeding import counted, torch_rng

TEMPLATE = "a photo of a {}"
"""What a class or concept is put into (published)."""

IMAGES = "visual."
"""What the image tower's keys begin with in OpenAI's and open_clip's layout."""


def describe_classes(model: Segmenter, definitions: Mapping[str, Sequence[str]], seed: int) -> str | None:
    """Give the decoder of a model the texts of its classes, if it compares features with texts.

    Args:
        model: with K classes.
        definitions: the concepts of each of the K classes, by its name.
        seed: of random texts, which go with random weights.

    Returns:
        Where the texts come from, for the log; None for a decoder that needs none.

    Raises:
        ModelError: as `embed_texts`.
    """
    if not isinstance(model.decoder, LanguageGuided):
        return None
    concepts = [words if model.config.text_of == "concepts" else (name,) for name, words in definitions.items()]
    found = embed_concepts(concepts, model.encoder, model.config, seed)
    model.decoder.describe(torch.stack([texts_NC.mean(dim=0) for texts_NC in found]))
    kind = "the mean of its concepts" if model.config.text_of == "concepts" else "its name"
    return f"text of each class: {kind}, {_origin(model.config)}"


def _origin(config: ModelConfig) -> str:
    if config.text is not None:
        return f"from {config.text}"
    if config.weights == "random":
        return "as a RANDOM vector, since the weights of the encoder are random too"
    return f"by CLIP's text encoder, kept in {_cache()}"


def embed_concepts(concepts: Sequence[Sequence[str]], encoder: Encoder, config: ModelConfig, seed: int) -> list[Tensor]:
    """Embed the concepts of each class: K tensors (number of concepts, C); otherwise as `embed_texts`."""
    flat = [text for words in concepts for text in words]
    return list(embed_texts(flat, encoder, config, seed).split([len(words) for words in concepts]))


def embed_texts(texts: Sequence[str], encoder: Encoder, config: ModelConfig, seed: int) -> Tensor:
    """Embed texts into the space of an encoder's last level.

    Args:
        texts: a few words each; they are put into `TEMPLATE`.
        encoder: whose last level is compared with texts.
        config: says where the texts, or else the encoder's weights, come from.
        seed: of random texts, which go with random weights.

    Returns:
        (N, C) float32, of CLIP's own lengths, which count where embeddings are averaged.

    Raises:
        ModelError: open_clip is not installed, no weights of a text encoder, or a file that does not fit.
    """
    channels = encoder.widths[-1]
    if config.text is not None:
        found = _from_file(Path(config.text), texts, channels)
    elif config.weights == "random":
        found = {text: torch.randn(channels, generator=torch_rng(seed, f"text of {text}")) for text in texts}
    else:
        found = _kept(sorted(set(texts)), str(encoder.texts), config.weights)
    return torch.stack([found[text].float() for text in texts])


def _from_file(path: Path, texts: Sequence[str], channels: int) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError("no such file of text embeddings", where=path, remedy="check the path given as --model.text")
    found = read_tensors(path)
    wrong = sorted({text for text in texts if text not in found or found[text].shape != (channels,)})
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ModelError(
            f"no embedding of {', '.join(map(repr, wrong[:SHOWN]))}{more}",
            where=path,
            expected=f"for each text a tensor of its name and {channels} numbers",
            remedy="leave --model.text out, and CLIP's text encoder computes the file",
        )
    return found


def _cache() -> Path:
    return cache_folder() / "texts"


def _kept(texts: Sequence[str], tower: str, weights: str) -> dict[str, Tensor]:
    """Return embeddings from the cache, computed first if they are not there; any process may do so at any time."""
    path = _cache() / f"{_fingerprint(texts, tower, weights)}.safetensors"
    if not path.is_file():
        found = _computed(texts, tower, weights)
        with whole_file(path) as draft:
            save_file(found, draft)
    return read_tensors(path)


def _fingerprint(texts: Sequence[str], tower: str, weights: str) -> str:
    """Return a hash of all that embeddings depend on."""
    origin = weights if weights == "hub" else sha256_of(Path(weights))
    facts = json.dumps([tower, origin, TEMPLATE, list(texts)])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _computed(texts: Sequence[str], tower: str, weights: str) -> dict[str, Tensor]:
    open_clip = _open_clip()
    with counted(0, "init of what is loaded over"):
        if weights == "hub":
            with asking_the_hub(f"CLIP's text encoder {tower}"):
                model = open_clip.create_model(tower, pretrained="openai")
        else:
            model = open_clip.CLIP(**open_clip.get_model_config(tower))
            _load_text_tower(model, Path(weights))
    tokens_NL = open_clip.get_tokenizer(tower)([TEMPLATE.format(text) for text in texts])
    with torch.inference_mode():
        embeddings_NC = model.eval().encode_text(tokens_NL).float()
    return {text: embedding_C.clone() for text, embedding_C in zip(texts, embeddings_NC, strict=True)}


def _open_clip() -> Any:
    try:
        return import_module("open_clip")
    except ImportError as error:
        raise ModelError(
            "the texts of classes need open_clip, which is not installed",
            remedy="pip install 'semiseg[semivl]', or give their embeddings with --model.text FILE",
        ) from error


def _load_text_tower(model: Any, path: Path) -> None:
    """Load what a file in OpenAI's or open_clip's layout has for texts, strictly."""
    wanted = {key: value for key, value in model.state_dict().items() if not key.startswith(IMAGES)}
    tensors = read_tensors(path)
    if problems := misfits({key: tensors[key] for key in wanted.keys() & tensors.keys()}, wanted):
        kind, keys = next(iter(problems.items()))
        raise ModelError(
            f"the file has no text encoder that fits: {len(keys)} tensors {kind}, for example {keys[0]}",
            where=path,
            expected="OpenAI's or open_clip's layout, which holds both the image and the text encoder",
            remedy="set --model.weights to such a file or to hub, or give the embeddings with --model.text FILE",
        )
    model.load_state_dict({key: tensors[key] for key in wanted}, strict=False)
