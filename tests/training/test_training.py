"""Training through the command, on real speech."""

import csv
import math
import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import wavenet
from tests.conftest import ROOT, TINY
from tests.contract import verify_streaming
from wavenet.training import (
    CPUNetwork,
    DivergenceMonitor,
    ExponentialMovingAverage,
    WaveNetTraining,
    flush_denormal_numbers,
    keep_freed_memory,
)
from wavenet.training.schedules import lr_factor

pytestmark = pytest.mark.slow

FOUR_STEPS = [*TINY, "trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1"]


def weights(path):
    return torch.load(path, weights_only=True)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def shown_by_tensorboard(run, tab):
    """Return the entries of a tab on the server, which has only the first of two with the same name."""
    events = EventMultiplexer().AddRunsFromDirectory(run).Reload()
    found = MultiplexerDataProvider(events, run).list_blob_sequences(
        RequestContext(), experiment_id="", plugin_name=tab
    )
    return set(found.get("tensorboard", {}))


def test_files_and_logs_of_a_run(run, in_tmp, speech):
    output = run(
        "train", *FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true",
        "run_dir=here", "preparation.trim_db=30",
    )  # fmt: skip
    assert "3 layers" in output and "receptive field 8 samples (1 ms), 8 bits" in output
    assert "folder: 3 speaker(s)" in output and "9 utterances for training" in output and "3 held out" in output
    assert "% of the recordings' time" in output
    assert "bits per sample on held-out utterances" in output
    assert sorted(os.listdir("here")) == ["audio", "checkpoints", "config.yaml", "tensorboard"]
    assert sorted(os.listdir("here/checkpoints")) == ["best.ckpt", "last.ckpt"]
    wavs = [f"{s}-{kind}.wav" for s in ("allison", "carlo", "june") for kind in ("generated", "real")]
    for step in ("step-0000002", "step-0000004"):
        assert sorted(os.listdir(f"here/audio/{step}")) == wavs
    config = (in_tmp / "here" / "config.yaml").read_text()
    assert "allison" in config and "${" not in config

    events = EventAccumulator("here/tensorboard")
    events.Reload()
    tags = events.Tags()
    wanted = {"train/bits_per_sample", "validation/bits_per_sample", "samples_per_second"}
    assert wanted <= set(tags["scalars"])
    assert {"learning_rate", "train/gradient_norm"} <= set(tags["scalars"])
    assert all(0 < event.value < 1000 for event in events.Scalars("train/gradient_norm"))
    assert OmegaConf.load("here/tensorboard/hparams.yaml")["model.residual_channels"] == 8
    session = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    assert session.session_start_info.hparams["model.distribution._target_"].string_value.endswith("MuLawCategorical")
    sounds = {w.removesuffix(".wav").replace("-", "/") for w in wavs}
    assert shown_by_tensorboard("here", "audio") == {f"{sound}/audio" for sound in sounds}
    assert shown_by_tensorboard("here", "images") == {f"{sound}/spectrogram" for sound in sounds}
    assert [e.step for e in events.Scalars("validation/bits_per_sample")] == [2, 4]
    assert [e.step for e in events.Scalars("train/bits_per_sample")] == [1, 2, 3, 4]


PARTS = ("global_step", "state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")


def logged(folder):
    """Return what a run logged, except its speed."""
    with open(f"{folder}/csv/metrics.csv", newline="") as file:
        return [{k: v for k, v in line.items() if k != "samples_per_second"} for line in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, speech):
    """An uninterrupted run of six steps with two validations, and its settings."""
    folder = tmp_path_factory.mktemp("whole")
    settings = [
        *TINY, "trainer.max_steps=6", "trainer.val_check_interval=4", "save_every_n_steps=3", "logger=csv",
        "trainer.log_every_n_steps=1", "dataset=folder", f"dataset.root={speech}",
        "model.conditioners.speaker.dropout=0.5", f"preparation.cache_dir={folder}/cache",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *settings, f"run_dir={folder}/run"]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return folder / "run", settings


