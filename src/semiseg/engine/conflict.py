"""Whether labels and pseudo-labels pull the student the same way: the cosine of the gradients of their losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.engine.distributed import Processes
from semiseg.methods import StepResult

COSINE = "gradient_cosine"
"""The name of the measure among the logs."""
_NOTHING = 1e-5
"""A gradient that is so much smaller than another one is rounding: the two were computed in passes of their own."""


class Conflict:
    """Measures one step, beside its backward passes, whose gradients keep their bits.

    It takes a backward pass more for each chunk, through what the forward pass has kept, and memory for the gradients
    of the labeled loss.

    Args:
        student: whose gradients are compared.
        processes: whose gradients are added up.
    """

    def __init__(self, student: nn.Module, processes: Processes) -> None:
        self.processes = processes
        self.parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self._labeled: list[Tensor] = []

    def take(self, result: StepResult) -> None:
        """Take the gradient of the labeled part of a chunk's loss, before the backward pass of all of it."""
        if result.labeled is None:  # a step that learns from labels alone
            return
        found = torch.autograd.grad(
            result.labeled, self.parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        before = self._labeled or [torch.zeros_like(gradient) for gradient in found]
        self._labeled = [one + other for one, other in zip(before, found, strict=True)]

    def cosine(self) -> Tensor | None:
        """Return the cosine after the backward passes, a scalar on the device; None where there is only one loss.

        The other loss's gradient is what the labeled one's leaves of the whole. 0 where there is none.
        """
        if not self._labeled:
            return None
        labeled = self.processes.sum(torch.cat([gradient.flatten() for gradient in self._labeled]))
        whole = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in self.parameters])
        rest = whole - labeled
        of_labeled, of_rest = torch.linalg.vector_norm(labeled), torch.linalg.vector_norm(rest)
        is_one = torch.minimum(of_labeled, of_rest) <= _NOTHING * torch.maximum(of_labeled, of_rest)
        cosine: Tensor = labeled.dot(rest) / (of_labeled * of_rest)
        return cosine.masked_fill(is_one, 0.0)
