"""One process or many: torchrun's environment, and no difference for the code above."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from semiseg.engine import loopback
from semiseg.errors import ConfigError, RunError
from semiseg.models import Segmenter

T = TypeVar("T")

TIMEOUT_VARIABLE, _TIMEOUT = "SEMISEG_TIMEOUT", 600
"""The environment's word for the seconds that a process waits for the others before it gives them up, and its default:
longer than the main process takes to write the largest checkpoint to a slow disk."""

_LOST = re.compile(r"gloo/transport.* by peer")  # a plain RuntimeError, which nothing but its words tells from others


@dataclass(frozen=True)
class Processes:
    """This process among the training processes.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
        device: where this process computes.
        neighbours: how many of them share this machine, this one included.
    """

    rank: int
    count: int
    device: torch.device
    neighbours: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over all processes; the argument stays as it is."""
        if self.count == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> Tensor:
        """Concatenate a tensor, of one shape in all processes, along its first dimension, in the order of ranks."""
        if self.count == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def gather_texts(self, text: str) -> list[str]:
        """Return the texts of all processes, in the order of ranks; over the CPU, so that no GPU is waited for."""
        mine_N = torch.frombuffer(bytearray(text.encode() + b"\0"), dtype=torch.uint8)
        lengths = self.gather(torch.tensor([len(mine_N)])).tolist()
        rows = self.gather(nn.functional.pad(mine_N, (0, max(lengths) - len(mine_N)))[None]).numpy()
        return [row[: length - 1].tobytes().decode() for row, length in zip(rows, lengths, strict=True)]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def largest(self, number: int) -> int:
        """Return the largest of the numbers of all processes; over the CPU, so that no GPU is waited for."""
        if self.count == 1:
            return number
        tensor = torch.tensor(number)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def agreed(self, work: Callable[[], T]) -> T:
        """Let each process do its part, in which it may not wait for others; if one fails, all fail.

        Raises:
            Exception: what `work` raises here.
            RunError: it raised something elsewhere.
        """
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failure = error
        failed = self.largest(self.rank + 1 if failure else 0)
        if failure is not None:
            raise failure
        if failed:
            raise RunError(f"process {failed - 1} could not go on", remedy="see its message")
        return result

    def by_main(self, work: Callable[[], object]) -> None:
        """Let the main process do what one process does for all; the others wait, and fail if it does."""
        self.agreed(lambda: work() if self.is_main else None)


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device; `auto` takes a GPU where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise ConfigError(
            f"unknown device {name!r}", where="device", expected="auto, cpu, cuda or cuda:N", remedy="name one of these"
        )
    device = torch.device(name)
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise ConfigError("no GPU found", where=f"device {name}", remedy="pass --device cpu, or run `semiseg doctor`")
    index = local_rank if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise ConfigError(
            f"GPU {index} wanted, {torch.cuda.device_count()} found",
            where=f"device {name}",
            remedy="name another one, or start no more processes than there are GPUs",
        )
    return torch.device("cuda", index)


def launched() -> tuple[int, int]:
    """Return the rank of this process and the count of those that a launcher has started, joined or not."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def speaks_for_all() -> bool:
    """Whether this process is the main one of those that a launcher has started, also after they have parted."""
    return launched()[0] == 0


def own_device(name: str) -> torch.device:
    """Return the device of this process: with several on a machine, each takes the GPU of its local rank.

    Raises:
        ConfigError: no such device here, or one GPU named for several processes.
    """
    _, count = launched()
    if count > 1 and ":" in name:
        raise ConfigError(
            f"one GPU for {count} processes", where=f"device {name}", remedy="pass --device cuda, or leave it out"
        )
    return choose_device(name, int(os.environ.get("LOCAL_RANK", "0")))


@contextlib.contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one; leave them at the end.

    Who fails leaves without farewell, so that the others notice at once; who hangs is given up after ten minutes, or
    the seconds that the environment's `SEMISEG_TIMEOUT` names. Processes of one machine talk on its loopback interface
    alone; see `semiseg.engine.loopback`.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`; with several processes, each takes the GPU of its local rank.

    Raises:
        ConfigError: no such device here, one GPU named for several processes, or a timeout that is no number.
        RunError: another process ended amid something that all of them do together (of Gloo alone: what NCCL says then
            may also be a fault of this process, so it is left as it is).
    """
    (rank, count), chosen = launched(), own_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if count > 1:
        # Gloo beside NCCL, for numbers that need not wait for a GPU (`largest`).
        backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_timeout(), **loopback.meeting_place(rank, count, _timeout()))
    try:
        yield Processes(rank, count, chosen, neighbours=int(os.environ.get("LOCAL_WORLD_SIZE", count)))
    except BaseException as error:
        if dist.group.WORLD is not None:  # an orderly farewell would wait for what the others may never join
            dist.group.WORLD.abort()
        if _LOST.search(str(error)):
            raise RunError(
                "another process of this training has ended",
                where=f"seen by process {rank} of {count}",
                remedy="see its message; the run continues with --resume",
            ) from error
        raise
    if count > 1:
        dist.destroy_process_group()


def _timeout() -> timedelta:
    text = os.environ.get(TIMEOUT_VARIABLE, str(_TIMEOUT))
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise ConfigError(
            f"no number of seconds: {text!r}",
            where=f"the environment's {TIMEOUT_VARIABLE}",
            expected="1 to 999999",
            remedy="correct it",
        )
    return timedelta(seconds=int(text))


def share_batch_norm(model: Segmenter, processes: Processes) -> Segmenter:
    """Let batch norm, where a model has it, take its statistics over the samples of all processes, as published.

    Raises:
        ConfigError: torch can do that on GPUs only.
    """
    has_batch_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    if processes.count == 1 or not has_batch_norm:
        return model
    if processes.device.type == "cpu":
        raise ConfigError(
            f"{model.config.encoder} has batch norm, which {processes.count} processes cannot share on a CPU",
            where="model.encoder",
            remedy="train in one process, on GPUs, or with an encoder without batch norm",
        )
    shared: Segmenter = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return shared
