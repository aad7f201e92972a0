"""Export to ONNX: the same outputs in onnxruntime as in torch, and the same audio from the example without torch."""

import json
import os
import re
import subprocess
import sys
import unicodedata
import wave

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import wavenet
import wavenet.cli
from tests.configured import CATEGORIES, build_model, choices, conditions_for, settings
from tests.conftest import lively
from wavenet.audio import mu_law_decode
from wavenet.audio.mu_law import _levels
from wavenet.distributions import Mixture
from wavenet.exchange.decompositions import ndtri, searchsorted
from wavenet.exchange.onnx import export
from wavenet.extras import install_command
from wavenet.generation.reference import ReferenceBackend
from wavenet.generation.uniforms import uniforms
from wavenet.model import State

pytestmark = pytest.mark.slow

SAMPLES = {"mulaw_categorical": 1000}  # for the others 300
CONDITIONERS = {  # for each distribution; all types are tested
    "mulaw_categorical": ["speaker", "mel"],
    "logistic_mixture": ["gender", "language"],
    "gaussian": ["f0", "file"],
    "gaussian_mixture": ["none"],
}
WITH_CONTEXT = ("mulaw_categorical",)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a function that exports a model with an output distribution, once: (model, folder)."""
    exports = {}

    def make(distribution):
        if distribution not in exports:
            conditioners = [name for name in CONDITIONERS[distribution] if name != "none"]
            chosen = settings(conditioners, distribution in WITH_CONTEXT)
            if "speaker" in conditioners:
                chosen.append("model.conditioners.speaker.dropout=0.1")
            torch.manual_seed(0)
            model = lively(build_model(f"model/distribution={distribution}", *chosen).eval())
            exports[distribution] = model, export(model, tmp_path_factory.mktemp(distribution) / "model")
        return exports[distribution]

    return make


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def initial_states(graph, batch):
    """Return a graph's initial states, zeros; none for no graph."""
    states = [each for each in (graph.get_inputs() if graph else []) if each.name.startswith("state_")]
    return [np.zeros((batch, *state.shape[1:]), np.float32) for state in states]


def named(states):
    return {f"state_{number:03d}": state for number, state in enumerate(states)}


class Exported:
    """An exported folder, run for a batch as a user's program would run it."""

    def __init__(self, folder):
        self.folder, self.meta = folder, json.loads((folder / "model.json").read_text())
        self.step = session(folder / "step.onnx")
        self.context = self.meta["pool"] and session(folder / "context.onnx")

    def condition(self, conditions, batch, samples):
        """Return the sum of all conditions, (B, condition_channels, samples)."""
        total = np.zeros((batch, self.meta["condition_channels"], samples), np.float32)
        for name, about in self.meta["conditions"].items():
            graph = session(self.folder / about["file"])
            if "categories" in about:
                indices = np.array([about["categories"].index(value) for value in conditions[name]])
                values = graph.run(None, {name: indices})[0]
            else:
                rows = [graph.run(None, {name: frames[None]})[0] for frames in conditions[name].numpy()]
                values = np.concatenate(rows)[..., :samples]
            total += values
        return total

    def run(self, condition, drawn, temperature):
        """Return samples (B, T) and parameters (B, P, T) of one step for each of the uniforms (B, U, T)."""
        batch, _, samples = drawn.shape
        audio, parameters = np.zeros((batch, samples + 1), np.float32), []
        states, context_states = initial_states(self.step, batch), initial_states(self.context, batch)
        pool, context_condition = self.meta["pool"], 0
        for t in range(samples):
            feed = {"sample": audio[:, t : t + 1], "uniforms": drawn[:, :, t]}
            feed["temperature"] = np.array(temperature, np.float32)
            if pool and t and t % pool == 0:
                frame = {"samples": audio[:, t - pool : t]}
                context_condition, *context_states = self.context.run(None, frame | named(context_states))
            if self.meta["condition_channels"]:
                feed["condition"] = condition[:, :, t : t + 1] + context_condition
            audio[:, t + 1 : t + 2], of_next, *states = self.step.run(None, feed | named(states))
            parameters.append(of_next)
        return torch.from_numpy(audio[:, 1:].copy()), torch.from_numpy(np.stack(parameters, axis=-1))


