"""The semantic memory of AllSpark (arXiv 2403.01818, section 3.3): for each class a queue of channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.seeding import torch_rng


class SemanticMemory:
    """For each class the last D channels that were sorted to it, each a map of N places.

    Attributes:
        maps_KDN: the queues; slots that were not written yet hold normal noise, as published.
        next_K: the slot of each class that is written next, int64; then it is the oldest one.
    """

    def __init__(self, maps_KDN: Tensor, next_K: Tensor) -> None:
        self.maps_KDN, self.next_K = maps_KDN, next_K

    @classmethod
    def fresh(cls, classes: int, channels: int, places: int, seed: int, device: torch.device) -> SemanticMemory:
        """Return a memory of nothing but noise, a function of the seed.

        Args:
            classes: K.
            channels: D, the length of each queue.
            places: N.
            seed: the run's seed.
            device: where it is kept.
        """
        noise = torch.randn(classes, channels, places, generator=torch_rng(seed, "semantic memory"))
        return cls(noise.to(device), torch.zeros(classes, dtype=torch.int64, device=device))

    @torch.no_grad()
    def push(self, maps_BDN: Tensor, classes_BD: Tensor) -> None:
        """Put the channels of images into the queues of their classes, image by image, in the channels' order.

        Args:
            maps_BDN: the channels.
            classes_BD: the class of each, int64, 0 to K - 1.
        """
        classes, length = self.maps_KDN.shape[:2]
        for maps_DN, classes_D in zip(maps_BDN.to(self.maps_KDN.dtype), classes_BD, strict=True):
            member_DK = F.one_hot(classes_D, classes)
            # How many channels of the image go to the same class before this one; at most D - 1, so no slot is
            # written twice by one image.
            before_D = (member_DK.cumsum(0) - 1).gather(1, classes_D[:, None])[:, 0]
            self.maps_KDN[classes_D, (self.next_K[classes_D] + before_D) % length] = maps_DN
            self.next_K = (self.next_K + member_DK.sum(0)) % length

    def sources(self) -> Tensor:
        """Return the queues as K images of D channels: features (K, N, D), which labeled channels ask."""
        return self.maps_KDN.clone().transpose(1, 2)


def channel_classes(maps_BDN: Tensor, logits_BKHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sort channels to classes: the class whose predicted map is most like the channel's own map.

    As published, the prediction is the logits themselves (the paper speaks of probabilities), and alike is what has
    the largest cosine.

    Args:
        maps_BDN: channels at the N places of a grid.
        logits_BKHW: the prediction of the same images.
        grid: rows and columns of the N places.

    Returns:
        Classes (B, D), int64.
    """
    predicted_BKhw = F.interpolate(logits_BKHW.float(), grid, mode="bilinear", align_corners=False)
    predicted_BKN = F.normalize(predicted_BKhw.flatten(2), dim=-1)
    cosine_BKD = predicted_BKN @ F.normalize(maps_BDN.float(), dim=-1).transpose(1, 2)
    return cosine_BKD.argmax(dim=1)
