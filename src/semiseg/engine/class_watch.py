"""Who watches over the pseudo-labels of a training, and warns once of what goes wrong."""

from __future__ import annotations

from semiseg.engine.class_windows import ClassWindow, read_windows, window_is_full
from semiseg.engine.collapse import Alarm, alarms
from semiseg.engine.meter import Meter
from semiseg.engine.runlog import RunLog
from semiseg.engine.task import Task
from semiseg.methods.class_shares import LABELED


class ClassWatch:
    """Writes down the shares of the classes, and says aloud what they mean where that is bad.

    Args:
        task: the training.
        log: its voice; in a resumed run it has dropped the windows that will come again.
    """

    def __init__(self, task: Task, log: RunLog) -> None:
        self.task, self.log = task, log
        self.classes = task.evaluator.spec.classes
        self.windows = read_windows(task.directory.pseudo_labels)[1] if task.processes.is_main else []
        self.said = {alarm.kind for alarm in self._alarms()}

    def look(self, step: int, meter: Meter) -> None:
        """Write down a window if enough steps have been seen; all processes must call."""
        steps = self.task.stream.steps
        if not meter.sums or not window_is_full(meter.steps, steps, last=step == steps):
            return
        shares = meter.read(self.task.processes)
        if LABELED not in shares:  # no pseudo-labels, or every step was skipped
            return
        window = ClassWindow.of(step, shares)
        self.windows.append(window)
        self.log.classes(window, self.classes)
        for alarm in self._alarms():
            if alarm.kind not in self.said:
                self.said.add(alarm.kind)
                self.log.say(f"WARNING at step {step}: {alarm.text}; {alarm.advice}")

    def _alarms(self) -> list[Alarm]:
        return alarms(self.windows, self.classes, self.task.stream.steps)
