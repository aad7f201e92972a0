"""Variants of the network: trained, interrupted, resumed, evaluated and sampled from."""

import pytest
import torch

import wavenet
from tests.conftest import TINY
from tests.training.test_training import same, weights
from wavenet.training import checkpointing

pytestmark = pytest.mark.slow

VARIANT = [
    "model.dropout=0.3", "model.weight_norm=true", "model.groups=2", "model.residual_scale=0.7071",
    "model.head_channels=6", "model.output_projection=true", "model.last_residual=true", "model.input_bias=false",
]  # fmt: skip
each_warning = pytest.mark.filterwarnings("default:training takes several times as long as it could.*has dropout")


@each_warning
def test_a_resumed_run_repeats_the_dropout(run, in_tmp, speech):
    """Bit for bit, so dropout depends on the step only."""
    settings = [
        *TINY, *VARIANT, "trainer.max_steps=4", "save_every_n_steps=2", "logger=none", "dataset=folder",
        f"dataset.root={speech}",
    ]  # fmt: skip
    with pytest.warns(UserWarning, match="has dropout"):
        run("train", *settings, "run_dir=whole")
    original = checkpointing.LastCheckpoint.on_train_batch_end

    def then_cut(self, trainer, *rest):
        original(self, trainer, *rest)
        if trainer.global_step == 3:
            raise SystemExit("power cut")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError, match="power cut"):
        patch.setattr(checkpointing.LastCheckpoint, "on_train_batch_end", then_cut)
        run("train", *settings, "run_dir=cut")
    run("train", "resume=cut")
    whole, cut = (weights(f"{name}/checkpoints/last.ckpt") for name in ("whole", "cut"))
    for part in ("state_dict", "current_model_state", "optimizer_states"):
        assert same(whole[part], cut[part]), part
    assert "bits/sample" in run(
        "evaluate", "checkpoint=cut", "sounds.seconds=0", "speed.seconds=0", "long_term.utterances=0"
    )
    run("generate", "checkpoint=cut", "seconds=0.02", "backend=cpu")


@pytest.mark.parametrize("weight_norm", [False, True])
def test_a_saved_variant_is_the_same_model(small, tmp_path, weight_norm):
    sizes = {"groups": 2, "residual_scale": 0.5, "head_channels": 5, "output_projection": True, "last_residual": True}
    model = small(weight_norm=weight_norm, dropout=0.1, **sizes)
    again = wavenet.load(wavenet.save(model, tmp_path / "model"))
    x = torch.rand(1, 50) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(model(x)[0], again(x)[0])
    assert torch.equal(*(wavenet.generate(each, 0.05, seed=1) for each in (model, again)))
    assert not any(parameter.requires_grad for parameter in again.stack.layers[-1].residual.parameters())
