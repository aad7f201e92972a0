"""Training through the command, on real speech."""

import math
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import wavenet
from tests.conftest import ROOT, TINY
from tests.contract import verify_streaming
from wavenet.training import CPUNetwork, LastCheckpoint, LossWatch, WaveNetTraining, keep_freed_memory
from wavenet.training.module import warm_up_then_cosine

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


def test_a_run_leaves_everything_behind(run, in_tmp, speech):
    output = run(
        "train", *FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true",
        "run_dir=here", "preparation.trim_db=30",
    )  # fmt: skip
    assert "3 layers" in output and "receptive field 8 samples (1 ms), 8 bits" in output
    assert "folder: 3 speaker(s)" in output and "9 utterances to learn" in output and "3 held out" in output
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
    assert any(tag.startswith("lr-") or "learning_rate" in tag for tag in tags["scalars"])
    assert set(tags["audio"]) == set(tags["images"]) == {w.removesuffix(".wav").replace("-", "/") for w in wavs}
    assert [e.step for e in events.Scalars("validation/bits_per_sample")] == [1, 3]  # Lightning counts from 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_ends_in_the_same_weights(run, in_tmp, speech, workers):
    """Bit for bit: weights, averaged weights, optimizer, schedule, what is dropped. Cut between two validations."""
    settings = [
        *TINY, "trainer.max_steps=6", "trainer.val_check_interval=4", "save_every_n_steps=3", f"num_workers={workers}",
        "dataset=folder", f"dataset.root={speech}", "logger=csv", "model.conditioners.speaker.dropout=0.5",
    ]  # fmt: skip
    run("train", *settings, "run_dir=whole")

    from wavenet.training import callbacks

    save = callbacks.LastCheckpoint.on_train_batch_end

    def save_then_cut(self, trainer, *rest):
        save(self, trainer, *rest)
        if trainer.global_step == 3:
            raise SystemExit("power cut")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError, match="power cut"):
        patch.setattr(callbacks.LastCheckpoint, "on_train_batch_end", save_then_cut)
        run("train", *settings, "run_dir=cut")
    assert weights("cut/checkpoints/last.ckpt")["global_step"] == 3
    output = run("train", "resume=cut")
    assert "done     6 steps" in output

    whole, resumed = weights("whole/checkpoints/last.ckpt"), weights("cut/checkpoints/last.ckpt")
    for part in (
        "global_step",
        "state_dict",
        "current_model_state",
        "averaging_state",
        "optimizer_states",
        "lr_schedulers",
    ):
        assert same(whole[part], resumed[part]), part
    assert not same(whole["state_dict"], whole["current_model_state"])  # the average is not the last step
    assert same(
        weights("whole/checkpoints/best.ckpt")["state_dict"], weights("cut/checkpoints/best.ckpt")["state_dict"]
    )


