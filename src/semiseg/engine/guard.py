"""A step that is not finite leaves no trace: not in the weights, the optimizer, the average or the method's memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from semiseg.engine.distributed import Processes
from semiseg.methods import Method

PATIENCE = 10
"""Steps in a row that may be skipped before the run is stopped: chance does not do that."""


class Guard:
    """Judges each step on the device and skips the bad ones, in all processes alike, without waiting for the device.

    The average of the student may take another step towards it then: the student is what it was.

    Attributes:
        in_a_row: how many steps were skipped last without a good one between, on the device.
        samples: ids of the samples of the last step in this process.

    Args:
        student: whose gradients are judged and whose batch norms are kept.
        optimizer: a fused one, which can be told on the device to leave everything as it is.
        method: whose memory is kept.
        processes: the judges.
    """

    def __init__(
        self, student: nn.Module, optimizer: torch.optim.Optimizer, method: Method[Any], processes: Processes
    ) -> None:
        self.optimizer, self.method, self.processes = optimizer, method, processes
        self.parameters = list(student.parameters())  # a part of them may learn later only
        norms = [module for module in student.modules() if isinstance(module, _NormBase)]
        self.statistics = [buffer for norm in norms for buffer in norm.buffers()]
        self.in_a_row = torch.zeros((), device=processes.device)
        self.samples: tuple[str, ...] = ()

    def remember(self) -> None:
        """Keep what a forward pass changes, before it."""
        self._before = [buffer.clone() for buffer in self.statistics]
        self._memory = {name: tensor.clone() for name, tensor in self.method.state().items()}

    def judge(self, loss: Tensor, samples: tuple[str, ...]) -> Tensor:
        """Return whether the step is bad: a loss or a gradient that is not finite, in any process; bool, on the device.

        Args:
            loss: of this process.
            samples: ids of the step's samples in this process, for the message.
        """
        norms = torch._foreach_norm([p.grad for p in self.parameters if p.grad is not None])
        finite = torch.stack([loss.detach().float(), *(norm.float() for norm in norms)]).isfinite().all()
        bad = self.processes.sum((~finite).float()) > 0
        self.in_a_row = (self.in_a_row + 1) * bad
        self.samples = samples
        return bad

    def step(self, bad: Tensor) -> None:
        """Let the optimizer step, or, of a bad step, put back what its forward pass changed."""
        # What torch's gradient scaler tells a fused optimizer, for the same purpose: skip this step. Its kernels want
        # float32 whatever the precision of the weights.
        self.optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(self.statistics, self._before, strict=True):
            buffer.copy_(torch.where(bad, before, buffer))
        if self._memory:
            now = self.method.state()
            self.method.restore({name: torch.where(bad, self._memory[name], now[name]) for name in now})