@pytest.mark.parametrize(
    ("hook", "step", "saved", "workers"),
    [
        ("on_train_batch_end", 2, None, 0),
        ("on_train_batch_end", 5, 4, 0),
        ("on_train_batch_end", 3, 3, 2),
        ("on_validation_end", 4, 4, 0),
        ("on_validation_end", 6, 6, 0),
        ("on_train_end", 6, 6, 0),
    ],
)
def test_an_interrupted_run_ends_with_the_same_weights_and_log(run, in_tmp, whole, hook, step, saved, workers):
    """Bit for bit, wherever it stopped: before the first save, after a save, in a validation, in the last one."""
    from wavenet.training import checkpointing

    original = getattr(checkpointing.LastCheckpoint, hook)

    def then_cut(self, trainer, *rest):
        if hook == "on_train_batch_end":
            original(self, trainer, *rest)
        if trainer.global_step == step:
            raise SystemExit("power cut")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError, match="power cut"):
        patch.setattr(checkpointing.LastCheckpoint, hook, then_cut)
        run("train", *whole[1], "run_dir=cut", f"num_workers={workers}")
    last = in_tmp / "cut" / "checkpoints" / "last.ckpt"
    assert (weights(last)["global_step"] if last.exists() else None) == saved
    for folder in [path for path in (in_tmp / "cut").rglob("*") if path.is_dir()] + [in_tmp / "cut"]:
        (folder / ".left_by_a_killed_process.partial").touch()
    assert "done     6 steps" in run("train", "resume=cut")
    assert list((in_tmp / "cut").rglob(".*")) == []
    for name in ("last", "best"):
        expected, resumed = (weights(folder / "checkpoints" / f"{name}.ckpt") for folder in (whole[0], in_tmp / "cut"))
        for part in PARTS:
            assert same(expected[part], resumed[part]), part
        assert not same(expected["state_dict"], expected["current_model_state"])  # the average is not the last step
    assert logged("cut") == logged(whole[0])
    assert [line["step"] for line in logged("cut") if line["validation/bits_per_sample"]] == ["4", "6"]
    assert sorted(os.listdir("cut/checkpoints")) == ["best.ckpt", "last.ckpt"]


def test_resuming_with_other_settings_and_a_finished_run(run, in_tmp, speech):
    run("train", *FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "run_dir=r", "logger=none")
    assert "done     4 steps" in run("train", "resume=r")
    output = run("train", "resume=r/checkpoints/last.ckpt", "trainer.max_steps=6", "optimizer.lr=1e-4")
    assert "from     step 4\n" in output and "done     6 steps" in output
    contents = weights("r/checkpoints/last.ckpt")
    assert contents["global_step"] == 6
    assert contents["lr_schedulers"][0]["base_lrs"] == [1e-4] * 4  # the groups of SOAP
    config = (in_tmp / "r" / "config.yaml").read_bytes()
    with pytest.raises(AssertionError, match=r"max_steps is 5, but \S+last.ckpt is from step 6; give a larger number"):
        run("train", "resume=r", "trainer.max_steps=5")
    assert (in_tmp / "r" / "config.yaml").read_bytes() == config
    for override in ("experiment=vctk", "model=paper", "model.num_cycles=2"):
        with pytest.raises(AssertionError, match=f"exit 2[\\s\\S]*{override}: resume goes on with the run's own model"):
            run("train", "resume=r", override)
    with open("r/checkpoints/last.ckpt", "r+b") as file:
        file.truncate(1000)
    best = in_tmp / "r" / "checkpoints" / "best.ckpt"
    instead = rf"(; resume from best\.ckpt beside it|continue from the best validation, with resume={best})"
    damaged = r"exit 2[\s\S]*last.ckpt: not a checkpoint that can be loaded safely"
    with pytest.raises(AssertionError, match=rf"{damaged}.*{instead}"):
        run("train", "resume=r")
    (in_tmp / "r" / "checkpoints" / "last.ckpt").unlink()
    kept = best.read_bytes()
    with pytest.raises(AssertionError, match=rf"exit 2[\s\S]*last.ckpt does not exist; {instead}"):
        run("train", "resume=r")
    assert best.read_bytes() == kept
    assert "done     7 steps" in run("train", f"resume={best}", "trainer.max_steps=7")
    (in_tmp / "r" / "checkpoints" / "last.ckpt").unlink()
    best.unlink()
    with pytest.raises(AssertionError, match=r"last.ckpt does not exist, but \S+audio has audio of an earlier"):
        run("train", "resume=r")


