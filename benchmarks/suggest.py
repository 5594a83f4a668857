"""Choose training images of CamVid at random and by suggestion, train labeled-only on each choice, and compare.

    python -m benchmarks.suggest --data CAMVID [--budget 10] [--seeds 0 1 2] [--rules random suggest after] [--cores 0]

`random` draws other images for each seed. `suggest` is what `semiseg data suggest` chooses before there is a model, the
same for all seeds. `after` takes the first half of these, trains on them, and lets that model suggest the other half.
What is finished is kept below `--out` and not trained again; what was cut off goes on. Exit code 1 if a run failed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the cores are for the runs

import torch
from benchmarks.accuracy.plan import Dataset, Plan, Variant
from benchmarks.accuracy.runs import STEPS, Run, run_all
from benchmarks.accuracy.table import markdown, summary
from benchmarks.program import GOES_ON, run_program

from semiseg.config import to_dict
from semiseg.data import DataConfig, Sample, load_dataset
from semiseg.data.lists import write_list
from semiseg.files import write_text
from semiseg.seeding import rng
from semiseg.suggestion.choice import choose_from
from semiseg.suggestion.features import build, encoder_for
from semiseg.suggestion.pool import Pool
from semiseg.suggestion.uncertainty import load_models

RECIPE, NAME = "camvid-cpu", "camvid"
RANDOM, SUGGEST, AFTER, HALF = "random", "suggest", "after", "first_half"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared, and where everything of it is.

    Attributes:
        root: CamVid.
        out: folder of all.
        budget: labeled images of a run.
        words: overrides for all runs.
    """

    root: Path
    out: Path
    budget: int
    words: Sequence[str]

    def run(self, rule: str, seed: int, chosen: Sequence[Sample]) -> Run:
        """Return the labeled-only training on chosen images."""
        split = self.out / "choices" / f"{rule}-{len(chosen)}-seed{seed}"
        write_list(split / "labeled.txt", chosen, self.root)
        dataset = Dataset(
            name=NAME, recipe=RECIPE, root=self.root, words=self.words, test=self.root / "splits/test.txt"
        )
        variant = Variant(name=rule, words=["--method", "supervised", "--data.split", str(split)])
        plan = Plan(
            datasets={NAME: dataset},
            variants={rule: variant},
            reference=RANDOM,
            clock=RANDOM,
            seeds=[seed],
            evaluations=1,
        )
        config = to_dict(plan.config(dataset, variant, seed))
        config["run"] = {"folder": str(self.out / "runs" / NAME / rule), "name": f"seed{seed}"}
        return Run(dataset=dataset, variant=variant, budget=STEPS, seed=seed, config=config, out=self.out)

    def pool(self, labeled: Sequence[Sample]) -> Pool:
        """Return the training images, all but some of them unlabeled."""
        rest = [sample for sample in self.samples() if sample not in labeled]
        return Pool(spec=self._dataset().spec, root=self.root, labeled=labeled, unlabeled=rest)

    def samples(self) -> list[Sample]:
        """Return the 367 training images with their masks, in the order of their names."""
        return sorted(self._dataset().labeled, key=lambda sample: sample.id)

    def _dataset(self) -> Any:
        return load_dataset(DataConfig(root=str(self.root), spec=NAME, split="all"))


def main(words: Sequence[str] | None = None) -> int:
    """Choose, train, print the table; return the exit code."""
    options = _parser().parse_args(words)
    training = ["--data.crop", str(options.crop), "--schedule.steps", str(options.steps)]
    experiment = Experiment(
        root=options.data.absolute(), out=options.out.absolute(), budget=options.budget, words=training
    )
    torch.set_num_threads(1)
    suggested = _suggested(experiment)
    runs = [run for seed in options.seeds for run in _first_runs(experiment, suggested, seed, options.rules)]
    cores = [int(word) for word in options.cores.split(",")]
    failed = run_all(runs, cores)
    if AFTER in options.rules and not failed:
        half = suggested[: options.budget // 2]
        late = [experiment.run(AFTER, seed, [*half, *_after(experiment, half, seed)]) for seed in options.seeds]
        failed, runs = run_all(late, cores), runs + late
    results = [result for run in runs if run.variant.name != HALF and (result := run.found())]
    found = summary(results, RANDOM, RANDOM)
    print(markdown(found, RANDOM))
    if options.json:
        content = {"budget": options.budget, "choices": _choices(experiment.out), "table": found, "results": results}
        write_text(options.json, json.dumps(content, indent=1) + "\n")
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suggest", description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="CAMVID")
    parser.add_argument("--budget", type=int, default=10, help="labeled images of a run; default 10")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--rules", nargs="+", choices=(RANDOM, SUGGEST, AFTER), default=[RANDOM, SUGGEST])
    parser.add_argument("--steps", type=int, default=200, help="of a run; default 200")
    parser.add_argument("--crop", type=int, default=192, help="side of a crop; default 192")
    parser.add_argument("--cores", default="0", metavar="0,1", help="a run at a time on each; default: 0")
    parser.add_argument("--out", type=Path, default=Path("runs/suggest"), help="default: runs/suggest")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write choices and figures here")
    return parser


def _suggested(experiment: Experiment) -> list[Sample]:
    """Return what is suggested before there is a model; it is chosen once and kept, as images take long to encode."""
    kept = experiment.out / "choices" / f"{SUGGEST}-{experiment.budget}.json"
    samples = {sample.id: sample for sample in experiment.samples()}
    if not kept.is_file():
        device = torch.device("cpu")
        encoder = build(encoder_for(device, None, None, None), device)
        pool = experiment.pool(())
        choice = choose_from(pool, encoder, budget=experiment.budget, seed=0, max_pixels=10**8, progress=_say)
        ids = [sample.id for sample in choice.samples]
        write_text(kept, json.dumps({"images": ids, "said": choice.lines()}, indent=1) + "\n")
    found = json.loads(kept.read_text(encoding="utf-8"))
    print(*found["said"], sep="\n", flush=True)
    return [samples[name] for name in found["images"]]


def _first_runs(experiment: Experiment, suggested: Sequence[Sample], seed: int, rules: Sequence[str]) -> list[Run]:
    """Return the runs of a seed whose images are known before any training."""
    samples, count = experiment.samples(), experiment.budget
    drawn = rng(seed, "suggest benchmark").permutation(len(samples))[:count].tolist()
    chosen: Mapping[str, Sequence[Sample]] = {
        RANDOM: [samples[index] for index in sorted(drawn)],
        SUGGEST: suggested,
        AFTER: suggested[: count // 2],
    }
    return [experiment.run(HALF if rule == AFTER else rule, seed, chosen[rule]) for rule in rules]


def _after(experiment: Experiment, half: Sequence[Sample], seed: int) -> list[Sample]:
    """Return the other half of the budget, as the model that was trained on the first suggests it."""
    models = load_models(experiment.out / "runs" / NAME / HALF / f"seed{seed}", "cpu")
    choice = choose_from(
        experiment.pool(half),
        models.predictor.segmenter.encoder,
        models,
        budget=experiment.budget - len(half),
        seed=seed,
        max_pixels=10**8,
        progress=_say,
    )
    return list(choice.samples)


def _choices(out: Path) -> dict[str, list[str]]:
    lists = sorted((out / "choices").glob("*/labeled.txt"))
    return {path.parent.name: path.read_text(encoding="utf-8").splitlines() for path in lists}


def _say(done: int, count: int) -> None:
    if done % 80 == 0 or done == count:
        print(f"{done}/{count} images looked at", flush=True)


if __name__ == "__main__":
    run_program(main, GOES_ON)
