"""Preparation, generation and scoring by Ray; and the three commands of the guide, against stand-ins for a cluster."""

import json
import logging
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from scripts.benchmarks import engines
from tests.conftest import ROOT, TINY
from tests.data.test_remote_shards import served
from tests.training.test_clusters import free_port, outputs, started
from wavenet.audio import LogMel
from wavenet.data import DatasetError
from wavenet.data.folder import Folder
from wavenet.data.on_ray import run_on_ray
from wavenet.data.shards import prepare_shards

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray")
GUIDE = (ROOT / "data" / "guide" / "clusters.md").read_text()
(BLOCK,) = re.findall(r"## Three commands.*?```\n(.*?)```", GUIDE, re.DOTALL)
PREPARE = ("scripts/prepare", "model", "dataset", "output")  # what prepare takes of the settings of training
LAUNCHERS = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with two workers, for all tests; returns its address."""
    started = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield started.address_info["gcs_address"]
    ray.shutdown()


@pytest.mark.slow
def test_what_cannot_be_written_is_named_and_then_the_same_bytes_are(speech, tmp_path, cluster):
    dataset, settings = Folder(speech, speakers_from_folders=True), {"shard_megabytes": 0.15, "progress": False}
    features = [LogMel(8000, n_fft=256, hop_length=64, n_mels=10)]
    folders = [tmp_path / "processes", tmp_path / "ray"]
    prepare_shards(dataset, 8000, folders[0], features, **settings)
    (folders[1] / "shard-00001.arrow").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"shard-00001\.arrow: Is a directory"):
        prepare_shards(dataset, 8000, folders[1], features, **settings, engine="ray")
    (folders[1] / "shard-00001.arrow").rmdir()
    prepare_shards(dataset, 8000, folders[1], features, **settings, engine="ray")
    ours, theirs = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert len(ours) > 5
    assert ours == theirs


def test_ray_that_does_not_start_is_named(monkeypatch):
    def fail(**settings):
        raise Exception("The current node timed out during startup.")  # as Ray itself raises it

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(DatasetError, match="^work: Ray on this machine: The current node timed out during startup"):
        list(run_on_ray(str, [1], "work", progress=False))


@pytest.mark.slow
def test_a_manifest_s_files_have_the_same_bytes(run, in_tmp, cluster):
    Path("list.csv").write_text("id,speaker,seconds\na,june,0.05\nb,carlo,0.03\nc,june,0.05\n")
    for output, *engine in (("whole",), ("by_ray", "engine=ray")):
        run("generate", "checkpoint=babble", "manifest=list.csv", f"output={output}", "batch_size=2", *engine)
    ours, theirs = (
        {path.name: path.read_bytes() for path in Path(name).glob("*.[wc]*")} for name in ("whole", "by_ray")
    )
    assert ours.keys() == {"a.wav", "b.wav", "c.wav", "generated.csv"}
    assert ours == theirs


@pytest.mark.slow
def test_the_benchmark_of_engines(in_tmp, cluster):
    rows = engines.benchmark_engines(9)
    own = {"prepare": "processes", "score": "threads"}
    assert [(row.task, row.engine) for row in rows] == [
        (task, engine) for task, name in own.items() for engine in (name, name, "ray")
    ]
    for first, *others in (rows[:3], rows[3:]):
        assert first.workers == 1 and first.ratio == 1
        assert all(row.ratio == pytest.approx(row.rate / first.rate) for row in others)
        assert all(len(engines.line(row)) == len(engines.HEADER.splitlines()[0]) for row in (first, *others))


@pytest.fixture
def commands(speech):
    """The commands, with a small network, other recordings, and places of this machine."""
    port, found = free_port(), []
    given = {
        "experiment=paper": [*TINY, "logger=none", "samples.final_seconds=0"],
        "dataset=libritts": ["dataset=folder", "dataset.speakers_from_folders=true"],
        "dataset.root=DATA": [f"dataset.root={speech}"],
        "--nproc-per-node=8": ["--nproc-per-node=1"],
        "--rdzv-endpoint=HOST:29500": [f"--rdzv-endpoint=127.0.0.1:{port}"],
        "trainer=ddp": [],
        "engine=ray": ["engine=ray", "sounds.seconds=0", "long_term.utterances=0", "speed.seconds=0"],
    }
    for line in BLOCK.replace("\\\n", " ").replace("BUCKET", "corpora").strip().splitlines():
        launcher, *words = shlex.split(line)
        words = [each for word in words for each in given.get(word, [word])]
        if words[0] == "scripts/prepare.py":
            words = [word for word in words if word.split("=")[0].split(".")[0] in PREPARE]
        if "trainer=ddp" in line:
            words += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
        found.append(
            [*LAUNCHERS[launcher], *(str(ROOT / word) if word.startswith("scripts/") else word for word in words)]
        )
    return found


@pytest.mark.slow
def test_a_corpus_is_prepared_into_a_bucket_trained_on_by_two_machines_and_scored_by_ray(in_tmp, commands, cluster):
    prepare, train, evaluate = commands
    with served("corpora") as variables:
        environment = variables | {"RAY_ADDRESS": cluster}
        with started(prepare, [environment], [in_tmp]) as processes:
            (text,) = outputs(processes, [0])
        assert "train    wavenet train dataset=shards dataset.root=s3://corpora/libritts" in text
        machines = [in_tmp / "first", in_tmp / "second"]  # which share nothing but the bucket
        for machine in machines:
            machine.mkdir()
        caches = [environment | {"WAVENET_CACHE": str(machine / "cache")} for machine in machines]
        with started(train, caches, machines) as agents:
            texts = "".join(outputs(agents, [0, 0]))
        assert "on 2 x cpu" in texts and "done     2 steps" in texts
        (run,) = Path().glob("*/runs/NAME")
        scores = []
        for engine in ([], ["engine=processes"]):
            with started([*evaluate, *engine], caches[:1], [run.parents[1]]) as processes:
                outputs(processes, [0])
            scores.append(json.loads((run / "evaluation.json").read_text())["bits_per_sample"])
            os.remove(run / "evaluation.json")
        assert scores[0] == scores[1] and scores[0]["all"]["utterances"] > 2
