"""The command line: each verb is a thin call of a public function."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from semiseg import __version__
from semiseg.errors import ConfigError, RunStopped, SemisegError, closest
from semiseg.printable import printable

_USAGE = f"""semiseg {__version__}: train segmentation models from few labels and many unlabeled images

  semiseg demo                          see it work on drawn scenes, in minutes, on a CPU
  semiseg plan RECIPE|CONFIG|FOLDER     how long, how much memory, with which settings, before you train
  semiseg train RECIPE|CONFIG|FOLDER    train; overrides as --key value (semiseg train -h)
  semiseg distill RUN --encoder NAME    a smaller (or other) student of a trained model, by its labels
  semiseg evaluate MODEL                mIoU, class by class, of a saved model on its val images
  semiseg predict MODEL IMAGES --out DIR   masks for a file, a folder or a list, of any size; pairs with --second
  semiseg export MODEL --out FILE.onnx  a model that runs without this package, checked against it
  semiseg push MODEL OWNER/NAME         send a model to the Hugging Face hub
  semiseg app RUN                       look at it in your browser: drop a picture, compare, judge pseudo-labels
  semiseg report RUN                    write RUN/report.html again
  semiseg compare RUN RUN ...           who won, by how much, and what each sees, on one page
  semiseg recipes [NAME]                list the recipes and what their published runs reached, or print one
  semiseg data check|import|...         is it sound; labels of other tools, videos, original releases, splits
  semiseg convert SOURCE OUT            a published checkpoint into a model, and back
  semiseg slurm RECIPE                  write a submit script for a cluster
  semiseg fetch RECIPE                  fetch lists and weights for a machine without a network
  semiseg doctor                        what this machine can do
  semiseg completion bash|zsh|fish      a script that lets your shell complete all of this

Every verb has -h, and --json FILE writes its result for scripts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0: done; 1: `data check` found faults; 2: bad input or a file that cannot be written, with one readable message;
        130: interrupted; 141: who read our output has stopped reading, as `head` does; 143: a training was told to end,
        and can be resumed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _print_names_as_they_are()
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
        return 141
    return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    try:
        if words[0] not in VERBS:
            raise ConfigError(f"unknown verb {words[0]!r}{closest(words[0], VERBS)}", remedy="see `semiseg -h`")
        VERBS[words[0]](words[1:])
    except RunStopped as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except SemisegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        remedy = "check that the path exists, may be written and has room"
        where = f"\n  where:    {printable(str(error.filename))}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}\n  remedy:   {remedy}", file=sys.stderr)
        return 2
    except SystemExit as ended:  # argparse, after -h
        return int(ended.code or 0)
    except KeyboardInterrupt:
        resumes = "; the run continues with --resume" if words[0] == "train" else ""
        print(f"interrupted{resumes}", file=sys.stderr)
        return 130
    return 0


def _print_names_as_they_are() -> None:
    """Let a file name that is not UTF-8 reach standard output as the bytes it is, not end the program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def _verb(name: str) -> Callable[[list[str]], None]:
    """Return a verb, which is imported when it is called: help need not wait for what it does not show."""

    def run(words: list[str]) -> None:
        getattr(import_module(_HOMES[name]), f"{name}_verb")(words)

    return run


def _completion(words: list[str]) -> None:
    from semiseg.cli.completion import completion_verb
    from semiseg.cli.data import DATA_VERBS

    completion_verb(words, VERBS, DATA_VERBS)


_HOMES = {
    "demo": "semiseg.cli.training",
    "plan": "semiseg.cli.training",
    "train": "semiseg.cli.training",
    "distill": "semiseg.cli.training",
    "evaluate": "semiseg.cli.models",
    "predict": "semiseg.cli.models",
    "export": "semiseg.cli.models",
    "push": "semiseg.cli.models",
    "app": "semiseg.cli.app",
    "report": "semiseg.cli.models",
    "compare": "semiseg.cli.models",
    "recipes": "semiseg.cli.recipes",
    "data": "semiseg.cli.data",
    "convert": "semiseg.cli.models",
    "slurm": "semiseg.cli.training",
    "fetch": "semiseg.cli.training",
    "doctor": "semiseg.cli.training",
}
VERBS = {name: _verb(name) for name in _HOMES} | {"completion": _completion}
