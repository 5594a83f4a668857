"""Choices of one seed differ by their images alone, and are kept."""

from __future__ import annotations

from pathlib import Path

from benchmarks.suggest import RANDOM, SUGGEST, Experiment


def test_runs_of_a_seed_differ_by_their_split_alone(camvid_root: Path, tmp_path: Path) -> None:
    experiment = Experiment(root=camvid_root, out=tmp_path, budget=3, words=["--schedule.steps", "2"])
    samples = experiment.samples()
    assert len(samples) == 367
    one, other = experiment.run(RANDOM, 1, samples[:3]), experiment.run(SUGGEST, 1, samples[3:6])
    differing = {key for key in one.config["data"] if one.config["data"][key] != other.config["data"][key]}
    assert differing == {"split"}
    assert {key for key in one.config if one.config[key] != other.config[key]} == {"data", "run"}
    listed = (Path(one.config["data"]["split"]) / "labeled.txt").read_text().splitlines()
    assert len(listed) == 3
    assert all(line.split()[1].startswith("masks/") for line in listed)
    assert len(experiment.pool(samples[:3]).unlabeled) == 364
