"""Between two lines of the log nothing of a training step waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, Self

import pytest
import torch
from students import student_words
from torch import Tensor
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from semiseg.api import opened_task, recipe_config
from semiseg.config import Config
from semiseg.data import Batch
from semiseg.engine.distributed import Processes
from semiseg.engine.guard import Guard
from semiseg.engine.schedule import build_optimizer
from semiseg.engine.state import RunState, first_state
from semiseg.engine.task import Task
from semiseg.engine.training import train_step, wrap
from semiseg.methods import METHODS

META = torch.device("meta")
aten = torch.ops.aten


class Waits(TorchDispatchMode):
    """Notes the operations for which the host would wait, if the tensors that lie nowhere lay on a GPU.

    Reading a value of such a tensor is an error of torch's own already.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.calls = _Calls(self.found)

    def __enter__(self) -> Self:
        """Begin to look."""
        self.calls.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Look no more."""
        super().__exit__(*error)
        self.calls.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the operation and do it."""
        kwargs = kwargs or {}
        if self._waits(func.overloadpacket, args, kwargs):
            self.found.append(str(func))
        return func(*args, **kwargs)

    @staticmethod
    def _waits(func: Any, args: Any, kwargs: Any) -> bool:
        if func is aten._to_copy:
            devices = {kwargs.get("device") or args[0].device, args[0].device}
            return len(devices) > 1 and META in devices and not kwargs.get("non_blocking")
        if func is aten.copy_:
            waits = len(args) < 3 or not args[2]
            return waits and len({args[0].device, args[1].device}) > 1
        if not args or not isinstance(args[0], Tensor) or args[0].device != META:
            return False
        by_truth = func in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        return by_truth or func in (aten._local_scalar_dense, aten.nonzero, aten.masked_select)


class _Calls(TorchFunctionMode):
    """Notes the calls that copy a number of the host to the device and wait for it."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the call and do it."""
        kwargs = kwargs or {}
        new = func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == META
        new = new or (func is Tensor.new_tensor and args[0].device == META)
        chosen = func in (torch.where, Tensor.where) and any(
            isinstance(value, int | float) for value in (*args, *kwargs.values())
        )
        if new or (chosen and args[0].device == META):
            self.found.append(str(func))
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    "code",
    [
        lambda x: torch.where(x > 0, x, 1.0),
        lambda x: x.where(x > 0, 1),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor(1.0, device=x.device),
        lambda x: torch.ones(2).to(x.device),
        lambda x: x.index_put_((torch.zeros_like(x, dtype=torch.bool),), x),
        lambda x: x.item(),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: bool(x.isfinite().all()),
    ],
)
def test_what_waits_is_noticed(code: Callable[[Tensor], object]) -> None:
    with Waits() as waits:
        try:
            code(torch.zeros(1, device=META))
        except (RuntimeError, NotImplementedError):
            return
    assert waits.found


@dataclass
class Steps:
    """A training of a few steps by hand."""

    task: Task
    state: RunState
    guard: Guard
    batches: Iterator[Batch]

    @classmethod
    def of(cls, task: Task) -> Steps:
        batches = cycle([task.stream[index] for index in range(2)])
        state = first_state(task)
        return cls(task, state, Guard(state.student, state.optimizer, task.method, task.processes), batches)

    def take(self) -> None:
        train_step(self.task, self.state, wrap(self.state.student, self.task.processes), self.guard, self.batches)


CASES = [*METHODS, "unimatch_v2 --loss.labeled ohem", "unimatch_v2 --consistency.warm_up 1"]
ON_GPUS = [
    *(*CASES, "unimatch_v2 --schedule.per_device 1", "unimatch_v1 --consistency.teacher ema"),
    "semivl --semivl.confidence image",
]


@contextmanager
def opened(case: str, words: Callable[..., list[str]], *more: str) -> Iterator[tuple[Config, Task]]:
    """Open a tiny training of a method and its settings."""
    method, *own = case.split()
    folder, *rest = words("x", *student_words(method), *own, *more)
    config = recipe_config(folder, rest)
    with opened_task(config) as (task, _):
        yield config, task


def nowhere(config: Config, task: Task) -> Task:
    """Return the task with all its tensors on a device without memory."""
    student, method = task.student.to(META), task.method
    context = replace(method.context, device=META, normalize=student.normalize)
    return replace(
        task,
        student=student,
        method=type(method)(method.config, method.shared, context),
        optimizer=build_optimizer(student, config.optimizer, 1.0),
        processes=Processes(0, 1, META),
    )


@pytest.mark.parametrize("case", CASES)
def test_no_step_waits_for_the_device(
    case: str, tiny_words: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device where no value can be read, and where what the host copies is noted."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["meta"])
    with opened(case, tiny_words) as (config, task):
        steps = Steps.of(nowhere(config, task))
        steps.take()  # the first one makes what all of them need
        with Waits() as waits:
            steps.take()
    assert not waits.found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", ON_GPUS)
def test_no_step_waits_for_a_gpu(case: str, precision: str, tiny_words: Callable[..., list[str]]) -> None:
    with opened(case, tiny_words, "--device", "cuda", "--precision", precision) as (_, task):
        steps = Steps.of(task)
        for _ in range(3):  # kernels are loaded, and the optimizer gets its state
            steps.take()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                steps.take()
        finally:
            torch.cuda.set_sync_debug_mode("default")
