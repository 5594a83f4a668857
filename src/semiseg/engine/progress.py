"""How far, how fast, how long still: the numbers and lines of a run's progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from semiseg.published import PublishedCurve

if TYPE_CHECKING:
    from semiseg.engine.quality import Quality

_PAUSE = 30.0
"""Seconds between two lines of a ticker; what is done sooner says nothing."""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Ticker:
    """Says now and then how many things are done and how long the rest will take; called with both numbers."""

    def __init__(self, what: str, say: Callable[[str], object] = _to_stderr) -> None:
        """Start the clock.

        Args:
            what: what is counted, for example `images`.
            say: takes a line.
        """
        self.what, self.first, self._say = what, -1, say
        self.began = self.said = time.monotonic()

    def __call__(self, done: int, count: int) -> None:
        """Take the number done and the number of all; the first call says what was done before."""
        now = time.monotonic()
        if self.first < 0:
            self.first, self.began, self.said = done, now, now
        if now - self.said < _PAUSE or done == self.first:
            return
        left = (now - self.began) / (done - self.first) * (count - done)
        self._say(f"{done:,}/{count:,} {self.what}, {duration(left)} left")
        self.said = now


class Progress:
    """Measures the pace of a run. Pauses (evaluations) count for the time left, not for images per second."""

    def __init__(self, *, steps: int, per_epoch: int, images: int, done: int, score: str = "mIoU") -> None:
        """Start the clock.

        Args:
            steps: length of the run.
            per_epoch: steps of an epoch.
            images: images of a step, labeled and unlabeled, over all processes.
            done: steps done before, by a run that is resumed.
            score: what the figure is called that a model is judged by.
        """
        self.steps, self.per_epoch, self.images, self.score = steps, per_epoch, images, score
        self._began, self._first = time.monotonic(), done
        self._mark, self._marked, self._pause = self._began, done, 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out of the pace."""
        began = time.monotonic()
        yield
        self._pause += time.monotonic() - began

    def epoch(self, step: int) -> float:
        """Return the epochs done after a number of steps."""
        return step / self.per_epoch

    def pace(self, step: int) -> dict[str, float]:
        """Return how fast it went since the last call, which was for an earlier step, and the memory it took.

        These are `seconds_per_step`, `images_per_second`, and on a GPU `gpu_gb`: the most that tensors of this process
        have held since it began.
        """
        import torch  # not above: verbs that do without have a ticker, too

        now = time.monotonic()
        seconds = max(now - self._mark - self._pause, 1e-9) / (step - self._marked)
        self._mark, self._marked, self._pause = now, step, 0.0
        memory = {"gpu_gb": torch.cuda.max_memory_allocated() / 2**30} if torch.cuda.is_available() else {}
        return {"seconds_per_step": seconds, "images_per_second": self.images / seconds, **memory}

    def line(self, step: int, values: Mapping[str, float], best: float | None) -> str:
        """Return the progress line."""
        parts = ", ".join(f"{name.removeprefix('loss_')} {values[name]:.3f}" for name in values if "loss_" in name)
        words = [self._place(step), f"loss {values['loss']:.3f} ({parts})"]
        if "confident" in values:
            words.append(f"confident {values['confident']:.0%}")
        if "gradient_cosine" in values:
            words.append(f"gradients' cosine {values['gradient_cosine']:+.2f}")
        words += [f"lr {values['lr']:.2g}", f"{values['images_per_second']:.1f} images/s"]
        if "gpu_gb" in values:
            words.append(f"{values['gpu_gb']:.1f} GB")
        words.append(f"{duration(self._left(step))} left")
        if best is not None:
            words.append(f"best {self.score} {best:.1%}")
        return "  ".join(words)

    def verdict(self, step: int, figures: Mapping[str, float], best: float) -> str:
        """Return the line after an evaluation."""
        found = ", ".join(f"{name} {value:.2%}" for name, value in figures.items())
        return f"{self._place(step)}  {self.score} {found} (best {best:.2%})"

    def _place(self, step: int) -> str:
        epochs = -(-self.steps // self.per_epoch)
        return f"epoch {min(-(-step // self.per_epoch), epochs)}/{epochs}  step {step}/{self.steps}"

    def _left(self, step: int) -> float:
        elapsed = time.monotonic() - self._began
        return elapsed / max(step - self._first, 1) * (self.steps - step)


def against_published(curve: PublishedCurve, epoch: float, figures: Mapping[str, float]) -> str:
    """Return the line that says how far a run is from a published one after the same number of epochs.

    Args:
        curve: the published run.
        epoch: epochs done.
        figures: ours, by model; compared is the model that the published run was judged by.
    """
    ours, theirs = figures.get(curve.judged), curve.at(curve.judged, epoch)
    if ours is None:
        return f"published {curve.run}: no {curve.judged} here to compare its {curve.judged} with"
    if theirs is None:
        epochs = len(curve.values[curve.judged])
        return f"published {curve.run}: no figure at epoch {epoch:.4g}, only from 1 to {epochs}"
    return (
        f"published {curve.run} at epoch {epoch:.4g}: {curve.judged} {theirs:.2%}, ours {ours:.2%} "
        f"({100 * (ours - theirs):+.2f} points)"
    )


def trust(model: str, quality: Quality) -> str:
    """Return the line that says how far the confidence of the labeling model can be trusted on val images."""
    words = [
        f"{quality.kept:.0%} of val pixels at {quality.threshold:g} or more",
        f"{quality.kept_right:.1%} of those right",
        f"calibration error {quality.ece:.1%}",
    ]
    if quality.disagreement is not None:
        words.append(f"student says otherwise in {quality.disagreement:.1%}")
    return f"{model}: " + ", ".join(words)


def decline(model: str, loss: float, best_step: int, score: str) -> str:
    """Return the line that says that the last model is worse than the best one, and what to try.

    Args:
        model: which one.
        loss: by how much, as a fraction.
        best_step: when it was best.
        score: what it is judged by.
    """
    return (
        f"WARNING: the last {model} is {100 * loss:.1f} points of {score} below the best one, of step {best_step}, "
        f"which was kept: training went on for too long; try --schedule.steps {best_step}, a lower --optimizer.lr, or "
        "a lower --consistency.weight"
    )


def duration(seconds: float) -> str:
    """Return seconds as `1 h 12 m`, `3 m 20 s` or `41 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} m"
    return f"{minutes} m {rest:02d} s" if minutes else f"{rest} s"
