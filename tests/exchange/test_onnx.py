"""An exported model says in onnxruntime what it says in torch, and its own example makes the same audio without torch."""

import json
import subprocess
import sys
import wave

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import wavenet
from tests.configured import CATEGORIES, build_model, choices, conditions_for, settings
from tests.conftest import lively
from wavenet.conditioning import FrameConditioner
from wavenet.distributions import Mixture
from wavenet.exchange.onnx import export, ndtri, searchsorted
from wavenet.generation.uniforms import uniforms
from wavenet.model import State

SAMPLES = 1000
OF = {  # the conditions that each distribution is tried with; together all there are
    "mulaw_categorical": ["speaker", "mel"],
    "logistic_mixture": ["none"],
    "gaussian": ["f0", "gender", "language"],
    "gaussian_mixture": ["file"],
}
WITH_CONTEXT = ("mulaw_categorical", "logistic_mixture")


def built(distribution):
    conditioners = [name for name in OF[distribution] if name != "none"]
    model = build_model(f"model/distribution={distribution}", *settings(conditioners, distribution in WITH_CONTEXT))
    return lively(model.eval())


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Exported:
    """An exported folder, run for a batch: what a program of one's own would do with it."""

    def __init__(self, folder):
        self.folder, self.about = folder, json.loads((folder / "model.json").read_text())
        self.step = session(folder / "step.onnx")
        self.context = self.about["context"] and session(folder / "context.onnx")

    def condition(self, told, batch, samples):
        """(B, condition_channels, samples), the sum of all conditions."""
        total = np.zeros((batch, self.about["condition_channels"], samples), np.float32)
        for name, one in self.about["conditions"].items():
            graph = session(self.folder / one["file"])
            if "categories" in one:
                values = graph.run(None, {name: np.array([one["categories"].index(word) for word in told[name]])})[0]
            else:
                rows = [graph.run(None, {name: frames[None]})[0] for frames in told[name].numpy()]
                values = np.repeat(np.concatenate(rows), one["hold"], axis=2)[..., :samples]
            total += values
        return total

    def run(self, condition, drawn, temperature):
        """Samples (B, T) and parameters (B, P, T) of as many steps as there are uniforms (B, U, T)."""
        batch, _, samples = drawn.shape
        heard, parameters = np.zeros((batch, samples + 1), np.float32), []
        states = [np.zeros((batch, *shape), np.float32) for shape in self.about["states"]]
        memory = [np.zeros((batch, *shape), np.float32) for shape in (self.about["context"] or {"states": []})["states"]]
        said = 0
        for t in range(samples):
            feed = {"sample": heard[:, t : t + 1], "uniforms": drawn[:, :, t]}
            feed["temperature"] = np.array(temperature, np.float32)
            if self.context and t and t % self.about["context"]["pool"] == 0:
                frame = {"samples": heard[:, t - self.about["context"]["pool"] : t]}
                said, *memory = self.context.run(None, frame | self._named(memory))
            if self.about["condition_channels"]:
                feed["condition"] = condition[:, :, t : t + 1] + said
            heard[:, t + 1 : t + 2], of_next, *states = self.step.run(None, feed | self._named(states))
            parameters.append(of_next)
        return torch.from_numpy(heard[:, 1:].copy()), torch.from_numpy(np.stack(parameters, axis=-1))

    def _named(self, states):
        return {f"state_{number:03d}": state for number, state in enumerate(states)}


@pytest.mark.parametrize("distribution", choices("model/distribution"))
def test_a_thousand_steps_are_those_of_the_model(tmp_path, distribution):
    model = built(distribution)
    exported = Exported(export(model, tmp_path / "model"))
    told = conditions_for(model, 2, SAMPLES)
    drawn = uniforms([3, 4], 0, SAMPLES, model.distribution.num_uniforms)
    audio, parameters = exported.run(exported.condition(told, 2, SAMPLES), drawn.numpy(), 0.8)

    with torch.no_grad():
        condition = model.condition(told, 2)
        heard = torch.cat([torch.zeros(2, 1), audio[:, :-1]], dim=1)
        truth, _ = model(heard, condition)
    assert truth.std() > 0.1 and audio.std() > 1e-3  # so that the next line says something
    torch.testing.assert_close(parameters, truth, rtol=1e-5, atol=1e-5)
    assert torch.equal(audio, model.distribution.sample(parameters, drawn, 0.8))

    loop, _ = wavenet.generation.reference.ReferenceBackend(model).run(State(torch.zeros(2, 1), None), condition, drawn, 0.8)
    if isinstance(model.distribution, Mixture):  # rounding of parameters may move a sample by a level of 16 bits
        first = audio[:, :50] - loop[:, :50]
        assert first.abs().max() <= 2 * model.distribution.bin_width
    else:
        assert torch.equal(audio, loop)
