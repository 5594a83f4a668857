"""The segmenter: encoder, fusion of a sample's frames, perhaps a neck, and decoder; built, saved and loaded."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from semiseg.errors import ModelError
from semiseg.models.attending import choose_attention
from semiseg.models.card import ModelCard
from semiseg.models.config import ModelConfig
from semiseg.models.decoders import Decoder, FeatureHook, LevelHook, build_decoder
from semiseg.models.draws import draws_of
from semiseg.models.encoders import Encoder, build_encoder
from semiseg.models.hub import PREFIX, WEIGHTS, upload_model
from semiseg.models.layers import keep_channels_last, resize_bilinear
from semiseg.models.necks import Neck, build_neck
from semiseg.models.store import find_model, network_of, read_card, refuse_other_weights, save_model
from semiseg.models.weights import load_strictly, read_tensors
from semiseg.seeding import counted


class Segmenter(nn.Module):
    """Images in, logits out; change detection is the same network with two frames.

    Args:
        encoder: gives four levels.
        neck: changes them, or None.
        decoder: turns them into logits.
        config: what it was built from.
        num_classes: K.
        frames: T, 1 for segmentation, 2 for change detection.
        seed: of what its layers draw in training.

    Attributes:
        card: what the saved model that it was loaded from says about itself; None before it is saved.
    """

    mean: Tensor
    std: Tensor
    card: ModelCard | None = None

    def __init__(
        self,
        encoder: Encoder,
        neck: Neck | None,
        decoder: Decoder,
        config: ModelConfig,
        num_classes: int,
        frames: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.neck = neck
        self.decoder = decoder
        self.config = config
        self.num_classes = num_classes
        self.frames = frames
        self.patch = encoder.patch
        self.width = encoder.width
        self.register_buffer("mean", torch.tensor(encoder.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(encoder.std).view(3, 1, 1), persistent=False)
        self.draws = draws_of(self, seed)
        self._holds_encoder = config.trains == "decoder"
        keep_channels_last(self)
        if config.trains != "all":
            encoder.requires_grad_(False)
        if config.trains == "attention":
            for parameter in encoder.attention():
                parameter.requires_grad_(True)
        self._learns_in_encoder = [parameter for parameter in encoder.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> Segmenter:
        """Set the mode; a frozen encoder stays in evaluation mode, lest its batch norms learn."""
        super().train(mode)
        if self._holds_encoder:
            self.encoder.eval()
        return self

    def hold_encoder(self, held: bool) -> None:
        """Let the encoder stand still for a while, or let that of it learn again that the configuration wants to."""
        for parameter in self._learns_in_encoder:
            parameter.requires_grad_(not held)
        self._holds_encoder = held or self.config.trains == "decoder"
        self.train(self.training)

    def normalize(self, images_BTCHW: Tensor) -> Tensor:
        """Bring images to the scale of the encoder: uint8 0..255 or float 0..1 in, normalised float32 out."""
        if images_BTCHW.dtype == torch.uint8:
            images_BTCHW = images_BTCHW.float() / 255
        return (images_BTCHW.float() - self.mean) / self.std

    def forward(
        self,
        images_BTCHW: Tensor,
        at_levels: LevelHook | None = None,
        at_features: FeatureHook | None = None,
        *,
        enlarge: bool = True,
    ) -> Tensor:
        """Segment normalised images.

        Args:
            images_BTCHW: normalised, T frames, H and W multiples of the patch.
            at_levels: changes the four levels after the frames are fused, in place of the neck (which it may call).
            at_features: changes the decoder's features before the classifier. Both may enlarge the batch.
            enlarge: bring the logits to the size of the images; else they have the decoder's, for a loss that enlarges
                them image by image (`semiseg.methods.cross_entropy`).

        Returns:
            Logits (B, K, H, W) in float32, also under autocast; of the enlarged batch, where a hook enlarges it.

        Raises:
            ModelError: another number of frames, or a side that is not a multiple of the patch.
        """
        self._check(images_BTCHW)
        drawing = self.draws.next_pass(images_BTCHW.device) if self.training and self.draws else nullcontext()
        with drawing:
            levels = self.encode(images_BTCHW)
            if at_levels is not None:
                levels = at_levels(levels)
            elif self.neck is not None:
                levels = self.neck(levels)
            logits: Tensor = self.decoder(levels, at_features).float()
            if self.config.evidence:
                logits = logits.relu().log1p()
        if not enlarge:
            return logits
        # In float32 before it is enlarged: the loss needs float32 anyway, and interpolated bfloat16 would have steps.
        height, width = images_BTCHW.shape[-2:]
        return resize_bilinear(logits, (height, width), align_corners=self.decoder.align_corners)

    def encode(self, images_BTCHW: Tensor) -> list[Tensor]:
        """Encode all frames in one pass and fuse them: the frame itself, or |A - B| at each of the four levels."""
        images_BCHW = images_BTCHW.flatten(0, 1)
        choose_attention(self.encoder, images_BCHW, max(1, self.patch))
        levels: list[Tensor] = self.encoder(images_BCHW)
        if self.frames == 1:
            return levels
        pairs = [level.unflatten(0, (-1, self.frames)) for level in levels]
        return [(pair[:, 0] - pair[:, 1]).abs() for pair in pairs]

    def save_pretrained(
        self, directory: Path | str, card: ModelCard | None = None, *, license: str | None = None
    ) -> None:
        """Write a model directory in the layout of the hub: `config.json`, `model.safetensors` and `README.md`.

        Args:
            directory: where to; other files in it are left alone.
            card: classes, colours and the like; default: those it was loaded with.
            license: of the model, for its README, as the hub names it (`apache-2.0`).

        Raises:
            ModelError: no card, or one of another model.
            FileError: a file cannot be written.
        """
        save_model(Path(directory), self, self._known(card), license=license)

    def push_to_hub(
        self,
        repo: str,
        card: ModelCard | None = None,
        *,
        private: bool | None = None,
        license: str | None = None,
        token: str | None = None,
        message: str = "Upload a model of semiseg",
    ) -> str:
        """Send the model to the hub, as one commit of a repository that is made if need be.

        Args:
            repo: `OWNER/NAME`.
            card: classes, colours and the like; default: those it was loaded with.
            private: whether a new repository is; default: as the owner's settings have it.
            license: of the model, as the hub names it (`apache-2.0`).
            token: that may write; default: what `hf auth login` or `HF_TOKEN` gives.
            message: of the commit.

        Returns:
            The address of the commit.

        Raises:
            ModelError: no card, no such name, or the hub refuses.
        """
        with TemporaryDirectory() as folder:
            save_model(Path(folder), self, self._known(card), name=PREFIX + repo, license=license)
            return upload_model(Path(folder), repo, private=private, token=token, message=message)

    @staticmethod
    def from_pretrained(source: Path | str, *, device: torch.device | str = "cpu") -> Segmenter:
        """Load a saved model, in evaluation mode; nothing of it is executed.

        Args:
            source: a run directory or a model directory; else a model of the hub, `OWNER/NAME` or
                `OWNER/NAME@REVISION`, which stays in the hub's cache.
            device: where it goes.

        Raises:
            ModelError: no such model, or one that is malformed or cannot be had.
        """
        is_here = Path(source).exists() or str(source).startswith(PREFIX)
        return load_model(source if is_here else f"{PREFIX}{source}", device)[0]

    def _known(self, card: ModelCard | None) -> ModelCard:
        if (known := card or self.card) is None:
            raise ModelError(
                "the model does not know what its classes are called",
                expected="a ModelCard",
                remedy="give one as `card`, or load the model with from_pretrained",
            )
        return known

    def _check(self, images: Tensor) -> None:
        if images.ndim != 5 or images.shape[1:3] != (self.frames, 3):
            raise ModelError(
                f"the images have the shape {tuple(images.shape)}",
                expected=f"(B, {self.frames}, 3, H, W)",
                remedy=f"give {self.frames} RGB frame(s) for each sample",
            )
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch or not height or not width:
            nearest = [max(1, round(side / self.patch)) * self.patch for side in (height, width)]
            raise ModelError(
                f"images of {height} x {width} pixels do not divide into patches",
                expected=f"sides that are multiples of {self.patch}",
                remedy=f"resize or crop to {nearest[0]} x {nearest[1]}",
            )


def build_segmenter(config: ModelConfig, num_classes: int, frames: int = 1, seed: int = 0) -> Segmenter:
    """Build a segmenter; what is random in it is a function of the seed, and the global generator stays untouched.

    Args:
        config: which network.
        num_classes: K >= 1.
        frames: 1 for segmentation, 2 for change detection.
        seed: of the random initialisation, where encoder, neck and decoder have streams of their own, and of what the
            layers draw in training.

    Raises:
        ModelError: unknown encoder, neck or decoder, impossible sizes, weights that cannot be had or do not fit, or a
            licence that was not accepted.
    """
    if num_classes < 1 or frames not in (1, 2):
        raise ModelError(
            f"a model of {num_classes} classes and {frames} frames cannot be built",
            expected="at least one class; 1 frame (segmentation) or 2 (change detection)",
            remedy="check the classes of the dataset",
        )
    encoder = configured_encoder(config, seed)
    with counted(seed, "init neck"):
        neck = build_neck(encoder, config)
    with counted(seed, "init decoder"):
        decoder = build_decoder(encoder, config, num_classes)
    return Segmenter(encoder, neck, decoder, config, num_classes, frames, seed)


def configured_encoder(config: ModelConfig, seed: int) -> Encoder:
    """Build the encoder of a network as `build_segmenter` does, random weights included.

    Raises:
        ModelError: as `build_encoder`.
    """
    with counted(seed, "init encoder"):
        return build_encoder(config.encoder, config.weights, config.license)


def load_model(directory: Path | str, device: torch.device | str = "cpu") -> tuple[Segmenter, ModelCard]:
    """Read a model directory; strict, and nothing in it is executed.

    Args:
        directory: what `save_model` wrote, the run directory around it, or a model of the hub, `hf:OWNER/NAME`.
        device: where the model goes.

    Returns:
        The model in evaluation mode and its card. The model's own `config.weights` is `random`: it is complete
        without the encoder's origin, which the card keeps.

    Raises:
        ModelError: a file is missing, malformed or does not fit.
    """
    directory = find_model(directory)
    card = read_card(directory)
    weights = directory / WEIGHTS
    refuse_other_weights(_announced(card), weights)
    segmenter = build_segmenter(network_of(card.model), len(card.classes), card.frames)
    load_strictly(segmenter, read_tensors(weights), where=weights)
    segmenter.card = card
    return segmenter.to(device).eval(), card


def _announced(card: ModelCard) -> dict[str, Tensor] | None:
    """Return the network's tensors without content; None for one that cannot be built so, of which all are small."""
    try:
        with torch.device("meta"):
            return build_segmenter(network_of(card.model), len(card.classes), card.frames).state_dict()
    except RuntimeError:  # MiT, of another library, looks at values while it is built
        return None