@pytest.mark.parametrize("distribution", choices("model/distribution"))
def test_its_steps_are_those_of_the_model(exported, distribution):
    model, folder = exported(distribution)
    samples = SAMPLES.get(distribution, 300)
    running = Exported(folder)
    conditions = conditions_for(model, 2, samples)
    drawn = uniforms([3, 4], 0, samples, model.distribution.num_uniforms)
    audio, parameters = running.run(running.condition(conditions, 2, samples), drawn.numpy(), 0.8)

    with torch.no_grad():
        condition = model.condition(conditions, 2)
        inputs = torch.cat([torch.zeros(2, 1), audio[:, :-1]], dim=1)
        expected, _ = model(inputs, condition)
    assert expected.std() > 0.1 and audio.std() > 1e-3  # otherwise the next line would test nothing
    torch.testing.assert_close(parameters, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(audio, model.distribution.sample(parameters, drawn, 0.8))

    if not isinstance(model.distribution, Mixture):  # where a rounded parameter may move a sample by a level of 16 bits
        loop, _ = ReferenceBackend(model).run(State(torch.zeros(2, 1), None), condition, drawn, 0.8)
        assert torch.equal(audio, loop)


def run_example(folder, output, *args):
    """Run the folder's own program in a process in which torch cannot be imported; returns the samples, int16."""
    without = (
        "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')"
    )
    program = [sys.executable, "-c", without, str(folder / "generate.py"), *args, f"output={output}"]
    done = subprocess.run(program, capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0 and "x real time" in done.stdout, done.stderr
    with wave.open(str(output)) as file:
        assert file.getframerate() == 8000 and file.getnchannels() == 1
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_the_example_generates_the_same_audio_without_torch(exported, tmp_path):
    model, folder = exported("mulaw_categorical")
    frames = conditions_for(model, 1, 800)["mel"][0]
    np.save(tmp_path / "mel.npy", frames.numpy())
    for speaker in ("bob", None):
        conditions = {"mel": frames} | ({"speaker": speaker} if speaker else {})
        audio = wavenet.generate(model, None, conditions=conditions, seed=7, backend="reference")[0]
        args = [f"mel={tmp_path / 'mel.npy'}", "seed=7"] + ([f"speaker={speaker}"] if speaker else [])
        expected = (audio.numpy() * 32768).round().clip(-32768, 32767).astype("<i2")
        assert np.array_equal(run_example(folder, tmp_path / "out.wav", *args), expected)
    assert len(run_example(folder, tmp_path / "out.wav", *args, "seconds=0.05", "temperature=0.9")) == 400


def test_contents_of_an_exported_folder(exported):
    model, folder = exported("mulaw_categorical")
    conditions = ["condition_mel.onnx", "condition_speaker.onnx"]
    assert sorted(os.listdir(folder)) == [*conditions, "context.onnx", "generate.py", "model.json", "step.onnx"]
    graph = onnx.load(folder / "step.onnx")
    metadata = {one.key: one.value for one in graph.metadata_props}
    about = json.loads((folder / "model.json").read_text())
    assert json.loads(metadata["wavenet"]) == about
    assert metadata["sample_rate"] == "8000" and metadata["receptive_field"] == str(model.receptive_field)
    assert about["conditions"]["speaker"]["categories"] == CATEGORIES["speaker"]
    assert (graph.producer_name, graph.producer_version) == ("wavenet", wavenet.__version__)
    assert [one.name for one in graph.graph.input][:4] == ["sample", "uniforms", "temperature", "condition"]
    assert [one.name for one in graph.graph.output][:2] == ["next_sample", "parameters"]


def test_a_folder_is_replaced_whole_and_only_if_it_holds_a_model(tmp_path, small, monkeypatch):
    model, folder = small(num_cycles=1, dilation_cycle=1), tmp_path / "model"
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds no step\.onnx; choose another folder"):
        export(model, tmp_path)
    folder.mkdir()
    (folder / "step.onnx").write_text("an older one")
    (folder / "old.txt").write_text("of an older version")
    _levels.cache_clear()
    assert sorted(os.listdir(export(model, folder))) == ["generate.py", "model.json", "step.onnx"]
    kept = mu_law_decode(torch.tensor([0, 15]), 16)  # a table must not hold tracing's placeholders
    assert torch.equal(kept, torch.tensor([-1.0, 1.0]))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(model, tmp_path / "half")
    assert sorted(os.listdir(tmp_path)) == ["model", "notes.txt"]


def test_what_cannot_be_exported_is_refused(tmp_path, small, contour, monkeypatch):
    with pytest.raises(ValueError, match="the condition 'contour' is a Contour; only names .* and frames"):
        export(small(conditioner=contour), tmp_path / "model")
    model = small()
    model.head[1].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"the model's head\.1\.weight holds infinity or nan"):
        export(model, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    install = re.escape(install_command("onnx"))
    with pytest.raises(ModuleNotFoundError, match=f"needs onnxscript; install it with {install}"):
        export(small(), tmp_path / "model")
    assert not any(tmp_path.iterdir())


def test_decompositions_of_functions_without_an_onnx_operator():
    p = torch.cat(
        [torch.rand(10_000, dtype=torch.float64), torch.tensor([2**-25, 0.075, 0.925, 1e-12, 1 - 2**-25]).double()]
    )
    p = p.clamp(1e-300, 1 - 2**-53)
    torch.testing.assert_close(ndtri(p), torch.special.ndtri(p), rtol=1e-13, atol=1e-13)
    rising = torch.rand(3, 4, 9).sort().values
    for values in (torch.rand(3, 4, 1), rising[..., 4:5].contiguous(), torch.ones(3, 4, 1)):
        for right in (True, False):
            assert torch.equal(
                searchsorted(rising, values, right=right), torch.searchsorted(rising, values, right=right)
            )


def test_the_command_prints_the_files_and_an_example(run, in_tmp, small):
    wavenet.save(small(speakers=("ann; rm -r ~", "Zoë"), num_cycles=1, dilation_cycle=1), "model")
    lines = run("export_onnx", "checkpoint=model", "output=exported").splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [
        f"exported/{name}" for name in ("condition_speaker.onnx", "generate.py", "model.json", "step.onnx")
    ]
    assert lines[-1] == "python exported/generate.py seconds=2 seed=0 'speaker=ann; rm -r ~'"
    for given, code, message in (
        (["--help"], 0, "settings: speaker, seconds, seed, temperature, output."),
        (["speaker=bob"], 1, r"generate.py: unknown speaker 'bob'; choose from 'ann; rm -r ~', 'Zo\xeb'"),
        (["sped=1"], 1, "generate.py: 'sped=1': not a setting; write NAME=VALUE with one of speaker, seconds"),
        (["seconds=0.01", f"speaker={unicodedata.normalize('NFD', 'Zoë')}"], 0, "0.01 s in "),
    ):
        ended = subprocess.run([sys.executable, "exported/generate.py", *given], capture_output=True, text=True)
        assert ended.returncode == code and message in ended.stdout + ended.stderr
    with pytest.raises(AssertionError, match=r"exit 2\n\nwavenet export onnx: model: exists, and holds no step\.onnx"):
        run("export_onnx", "checkpoint=model", "output=model")


def test_commands_of_two_words_and_of_a_keyword_are_found(monkeypatch):
    called = []
    monkeypatch.setattr("runpy.run_module", lambda module, **_: called.append((module, sys.argv[1:])))
    for words in ("export onnx checkpoint=x", "import checkpoint=x"):
        monkeypatch.setattr(sys, "argv", ["wavenet", *words.split()])
        wavenet.cli.main()
    assert called == [("wavenet.cli.export_onnx", ["checkpoint=x"]), ("wavenet.cli.import_", ["checkpoint=x"])]
    monkeypatch.setattr(sys, "argv", ["wavenet", "export", "checkpoint=x"])
    with pytest.raises(SystemExit, match="2"):
        wavenet.cli.main()
