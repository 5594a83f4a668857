"""The neck of AllSpark (arXiv 2403.01818, sections 3.2 and 3.4): the channels of the deepest level ask other channels.

In attention over channels a channel is a token, and its map of N places is the token's content. No weight has the size
of that map, so the neck takes images of any size; in training the memory of the method holds maps of the crop's size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.models.config import ModelConfig
from semiseg.models.encoders import Encoder
from semiseg.models.necks.base import Neck

HEADS = 2
DROPPED = 0.1
"""Share of attention weights, and of outputs, that training drops."""

Sources = Callable[[Tensor], Tensor]
"""What labeled channels ask: given the unlabeled features (B, N, D), the features of S sources (S, N, D)."""


class ChannelAttention(nn.Module):
    """Attention between the channels of two feature maps.

    Each head makes D channels of the D given ones, by a linear map at each place. The similarities of all pairs of
    channels are normalised to mean 0 and variance 1 before the softmax.

    Args:
        width: channels D.
        joint: whether the channels of all heads look at one another, as published for labeled channels; else each head
            keeps to itself, as published for unlabeled ones.
    """

    def __init__(self, width: int, *, joint: bool) -> None:
        super().__init__()
        self.groups = 1 if joint else HEADS
        self.query = nn.Linear(width, width * HEADS, bias=False)
        self.key = nn.Linear(width, width * HEADS, bias=False)
        self.value = nn.Linear(width, width * HEADS, bias=False)
        self.out = nn.Linear(width * HEADS, width, bias=False)
        self.drop_weights, self.drop_out = nn.Dropout(DROPPED), nn.Dropout(DROPPED)

    def forward(self, asking_BND: Tensor, asked_ASND: Tensor) -> Tensor:
        """Let the channels of each image ask the channels of all its sources.

        Args:
            asking_BND: features of B images at N places.
            asked_ASND: features of S sources at the same places, for each image (A = B), or for all (A = 1).

        Returns:
            Features of the shape of `asking_BND`.
        """
        query_BGMN = self._channels(self.query(asking_BND[:, None]))
        key_AGLN, value_AGLN = self._channels(self.key(asked_ASND)), self._channels(self.value(asked_ASND))
        similar_BGML = query_BGMN @ key_AGLN.transpose(-2, -1)
        weight_BGML = self.drop_weights(F.instance_norm(similar_BGML.float()).softmax(dim=-1))
        seen_BGMN = weight_BGML.to(value_AGLN.dtype) @ value_AGLN
        # The published order of the outputs: channel by channel the groups, not group by group the channels.
        out_BND: Tensor = self.drop_out(self.out(seen_BGMN.permute(0, 3, 2, 1).flatten(2)))
        return out_BND

    def _channels(self, features_ASNC: Tensor) -> Tensor:
        """Turn (A, S, N, heads x D) into the channels of all sources in G groups, (A, G, S x heads x D / G, N)."""
        channels_AGSCN: Tensor = features_ASNC.unflatten(-1, (self.groups, -1)).permute(0, 3, 1, 4, 2)
        return channels_AGSCN.flatten(2, 3)


class AllSpark(Neck):
    """Channel attention on the deepest level; the other levels pass.

    Labeled channels go through `cross`, asking unlabeled ones; unlabeled channels go through `own`, asking themselves.
    At test time an image goes through `cross` and asks itself.

    Args:
        width: channels D of the deepest level.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, width, kernel_size=1)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.own = ChannelAttention(width, joint=False)
        self.cross = ChannelAttention(width, joint=True)
        self.leave_norm = nn.LayerNorm(width, eps=1e-6)
        self.leave = nn.Conv2d(width, width, kernel_size=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, levels_BDHW: list[Tensor]) -> list[Tensor]:
        """Let each image ask itself, as at test time."""
        return self._attend(levels_BDHW, lambda x_BND: self.cross(x_BND, x_BND[:, None]))

    def together(self, levels_BDHW: list[Tensor]) -> list[Tensor]:
        """Let each image ask all images of the batch, as published for making pseudo-labels."""
        return self._attend(levels_BDHW, lambda x_BND: self.cross(x_BND, x_BND[None]))

    def learn(self, levels_BDHW: list[Tensor], labeled: int, sources: Sources) -> list[Tensor]:
        """Change the levels as in training.

        Args:
            levels_BDHW: of a batch of labeled images, then unlabeled ones.
            labeled: how many are labeled.
            sources: what the labeled channels ask.
        """

        def attend(x_BND: Tensor) -> Tensor:
            labeled_BND, unlabeled_BND = x_BND[:labeled], x_BND[labeled:]
            asked_SND = sources(unlabeled_BND)
            asking = self.cross(labeled_BND, asked_SND[None])
            return torch.cat((asking, self.own(unlabeled_BND, unlabeled_BND[:, None])))

        return self._attend(levels_BDHW, attend)

    def _attend(self, levels_BDHW: list[Tensor], attend: Callable[[Tensor], Tensor]) -> list[Tensor]:
        *others, deepest_BDHW = levels_BDHW
        entered_BDHW = F.gelu(self.enter(deepest_BDHW))
        x_BND = entered_BDHW.flatten(2).transpose(1, 2)
        x_BND = self.leave_norm(attend(self.norm(x_BND)) + x_BND)
        left_BDHW = x_BND.transpose(1, 2).unflatten(2, deepest_BDHW.shape[2:])
        return [*others, F.gelu(self.leave(left_BDHW))]


def build_allspark(encoder: Encoder, config: ModelConfig) -> AllSpark:
    """Build the neck of AllSpark for an encoder; it has no settings."""
    return AllSpark(encoder.widths[3])