def test_a_run_resumed_with_other_settings_takes_every_segment_once(run, in_tmp, speech, monkeypatch):
    """Also from a checkpoint of an earlier version, which does not keep how many were used."""
    used = []
    original = WaveNetTraining.training_step

    def recorded(self, batch, *rest):
        used.extend(batch["segment"].tolist())
        return original(self, batch, *rest)

    monkeypatch.setattr(WaveNetTraining, "training_step", recorded)
    run(
        "train", *TINY, "trainer.max_steps=3", "dataset=folder", f"dataset.root={speech}", "run_dir=r", "logger=none",
        "batch_size=3",
    )  # fmt: skip
    run("train", "resume=r", "trainer.max_steps=5", "batch_size=2", "trainer.accumulate_grad_batches=2")
    last = in_tmp / "r" / "checkpoints" / "last.ckpt"
    contents = weights(last)
    assert contents.pop("SegmentData") == {"segments": len(used)}
    assert used == list(range(len(used)))
    del used[:]
    torch.save(contents, last)
    run("train", "resume=r", "trainer.max_steps=6", "batch_size=1")
    assert used == [20, 21]  # after five steps of two batches of two


def test_the_fastest_implementation_is_chosen(run, in_tmp, speech, monkeypatch):
    """Silently, unless something is missing; the trained weights are the same."""
    settings = [*FOUR_STEPS, "optimizer=adamw", "dataset=folder", f"dataset.root={speech}", "logger=none"]
    calls = []
    log_prob = CPUNetwork.log_prob
    monkeypatch.setattr(CPUNetwork, "log_prob", lambda *args: (calls.append(1), log_prob(*args))[1])
    run("train", *settings, "run_dir=native")
    assert len(calls) == 1 + 4  # the comparison with the PyTorch network, and the steps
    run("train", *settings, "run_dir=narrow", "trainer.precision=bf16-mixed")
    assert len(calls) == 1 + 4
    monkeypatch.setattr(CPUNetwork, "unsupported_reason", lambda model: "numba cannot be used here")
    with pytest.warns(UserWarning, match="several times as long as it could: numba cannot be used here"):
        run("train", *settings, "run_dir=plain")
    assert len(calls) == 1 + 4
    native, plain = (weights(f"{name}/checkpoints/last.ckpt")["state_dict"] for name in ("native", "plain"))
    for name, weight in plain.items():
        torch.testing.assert_close(native[name], weight, rtol=1e-3, atol=1e-4)


