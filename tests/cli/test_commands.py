"""The commands end to end on real speech, and their error messages."""

import json
import os
import re
import subprocess
import sys

import pytest
import soundfile
import torch

import wavenet
from tests.conftest import PROMPTS, ROOT, TINY, duration
from wavenet.audio import read

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory, vctk):
    """A run on data in the VCTK layout, trained by the script."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *TINY, "dataset=vctk", f"dataset.root={vctk}"]
    result = subprocess.run(
        [*command, "run_dir=run", "logger=none"], cwd=folder, capture_output=True, text=True, timeout=200
    )
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_training_on_vctk_names_what_it_skipped_and_why(trained):
    folder, output = trained
    assert "skipped  7 recording(s)" in output
    for line in (
        "p280/p280_001: no recording of mic2; dataset.mic=mic1 has one",
        "p362/p362_004: there is a text, but no recording",
    ):
        assert line in output
    assert len((folder / "run" / "skipped.txt").read_text().splitlines()) == 7
    assert "vctk: 3 speaker(s)" in output
    assert "done     2 steps" in output


def test_the_checkpoint_generates_each_of_its_speakers(trained, run, in_tmp):
    generated = {}
    for speaker in ("p225", "p362", "s5"):
        output = run("generate", f"checkpoint={trained[0] / 'run'}", "seconds=0.05", f"speaker={speaker}", "seed=1")
        assert "out.wav: 0.05 s at 8000 Hz, peak" in output
        generated[speaker], rate = read("out.wav")
        assert (rate, len(generated[speaker])) == (8000, 400)
    with pytest.raises(AssertionError, match="exit 2") as error:
        run("generate", f"checkpoint={trained[0] / 'run'}", "speaker=p280")
    assert "wavenet generate: unknown speaker 'p280'; choose from p225, p362, s5" in str(error.value)


def test_python_generates_the_same_audio_as_the_command(trained, run, in_tmp):
    run("generate", f"checkpoint={trained[0] / 'run'}", "seconds=0.05", "speaker=s5", "seed=3", "temperature=0.9")
    model = wavenet.load(trained[0] / "run")
    generated = wavenet.generate(model, 0.05, speaker="s5", seed=3, temperature=0.9)
    torch.testing.assert_close(read("out.wav")[0], generated[0], rtol=0, atol=1 / 32767)


def test_a_batch_a_prompt_and_the_default_speaker(trained, run, in_tmp):
    prompt = PROMPTS / "june" / "june_001.flac"
    output = run(
        "generate", f"checkpoint={trained[0] / 'run'}", "num=3", "seconds=0.1", f"prompt={prompt}", "output=o/x.flac"
    )
    assert "speaker=p225 (none was given; the model has p225, p362, s5)" in output
    assert "x real time" in output and "generating (cpu)" in output
    assert sorted(os.listdir("o")) == ["x-0.flac", "x-1.flac", "x-2.flac"]
    assert all(duration(in_tmp / "o" / name) == 0.1 for name in os.listdir("o"))


def test_lengths_threads_and_weights(trained, run, in_tmp):
    checkpoint = f"checkpoint={trained[0] / 'run'}"
    run("generate", checkpoint, "speaker=s5", "num=2", "seconds=[0.05,0.1]", "threads=2", "weights=int8")
    assert (duration(in_tmp / "out-0.wav"), duration(in_tmp / "out-1.wav")) == (0.05, 0.1)
    model = wavenet.load(trained[0] / "run")
    generated = wavenet.generate(model, 0.1, speaker="s5", seed=1, weights="int8")
    torch.testing.assert_close(read("out-1.wav")[0], generated[0], rtol=0, atol=1 / 32767)
    with pytest.raises(AssertionError, match=r"seconds has 3 lengths; it must be one number, or 2 for num=2"):
        run("generate", checkpoint, "speaker=s5", "num=2", "seconds=[1,2,3]")


def test_generation_without_numba(trained, run, in_tmp, monkeypatch):
    monkeypatch.setitem(sys.modules, "wavenet.native.instructions", None)
    output = run("generate", f"checkpoint={trained[0] / 'run'}", "speaker=s5", "seconds=0.02")
    assert "generating with the slower backend 'reference', because cpu: numba cannot be used here" in output
    assert "generating (reference)" in output


def test_a_saved_model_and_a_checkpoint_file_serve_as_well(trained, run, in_tmp):
    model = wavenet.load(trained[0] / "run" / "checkpoints" / "best.ckpt")
    wavenet.save(model, "saved")
    run("generate", "checkpoint=saved", "seconds=0.02", "speaker=s5", "output=a.wav")
    run("generate", f"checkpoint={trained[0] / 'run' / 'checkpoints' / 'best.ckpt'}", "seconds=0.02", "speaker=s5")
    assert (in_tmp / "a.wav").read_bytes() == (in_tmp / "out.wav").read_bytes()


def test_evaluation_of_the_runs_own_held_out_utterances(trained, run, in_tmp):
    output = run("evaluate", f"checkpoint={trained[0] / 'run'}", "output=scores.json")
    scores = json.loads((in_tmp / "scores.json").read_text())
    assert scores["dataset"] == "vctk"
    assert set(scores["bits_per_sample"]) == {"p225", "p362", "s5", "all"}
    every = scores["bits_per_sample"].pop("all")
    assert every["samples"] == sum(s["samples"] for s in scores["bits_per_sample"].values())
    assert every["utterances"] == 3
    assert 4 < every["value"] < 9
    assert every["value"] + 2 < every["as_16_bit"] < 16.5  # a mu-law class has 6 to 800 levels
    assert f" {every['value']:.4f}   {every['as_16_bit']:.4f} " in output
    saved = torch.load(trained[0] / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert 4 < saved["callbacks"]["BestCheckpoint"]["best"] < 9


def test_evaluation_of_narrower_weights(trained, run, in_tmp):
    scores = {}
    for weights in ("float32", "int8"):
        run(
            "evaluate",
            f"checkpoint={trained[0] / 'run'}",
            "output=scores.json",
            f"weights={weights}",
            "long_term.utterances=0",
        )
        written = json.loads((in_tmp / "scores.json").read_text())
        assert written["weights"] == weights
        scores[weights] = written["bits_per_sample"]["all"]["value"]
    assert 0 < abs(scores["int8"] - scores["float32"]) < 0.1
    with pytest.raises(AssertionError, match="weights is 'int3'; it must be float32, float16, bfloat16 or int8"):
        run("evaluate", f"checkpoint={trained[0] / 'run'}", "weights=int3")


def test_evaluation_on_another_dataset(trained, run, in_tmp, vctk):
    folder = vctk / "VCTK-Corpus-0.92" / "wav48_silence_trimmed"
    run(
        "evaluate", f"checkpoint={trained[0] / 'run' / 'checkpoints' / 'last.ckpt'}", "dataset=vctk",
        f"dataset.root={folder.parent}", "dataset.mic=mic2", "validation_fraction=0.7", "output=s.json",
    )  # fmt: skip
    assert json.loads((in_tmp / "s.json").read_text())["bits_per_sample"]["all"]["utterances"] == 6


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        ("train", ["dataset=vctk", "dataset.root=nowhere"], "nowhere: no VCTK-Corpus-0.92 .* dataset.download=true"),
        ("train", ["dataset=vctk", "dataset.mic=mic3"], "dataset.mic is 'mic3'"),
        ("train", ["dataset=folder"], "dataset=folder needs the folder: dataset.root=PATH"),
        ("train", ["resume=nowhere"], "resume=nowhere: nowhere does not exist"),
        ("train", ["model.gate_channels=3"], "model.gate_channels is 3; it must be an even number"),
        ("train", ["model.kernel_size=0"], "kernel_size is 0"),
        ("train", ["optimizer.lr=-1"], "optimizer.lr is -1"),
        pytest.param(
            "train",
            ["trainer=gpu"],
            "trainer.accelerator is 'gpu', but torch sees no GPU here; use trainer=cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        ("train", ["trainer.precision=7"], "trainer.precision is 7; it must be 32-true, bf16-mixed or 16-mixed"),
        ("train", ["batch_size=0"], "batch_size is 0"),
        ("train", ["segment_length=0"], "segment_length is 0"),
        ("train", ["ema_decay=1.5"], "ema_decay is 1.5"),
        ("train", ["validation_fraction=2"], "validation_fraction is 2"),
        ("generate", ["checkpoint=nowhere"], "nowhere: no such checkpoint"),
        ("evaluate", [], "checkpoint is not given; give checkpoint=VALUE"),
        ("evaluate", ["checkpoint=nowhere"], "nowhere: no such checkpoint"),
    ],
)
def test_mistakes_end_in_one_line(run, in_tmp, command, overrides, message):
    with pytest.raises(AssertionError) as error:
        run(command, *overrides)
    text = str(error.value)
    assert text.startswith("exit 2")
    line = [line for line in text.splitlines() if line.startswith(f"wavenet {command}: ")]
    assert len(line) == 1
    assert re.search(message, line[0])
    assert "Traceback" not in text
    assert sorted(os.listdir()) in ([], ["cache"])  # no partial files are left


def test_generation_mistakes(trained, run, in_tmp):
    checkpoint = f"checkpoint={trained[0] / 'run'}"
    (in_tmp / "bad.wav").write_bytes(b"no audio")
    for override, message in (
        ("seconds=0", "seconds is 0"),
        ("temperature=-1", "temperature is -1"),
        ("prompt=bad.wav", "bad.wav: not readable as audio"),
        ("output=x.abc", "'.abc' is not an audio format"),
        ("backend=abacus", "backend is 'abacus'"),
        ("threads=0", "threads is 0"),
        ("weights=int3", "weights is 'int3'"),
        ("seconds=inf", "seconds is inf; it must be a number above 0"),
        ("seconds=long", "seconds is 'long'; it must be a number above 0"),
        ("threads=two", "threads is 'two'; it must be a whole number from 1"),
        ("device=abacus", "device=abacus: not available here"),
    ):
        with pytest.raises(AssertionError, match="exit 2") as error:
            run("generate", checkpoint, "speaker=s5", "seconds=0.02", override)
        assert message in str(error.value)
    assert os.listdir() == ["bad.wav"]


def test_an_untrusted_run_config_is_refused(trained, run, in_tmp):
    untrusted = in_tmp / "untrusted"
    (untrusted / "checkpoints").mkdir(parents=True)
    for name in ("best.ckpt", "last.ckpt"):
        (untrusted / "checkpoints" / name).write_bytes((trained[0] / "run" / "checkpoints" / name).read_bytes())
    config = (trained[0] / "run" / "config.yaml").read_text()
    for change in (
        config.replace("wavenet.data.vctk.VCTK", "os.system"),
        config.replace("wavenet.data.vctk.VCTK", "wavenet.data.vctk.os.system"),
        config.replace("logger: {}", "logger:\n  _target_: builtins.eval"),
        config.replace("  mic: mic2", "  mic: ${oc.env:HOME}"),
        config.replace("  mic: mic2", "  _partial_: true"),
    ):
        assert change != config
        (untrusted / "config.yaml").write_text(change)
        for command in (("evaluate", "checkpoint=untrusted"), ("train", "resume=untrusted")):
            with pytest.raises(
                AssertionError, match=r"exit 2[\s\S]*untrusted/config.yaml: .*(refused|must not contain references)"
            ):
                run(*command)


def test_the_console_command(in_tmp):
    console = [sys.executable, "-c", "from wavenet_audio import main; main()"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts" / "launcher")])

    def call(*arguments):
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run([*console, *arguments], env=environment, capture_output=True, text=True, timeout=120)

    usage = call()
    assert usage.returncode == 2 and usage.stderr == call("--help").stdout
    assert "\n  train        Train a model, or continue a run.\n" in usage.stderr
    assert max(map(len, usage.stderr.splitlines())) <= 80
    assert "'fly' is not a command\n" in call("fly").stderr
    assert "'tain' is not a command; did you mean 'wavenet train'?" in call("tain").stderr
    assert "'export' is not a command; did you mean 'wavenet export onnx'?" in call("export").stderr
    assert call("--version").stdout == f"wavenet {wavenet.__version__}\n"
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    trained = call("train", *TINY, "run_dir=r", "logger=none", *ddp)
    assert trained.returncode == 0, trained.stderr
    assert "2 x cpu" in trained.stdout
    generated = call("generate", "checkpoint=r", "seconds=0.02", "speaker=june", "backend=reference")
    assert generated.returncode == 0, generated.stderr
    assert soundfile.info("out.wav").frames == 160


@pytest.mark.parametrize(
    ("given", "count"), [({}, "3000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_openmps_threads_soon_sleep_unless_the_user_decides(given, count):
    code = "import wavenet.cli, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    others = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=others | given, capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == [count, "False"]