def test_resuming_with_other_settings_and_a_finished_run(run, in_tmp, speech):
    run("train", *FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "run_dir=r", "logger=none")
    assert "done     4 steps" in run("train", "resume=r")
    assert "done     6 steps" in run(
        "train", "resume=r/checkpoints/last.ckpt", "trainer.max_steps=6", "optimizer.lr=1e-4"
    )
    assert weights("r/checkpoints/last.ckpt")["global_step"] == 6
    for override in ("experiment=vctk", "model=paper", "model.num_cycles=2"):
        with pytest.raises(AssertionError, match=f"exit 2[\\s\\S]*{override}: resume goes on with the run's own model"):
            run("train", "resume=r", override)
    with open("r/checkpoints/last.ckpt", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(AssertionError, match=r"exit 2[\s\S]*last.ckpt: not a checkpoint that can be loaded safely"):
        run("train", "resume=r")


def test_the_fastest_form_is_chosen(run, in_tmp, speech, monkeypatch):
    """Without a word, unless something is missing; what is learnt is the same."""
    settings = [*FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "logger=none"]
    calls = []
    log_prob = CPUNetwork.log_prob
    monkeypatch.setattr(CPUNetwork, "log_prob", lambda *given: (calls.append(1), log_prob(*given))[1])
    run("train", *settings, "run_dir=native")
    assert len(calls) == 4
    run("train", *settings, "run_dir=narrow", "trainer.precision=bf16-mixed")
    assert len(calls) == 4
    monkeypatch.setattr(CPUNetwork, "refusal", lambda model: "numba cannot be used here")
    with pytest.warns(UserWarning, match="several times as long as it could: numba cannot be used here"):
        run("train", *settings, "run_dir=plain")
    assert len(calls) == 4
    native, plain = (weights(f"{name}/checkpoints/last.ckpt")["state_dict"] for name in ("native", "plain"))
    for name, weight in plain.items():
        torch.testing.assert_close(native[name], weight, rtol=1e-3, atol=1e-4)


def test_two_processes_learn_the_same_as_one(run, in_tmp, speech):
    """Two processes with two segments each take the steps of one process with four."""
    settings = [
        *FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "dataset.speakers_from_folders=true", "logger=none",
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


def test_averaged_weights_are_what_is_loaded_and_stream_exactly(run, in_tmp, speech):
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
def test_other_ways_to_compute_learn_the_same(run, in_tmp, speech, setting):
    settings = [*FOUR_STEPS, "dataset=folder", f"dataset.root={speech}", "logger=none", "model.dilation_cycle=1"]
    run("train", *settings, "run_dir=plain")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        run("train", *settings, "run_dir=other", setting)
    plain, other = (weights(f"{name}/checkpoints/last.ckpt")["current_model_state"] for name in ("plain", "other"))
    assert plain.keys() == other.keys()
    for name, tensor in plain.items():
        # Adam's step is the sign of a gradient when it is young: bfloat16 may turn a few near zero
        close = torch.isclose(other[name], tensor, rtol=1e-3, atol=1e-5 if "bf16" not in setting else 5e-3)
        assert close.float().mean() > 0.9, name
    wavenet.load("other")


def test_no_validation_at_all(run, in_tmp, speech):
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


def test_loss_that_is_not_a_number_stops_the_run_and_keeps_the_checkpoint(run, in_tmp, speech):
    from wavenet.training import module

    step = module.WaveNetTraining.training_step

    def broken(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        if self.trainer.global_step >= 2:
            self.log("train/bits_per_sample", torch.tensor(float("nan")))
        return loss

    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError, match="exit 2") as stopped:
        patch.setattr(module.WaveNetTraining, "training_step", broken)
        run(
            "train",
            *FOUR_STEPS,
            "dataset=folder",
            f"dataset.root={speech}",
            "run_dir=r",
            "save_every_n_steps=1",
            "logger=none",
        )
    assert "the loss became nan at step 3" in str(stopped.value)
    assert "Try a smaller optimizer.lr" in str(stopped.value)
    assert "Traceback" not in str(stopped.value)
    assert wavenet.load("r") is not None


def test_a_loss_at_the_baseline_is_remarked_on_once():
    watch = LossWatch(baseline_bits=8, patience=3)

    def steps(*bits):
        for value in bits:
            trainer = SimpleNamespace(callback_metrics={"train/bits_per_sample": torch.tensor(value)}, global_step=7)
            watch.on_train_batch_end(trainer, None, None, None, 0)

    with pytest.warns(UserWarning, match=r"baseline of knowing nothing \(8 bits.*smaller optimizer.lr"):
        steps(8.1, 7.99, 7.98)
    steps(7.98, 7.98)  # said once; a second warning would be an error
    learning = LossWatch(baseline_bits=8, patience=3)
    watch = learning
    steps(8.0, 6.0, 7.9, 7.9)


def test_broken_weights_are_never_saved(tmp_path, small):
    training = WaveNetTraining(small(), lr=0.1)
    with torch.no_grad():
        next(training.parameters()).fill_(float("inf"))
    trainer = SimpleNamespace(global_step=5, max_steps=5, should_stop=False, save_checkpoint=lambda path: path.touch())
    with pytest.raises(FloatingPointError, match="a weight became NaN or infinite by step 5"):
        LastCheckpoint(tmp_path / "last.ckpt", 1).on_train_batch_end(trainer, training, None, None, 0)
    assert os.listdir(tmp_path) == []


def test_schedule():
    factors = [warm_up_then_cosine(step, 10, 100, 0.1) for step in range(120)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(factors) == 1
    assert all(a >= b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert factors[100:] == pytest.approx([0.1] * 20)


def test_decay_is_for_matrices_only(small):
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
    with pytest.raises(ValueError, match="optimizer.lr is 0"):
        WaveNetTraining(small(), lr=0)
    with pytest.raises(ValueError, match="compile is 'fast'; it must be true, false or one of default"):
        WaveNetTraining(small(), lr=0.1, compile="fast")
    with pytest.raises(ValueError, match="optimizer.warmup_steps is -1"):
        WaveNetTraining(small(), lr=0.1, warmup_steps=-1)


def test_allocator_setting_is_harmless():
    assert keep_freed_memory() in (True, False)
    assert math.isfinite(torch.randn(1000, 1000).sum())
