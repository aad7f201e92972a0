"""`wavenet evaluate` in parts: the same scores for any number of processes, completed after a stop."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from tests.data.ramps import ramps
from tests.training.test_clusters import free_port, outputs, started, tasks
from wavenet.cli import scoring
from wavenet.cli.launched import Share
from wavenet.cli.scoring import PartialScores
from wavenet.evaluation import score_batches, score_each

SETTINGS = ["checkpoint=babble", "dataset=folder", "dataset.speakers_from_folders=true"]
SETTINGS += ["validation_fraction=1", "output=scores.json"]
SETTINGS += ["speed.seconds=0", "sounds.seconds=0", "long_term.utterances=0"]


def scores(path="scores.json"):
    return json.loads(Path(path).read_text())["bits_per_sample"]


@pytest.mark.slow
def test_two_tasks_report_what_one_process_does(run, in_tmp):
    for number in range(5):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 1000 + 700 * number)
        path = Path("recordings", ("allison", "june")[number % 2], f"{number}.wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 8000)
    settings = [*SETTINGS, f"dataset.root={in_tmp / 'recordings'}", f"preparation.cache_dir={in_tmp / 'cache'}"]
    run("evaluate", *settings)
    expected = scores()
    assert expected["all"]["utterances"] == 5
    os.remove("scores.json")
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), *settings]
    folders = [in_tmp, in_tmp / "other"]  # which the machines do not share
    folders[1].mkdir()
    with started(command, tasks(free_port()), folders) as processes:
        first, second = outputs(processes, [0, 0])
    assert "written to scores.json" in first
    assert "written to" not in second
    assert os.listdir("other") == []
    assert scores() == expected
    assert sorted(os.listdir()) == ["cache", "other", "recordings", "scores.html", "scores.json"]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_was_scored_before_a_stop_is_not_scored_again(small, tmp_path, monkeypatch, batch_size):
    corpus = dataclasses.replace(ramps(tmp_path, (50, 300, 1000, 20, 700)), sample_rate=2000)
    model, folder, calls = small(), tmp_path / "out.parts", []

    def counted(model, corpus, batches):
        for batch, scores in zip(batches, score_batches(model, corpus, batches), strict=True):
            if len(calls) == 1:
                raise KeyboardInterrupt
            calls.append(batch.tolist())
            yield scores

    monkeypatch.setattr(scoring, "score_batches", counted)
    parts = PartialScores(folder, Share(launched=True), "processes", batch_size)
    with pytest.raises(KeyboardInterrupt):
        parts.score_each(model, corpus)
    (kept,) = folder.iterdir()
    with kept.open("ab") as file:  # killed within a line
        file.write(b"[1, 0.")
    again, ticks = [], []

    def listed(model, corpus, batches):
        again.extend(batch.tolist() for batch in batches)
        return score_batches(model, corpus, batches)

    monkeypatch.setattr(scoring, "score_batches", listed)
    assert parts.score_each(model, corpus, lambda: ticks.append(1)) == score_each(model, corpus, None, batch_size)
    assert len(ticks) == 5
    assert sorted(number for batch in calls + again for number in batch) == [0, 1, 2, 3, 4]
    other = small(skip_channels=12)  # whose scores are its own
    assert parts.score_each(other, corpus) == score_each(other, corpus, None, batch_size)
    parts.remove()
    assert not folder.exists()
