"""Dense guidance of SemiVL (arXiv 2311.16241, sec. 3.4): a CLIP that never learns labels images by texts alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.errors import ConfigError
from semiseg.methods.context import Context
from semiseg.methods.labels import PseudoLabel
from semiseg.models import Encoder, configured_encoder, embed_concepts

TEMPERATURE = 100.0
"""What similarities are multiplied by before the softmax (published; CLIP's own)."""


class Guide:
    """A frozen CLIP and the texts of classes (MaskCLIP, arXiv 2112.01071).

    Args:
        encoder: gives as its last level features of unit length in the space of texts.
        texts: of each class one or more texts (n, C), of any length; a class is as likely as the likeliest of them.
    """

    def __init__(self, encoder: Encoder, texts: Sequence[Tensor]) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.sizes = [len(texts_NC) for texts_NC in texts]
        self.texts_NC = F.normalize(torch.cat(list(texts)), dim=1)

    @torch.no_grad()
    def label(self, images_BTCHW: Tensor, ignore_BHW: Tensor) -> PseudoLabel:
        """Label normalised images of one frame; no place is in doubt but by its confidence, or ignored."""
        images_BCHW = images_BTCHW.flatten(0, 1)
        features_BChw = self.encoder.deepest(images_BCHW).float()
        # In float32: the classes differ by little in their similarities, and these are multiplied by 100.
        with torch.autocast(images_BCHW.device.type, enabled=False):
            likeness_BNhw = torch.einsum("bchw,nc->bnhw", features_BChw, self.texts_NC)
            classes = [part.amax(dim=1) for part in likeness_BNhw.split(self.sizes, dim=1)]
            size = (images_BCHW.shape[2], images_BCHW.shape[3])
            likeness_BKHW = F.interpolate(torch.stack(classes, dim=1), size=size, mode="bilinear")
            confidence_BHW, label_BHW = (TEMPERATURE * likeness_BKHW).softmax(dim=1).max(dim=1)
        return PseudoLabel(label_BHW, confidence_BHW, ignore_BHW)


def build_guide(context: Context) -> Guide:
    """Build the guide of a run: the student's encoder as it was before it learned, and what the data set's classes are.

    Raises:
        ConfigError: the encoder's features cannot be compared with texts.
        ModelError: weights or text embeddings that cannot be had.
    """
    encoder = configured_encoder(context.model, context.seed)
    if encoder.texts is None:
        raise ConfigError(
            f"{context.model.encoder} cannot guide: its features cannot be compared with texts",
            where="model.encoder",
            expected="clip_base_text or clip_base_text_resnet",
            remedy="set --model.encoder to one of these, or --semivl.guidance 0",
        )
    texts = embed_concepts(list(context.spec.definitions.values()), encoder, context.model, context.seed)
    device = context.device
    return Guide(encoder.to(device), [texts_NC.to(device) for texts_NC in texts])
