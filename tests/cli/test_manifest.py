"""Many utterances from a table: each as if alone, in any number of parts, completed after a stop; one table for all."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import wavenet
from tests.conftest import PROMPTS, ROOT
from tests.training.test_clusters import outputs, started, tasks

ROWS = ["id,speaker,seconds,seed", "a,june,0.05,7", "b,carlo,0.03,", "c,,0.05,8", 'd-1,"june",0.02,9']
SETTINGS = ["checkpoint=babble", "manifest=list.csv", "output=out", "speaker=allison", "seed=100", "batch_size=2"]
COMMAND = [sys.executable, str(ROOT / "scripts" / "generate.py"), *SETTINGS]


@pytest.fixture
def listed(in_tmp):
    Path("list.csv").write_text("\n".join(ROWS) + "\n")
    return in_tmp


def write_rows(count, seconds):
    rows = [f"u{number},june,{seconds},{number}" for number in range(count)]
    Path("list.csv").write_text("\n".join(["id,speaker,seconds,seed", *rows]) + "\n")


def contents(folder="out"):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def test_each_utterance_is_what_it_would_be_alone(run, listed):
    assert "written to out/generated.csv: 4 utterances" in run("generate", *SETTINGS)
    model = wavenet.load("babble")
    wanted = {"a": ("june", 0.05, 7), "b": ("carlo", 0.03, 101), "c": ("allison", 0.05, 8), "d-1": ("june", 0.02, 9)}
    with open("out/generated.csv", newline="") as file:
        table = {row["id"]: row for row in csv.DictReader(file)}
    assert list(table) == list(wanted)
    for name, (speaker, seconds, seed) in wanted.items():
        audio, _ = soundfile.read(f"out/{name}.wav", dtype="float32")
        alone = wavenet.generate(model, seconds, speaker=speaker, seed=seed)[0].numpy()
        np.testing.assert_allclose(audio, alone, atol=0.51 / 32768)
        row = table[name]
        assert (row["file"], float(row["seconds"]), int(row["seed"])) == (f"{name}.wav", seconds, seed)
        assert float(row["peak"]) == pytest.approx(np.abs(audio).max(), abs=1e-6)
        assert float(row["rms"]) == pytest.approx(np.sqrt(np.mean(audio.astype(np.float64) ** 2)), abs=1e-6)


def test_batches_and_stops_do_not_change_a_byte(run, listed):
    run("generate", *SETTINGS)
    run("generate", *SETTINGS, "output=other", "batch_size=3")
    assert contents("other") == contents()
    lines = Path("out/.parts/00000.jsonl").read_bytes().splitlines(keepends=True)
    Path("out/.parts/00000.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:9])  # killed within a line
    os.remove("out/generated.csv")
    Path("out/.killed.partial").write_text("half")
    os.utime("out/.killed.partial", (1, 1))
    before = contents("other")
    assert "out: 2 utterance(s) generated, 2 were there" in run("generate", *SETTINGS)
    assert contents() == before
    Path("out/.of_another_process.partial").write_text("half")
    os.utime("out/.of_another_process.partial", (time.time() + 100,) * 2)  # which is writing the same table now
    assert "out: 0 utterance(s) generated, 4 were there" in run("generate", *SETTINGS)
    assert contents() == before | {".of_another_process.partial": b"half"}


def test_a_folder_of_another_request_is_not_mixed_with_it(run, listed):
    run("generate", *SETTINGS)
    before = contents()
    for change in ("temperature=0.9", "seed=101", "checkpoint=vocoder"):
        with pytest.raises(AssertionError, match=r"exit 2[\s\S]*(which holds utterances of another|mel_from|seconds)"):
            run("generate", *SETTINGS, change)
    assert contents() == before
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    with pytest.raises(
        AssertionError, match=r"exit 2[\s\S]*output is 'full', which holds other files, such as notes.txt"
    ):
        run("generate", *SETTINGS, "output=full")


def test_a_vocoder_takes_files_in_the_table_s_folder(run, in_tmp):
    model = wavenet.load("vocoder")
    (features,) = model.features
    recording = PROMPTS / "june" / "june_001.flac"
    samples = wavenet.audio.read(recording, model.sample_rate)[0][:800]
    Path("lists").mkdir()
    np.save("lists/mel.npy", features.extract(samples, recording).numpy())
    soundfile.write("lists/cut.wav", samples.numpy(), model.sample_rate, "FLOAT")
    Path("lists/list.csv").write_text("id,mel,mel_from,seed\na,mel.npy,,3\nb,,cut.wav,3\n")
    run("generate", "checkpoint=vocoder", "manifest=lists/list.csv", "output=out")
    from_mel, from_recording = (soundfile.read(f"out/{name}.wav")[0] for name in "ab")
    assert len(from_mel) == 832  # whole frames
    assert len(from_recording) == 800
    assert np.array_equal(from_mel[:800], from_recording)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (["id,speker", "a,june"], [], r"list.csv, line 1: the column 'speker' is unknown, or there twice; the"),
        (["name", "a"], [], r"line 1: the column 'name' is unknown"),
        (["speaker", "june"], [], "line 1: one column must be 'id'"),
        (["id,speaker", "a,nobody"], [], r"list.csv, line 2: speaker is 'nobody'; the model has allison, carlo,"),
        (["id,seconds", "a,long"], [], "line 2: seconds is long, and seed 100; give a number and a whole number"),
        (["id,seconds", "a,-1"], [], "line 2: seconds must be a number above 0"),
        (["id,seconds,seed", "a,1,-3"], [], "line 2: seconds must be .* and seed a whole number from 0 to"),
        (["id,seconds", "a,1", "a,1"], [], r"line 3: the id 'a' is on line 2, too"),
        (["id,seconds", "../a,1"], [], r"line 2: the id is '../a'; give letters"),
        (["id,seconds", "a"], [], "line 2: 1 values for 2 columns"),
        (["id", "a"], [], "line 2: seconds is missing; give it there, or seconds=2 for all"),
        (["id,seconds"], [], "has no rows"),
        (["id,seconds", "a,1"], ["num=2"], "num is 2; a manifest's rows give their own, so leave num out"),
        (["id,seconds", "a,1"], ["seed=[1,2]"], r"seed is \[1, 2\]; with a manifest it is one value"),
        (["id,seconds", "a,1"], ["output=out.wav"], "output is 'out.wav'; with a manifest it is a folder"),
        (["id,seconds", "a,1"], ["manifest=nowhere.csv"], "manifest=nowhere.csv: cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_generated_is_named_before_any_is(run, in_tmp, rows, settings, message):
    Path("list.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(AssertionError, match=rf"exit 2[\s\S]*wavenet generate: [\s\S]*{message}"):
        run("generate", *SETTINGS, *settings)
    assert not Path("out").exists()


@pytest.mark.slow
def test_processes_share_the_rows_and_one_that_was_killed_is_made_up_for(run, listed):
    """Three tasks of srun; then one of them was killed, and its rows are left to a single process."""
    write_rows(30, seconds=0.05)
    run("generate", *SETTINGS, "output=whole")
    with started(COMMAND, tasks(0, 3), [listed] * 3) as processes:
        texts = outputs(processes, [0, 0, 0])
    assert "written to out/generated.csv: 30 utterances" in "".join(texts)
    assert sum(text.count("out: 10 utterance(s) generated, 0 were there already") for text in texts) >= 1
    assert contents() == contents("whole")
    os.remove("out/generated.csv")
    os.remove("out/.parts/00002.jsonl")  # as if the third had been killed before its first batch
    assert "out: 10 utterance(s) generated, 20 were there already" in run("generate", *SETTINGS)
    assert contents() == contents("whole")


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_a_batch_at_most(run, listed):
    write_rows(12, seconds=1)
    run("generate", *SETTINGS, "output=whole")
    done = Path("out/.parts/00000.jsonl")
    with subprocess.Popen(COMMAND, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not done.is_file() or not done.read_bytes().count(b"\n"):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = [json.loads(line)["id"] for line in done.read_bytes().split(b"\n")[:-1]]
    output = run("generate", *SETTINGS)
    assert f"{len(kept)} were there" in output
    assert contents() == contents("whole")