def test_two_processes_learn_the_same_as_one(run, in_tmp, speech):
    """Two processes with two segments each take the steps of one process with four."""
    settings = [
        *FOUR_STEPS, "optimizer=adamw", "dataset=folder", f"dataset.root={speech}",
        "dataset.speakers_from_folders=true", "logger=none",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *settings, "trainer=ddp", "trainer.accelerator=cpu"]
    command += ["trainer.devices=2", "trainer.precision=32-true", "run_dir=two"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 x cpu" in result.stdout
    assert sorted(os.listdir("two/checkpoints")) == ["best.ckpt", "last.ckpt"]
    assert not os.path.exists("runs")

    run("train", *settings, "batch_size=4", "run_dir=one")
    one, two = (
        weights("one/checkpoints/last.ckpt")["current_model_state"],
        weights("two/checkpoints/last.ckpt")["current_model_state"],
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5)

    resumed = subprocess.run(
        [*command[:2], "resume=two", "trainer.max_steps=5"], capture_output=True, text=True, timeout=200
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "done     5 steps" in resumed.stdout
    alone = [*command[:2], "resume=two", "trainer.max_steps=6", "trainer.devices=1"]
    subprocess.run(alone, capture_output=True, timeout=200, check=True)
    saved = torch.load("two/checkpoints/last.ckpt", weights_only=True)
    assert saved["SegmentData"] == {"segments": 5 * 2 * 2 + 2}  # none is repeated or left out


def test_the_averaged_weights_are_loaded_and_stream_exactly(run, in_tmp, speech):
    run("train", *FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "run_dir=r", "logger=none")
    model = wavenet.load("r/checkpoints/last.ckpt")
    saved = weights("r/checkpoints/last.ckpt")
    state = model.state_dict()
    assert all(torch.equal(state[name.removeprefix("model.")], t) for name, t in saved["state_dict"].items())
    verify_streaming(
        lambda piece, past: model(piece, model.condition({"speaker": speech.name}, 2), past),
        torch.rand(2, 30) - 0.5,
        model,
    )


@pytest.mark.parametrize("setting", ["compile=true", "gradient_checkpointing=true", "trainer.precision=bf16-mixed"])
def test_other_ways_to_compute_train_the_same_weights(run, in_tmp, speech, setting):
    settings = [*FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "logger=none", "model.dilation_cycle=1"]
    settings.append("optimizer=adamw")
    run("train", *settings, "run_dir=plain")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        run("train", *settings, "run_dir=other", setting)
    plain, other = (weights(f"{name}/checkpoints/last.ckpt")["current_model_state"] for name in ("plain", "other"))
    assert plain.keys() == other.keys()
    for name, tensor in plain.items():
        # Adam's first steps are the signs of gradients: bfloat16 may flip a few near zero
        close = torch.isclose(other[name], tensor, rtol=1e-3, atol=1e-5 if "bf16" not in setting else 5e-3)
        assert close.float().mean() > 0.9, name
    wavenet.load("other")


def test_without_validation(run, in_tmp, speech):
    run(
        "train",
        *FOUR_STEPS,
        "dataset=folder",
        f"dataset.root={speech}",
        "validation_fraction=0",
        "run_dir=r",
        "logger=none",
    )
    assert os.listdir("r/checkpoints") == ["last.ckpt"]
    wavenet.load("r")


def test_the_step_that_ends_a_run_is_validated(run, in_tmp, speech):
    output = run(
        "train",
        *TINY,
        "trainer.max_steps=3",
        "trainer.val_check_interval=2",
        "dataset=folder",
        f"dataset.root={speech}",
    )
    assert "step 2:" in output and "step 3:" in output
    assert len(os.listdir("runs")) == 1


@pytest.fixture
def spoilt(monkeypatch):
    """Numbers of segments whose log-probabilities are made NaN."""
    numbers = set()
    step = WaveNetTraining.training_step

    def broken(self, batch, batch_idx):
        factor = torch.tensor([float("nan") if int(n) in numbers else 1.0 for n in batch["segment"]])
        log_prob = self._log_prob
        self._log_prob = lambda *args: log_prob(*args) * factor[:, None]
        try:
            return step(self, batch, batch_idx)
        finally:
            self._log_prob = log_prob

    monkeypatch.setattr(WaveNetTraining, "training_step", broken)
    return numbers


def test_a_step_with_a_bad_loss_changes_nothing_and_names_the_segment(run, in_tmp, speech, spoilt):
    settings = [*FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "save_every_n_steps=1", "logger=none"]
    run("train", *settings, "trainer.max_steps=3", "run_dir=one", "samples.seconds=0")
    spoilt.add(7)
    with pytest.warns(
        UserWarning, match=r"step 4 is skipped.*: segment 7 \(\w+/\w+\.flac, [\d.]+ to [\d.]+ s\): nan bits"
    ):
        assert "done     4 steps" in run("train", "resume=one", "trainer.max_steps=4")
    wanted = torch.load("one/checkpoints/last.ckpt", weights_only=True)
    assert wanted["global_step"] == 4
    before = weights("one/checkpoints/last.ckpt")["optimizer_states"][0]["state"]
    assert {int(state["step"]) for state in before.values()} == {3}  # of four steps


def test_bad_losses_one_after_the_other_stop_the_run_and_keep_the_checkpoint(run, in_tmp, speech, spoilt):
    spoilt.update(range(4, 100))
    settings = [*FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "trainer.max_steps=9", "save_every_n_steps=1"]
    with pytest.raises(AssertionError, match="exit 2") as stopped, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run("train", *settings, "run_dir=r", "logger=none", "samples.seconds=0")
    assert re.search(
        r"wavenet train: steps 3 to 5 have no usable loss or gradient, last segment 8 \(.*\): nan bits per sample; "
        r"segment 9 \(.*\): nan bits per sample; earlier checkpoints are kept\. Try a smaller optimizer\.lr",
        str(stopped.value),
    )
    assert "Traceback" not in str(stopped.value)
    assert weights("r/checkpoints/last.ckpt")["global_step"] == 4
    assert wavenet.load("r") is not None


def test_a_loss_at_the_baseline_warns_once_and_after_learning_ends_the_run():
    def steps(monitor, *bits):
        for value in bits:
            trainer = SimpleNamespace(callback_metrics={"train/bits_per_sample": torch.tensor(value)}, global_step=7)
            monitor.on_train_batch_end(trainer, None, None, None, 0)

    monitor = DivergenceMonitor(baseline_bits=8, patience=3)
    with pytest.warns(UserWarning, match=r"at chance level \(8 bits.*smaller optimizer.lr"):
        steps(monitor, 8.1, 7.99, 7.98)
    steps(monitor, 7.98, 7.98)  # warned once; a second warning would be an error
    monitor = DivergenceMonitor(baseline_bits=8, patience=3)
    steps(monitor, 8.0, 6.0, 7.9, 7.9, 5.0, 7.9, 7.9)
    resumed = DivergenceMonitor(baseline_bits=8, patience=3)
    resumed.load_state_dict(monitor.state_dict())
    with pytest.raises(FloatingPointError, match=r"by step 7 the loss has been back at chance level .* for 3 steps"):
        steps(resumed, float("nan"))


def test_a_high_loss_is_a_spike_only_after_the_first_steps(small):
    """A step with a loss above chance level is skipped only once something should have been learnt."""
    training = WaveNetTraining(small(), lr=0.1)
    batch = {"waveform": torch.rand(2, 9), "predicted": torch.ones(2, 9, dtype=torch.bool), "conditions": {}}
    training.log = lambda *args, **kwargs: None
    training._log_prob = lambda *args: torch.full((2, 9), -5.1 * math.log(2), requires_grad=True)
    for step, finite in ((199, True), (200, False)):
        training.trainer = SimpleNamespace(global_step=step)
        loss = training.training_step(batch, 0)  # 16 classes: 4 bits at chance level
        assert bool(loss.isfinite()) is finite


def test_weights_that_are_not_finite_are_never_saved(run, in_tmp, speech, monkeypatch):
    from wavenet.training import checkpointing

    original = checkpointing.LastCheckpoint.on_train_batch_end

    def spoil(self, trainer, pl_module, *rest):
        if trainer.global_step == 3:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("inf"))
        original(self, trainer, pl_module, *rest)

    monkeypatch.setattr(checkpointing.LastCheckpoint, "on_train_batch_end", spoil)
    settings = [*FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "save_every_n_steps=1", "logger=none"]
    with pytest.raises(AssertionError, match="exit 2[\\s\\S]*a weight became NaN or infinite by step 3"):
        run("train", *settings, "run_dir=r")
    assert weights("r/checkpoints/last.ckpt")["global_step"] == 2


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
def test_schedules(schedule):
    factors = [lr_factor(step, schedule, 10, 100, 0.1, 0.25) for step in range(120)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(factors) == 1
    assert all(a >= b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert factors[100:] == pytest.approx([1.0 if schedule == "constant" else 0.1] * 20)
    assert (factors[74] == 1) is (schedule != "cosine")
    assert factors[87] == pytest.approx(
        {"cosine": 0.1 + 0.45 * (1 + math.cos(math.pi * 77 / 90)), "wsd": 0.568}.get(schedule, 1)
    )


@pytest.mark.parametrize(("decay", "steps"), [(0.9, 90), (0.99, 400), (0.99, 403)])
def test_averaged_weights_are_those_of_an_average_over_all_steps(small, decay, steps):
    """The weights grow by 1 with each step; after step 100, the average is behind by the steps not counted at most."""
    training, average = WaveNetTraining(small(), lr=0.1), ExponentialMovingAverage(decay)
    average.setup(None, training, "fit")
    expected = 1.0
    for step in range(1, steps + 1):
        with torch.no_grad():
            for parameter in training.parameters():
                parameter.fill_(step)
        if step > 1:
            expected += (1 - min(decay, step / (step + 9))) * (step - expected)
        average.on_train_batch_end(SimpleNamespace(global_step=step), training, None, None, 0)
    averaged = {round(float(p.detach().mean()), 3) for p in average._average_model.module.parameters()}
    assert len(averaged) == 1 and averaged.pop() == pytest.approx(expected, abs=0.01 if steps < 100 else 3)


def test_weight_decay_is_on_matrices_only(small):
    training = WaveNetTraining(small(("ann",)), lr=0.1, weight_decay=0.5)
    training.trainer = SimpleNamespace(max_steps=10, precision="32-true")
    decayed, free = training.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.5, 0)
    names = {id(p): name for name, p in training.named_parameters()}
    assert all("bias" in names[id(p)] or "embedding" in names[id(p)] for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(names)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_every_precision(small, precision):
    training = WaveNetTraining(small(), lr=0.1)
    training.trainer = SimpleNamespace(max_steps=10, precision=precision)
    optimizer = training.configure_optimizers()["optimizer"]
    assert optimizer.defaults["fused"]
    for algorithm, largest in (("norm", 0.5), ("value", 0.01), (None, 0.5)):
        for parameter in training.parameters():
            parameter.grad = torch.ones_like(parameter)
        training.configure_gradient_clipping(optimizer, largest, algorithm)
        norm = torch.cat([p.grad.flatten() for p in training.parameters()]).norm().item()
        highest = max(p.grad.max().item() for p in training.parameters())
        assert (highest if algorithm == "value" else norm) == pytest.approx(largest, rel=1e-3)


def test_wrong_numbers_are_named(small):
    with pytest.raises(ValueError, match="WaveNetTraining: lr is 0; it must be a number above 0"):
        WaveNetTraining(small(), lr=0)
    with pytest.raises(ValueError, match="compile is 'fast'; it must be true or false, or default"):
        WaveNetTraining(small(), lr=0.1, compile="fast")
    with pytest.raises(ValueError, match="warmup_steps is -1"):
        WaveNetTraining(small(), lr=0.1, warmup_steps=-1)


def test_denormal_numbers_are_zero_while_it_lasts(run, in_tmp, monkeypatch):
    """Also in the command, for the optimizer's averages of gradients that stay zero; and in threads that it starts."""
    if not torch.set_flush_denormal(False) and torch.tensor(1e-40) * 1 == 0:
        pytest.skip("this processor has no denormal numbers")
    small = torch.full((100,), 1e-40)

    def halved():
        with ThreadPoolExecutor(1) as pool:
            return [(small * 0.5).sum().item(), pool.submit(lambda: (small * 0.5).sum().item()).result()]

    assert min(halved()) > 0
    with flush_denormal_numbers():
        assert halved() == [0, 0]
    assert min(halved()) > 0
    seen = []
    real = WaveNetTraining.training_step
    monkeypatch.setattr(WaveNetTraining, "training_step", lambda *args: (seen.extend(halved()), real(*args))[1])
    run("train", *TINY, "run_dir=r", "logger=none", "trainer.max_steps=1")
    assert seen == [0, 0]
    assert min(halved()) > 0


def test_allocator_setting_is_harmless():
    assert keep_freed_memory() in (True, False)
    assert math.isfinite(torch.randn(1000, 1000).sum())
