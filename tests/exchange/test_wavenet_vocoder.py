"""Import of wavenet_vocoder's checkpoints: the imported network has the same outputs."""

import json
import math
import pickle
import random
import warnings

import pytest
import torch
from torch import nn

import wavenet
from wavenet.audio import mu_law_decode
from wavenet.checkpoint import CheckpointError
from wavenet.exchange.wavenet_vocoder import load
from wavenet.generation.cpu import CPUBackend

vocoder = pytest.importorskip(
    "wavenet_vocoder", reason="wavenet-vocoder of PyPI is not installed (--no-deps is enough)"
)

NETWORK = {
    "layers": 6, "stacks": 2, "residual_channels": 12, "gate_channels": 16, "skip_out_channels": 10, "kernel_size": 3,
}  # fmt: skip
AUDIO = {"sample_rate": 8000, "hop_size": 12}
MULAW = {"input_type": "mulaw-quantize", "quantize_channels": 64, "out_channels": 64}
LOGISTIC = {"input_type": "raw", "quantize_channels": 65536, "out_channels": 9}
LOCAL = {
    "cin_channels": 5, "upsample_conditional_features": True, "upsample_scales": [3, 4], "freq_axis_kernel_size": 3,
}  # fmt: skip
SPEAKERS = {"gin_channels": 4, "n_speakers": 3}
NET = {"upsample_net": "ConvInUpsampleNetwork", "upsample_params": {"upsample_scales": [3, 4]}, "cin_pad": 2}
LATER = {"cin_channels": 5, "upsample_conditional_features": True, "output_distribution": "Logistic", **NET}
KINDS = {
    "mulaw": MULAW,
    "mulaw, not legacy": {**MULAW, "legacy": False},
    "mulaw, without norms": {**MULAW, "weight_normalization": False, "legacy": True},
    "mulaw, speakers": {**MULAW, **SPEAKERS},
    "mulaw, mel": {**MULAW, **LOCAL},
    "mulaw, mel as it is": {**MULAW, "cin_channels": 5},
    "logistic, mel and speakers": {**LOGISTIC, **LOCAL, **SPEAKERS, "freq_axis_kernel_size": 1, "log_scale_min": -7.0},
    "one logistic": {**LOGISTIC, "out_channels": 3},
    "later mulaw, mel": {**MULAW, **LATER, "cin_pad": 0},
    "later logistic, mel and speakers": {**LOGISTIC, **LATER, **SPEAKERS},
    "later normal": {**LOGISTIC, "out_channels": 2, "output_distribution": "Normal", "log_scale_min": -9.0},
    "later normals, mel": {
        **LOGISTIC, **LATER, "output_distribution": "Normal", "upsample_net": "UpsampleNetwork",
        "upsample_params": {"upsample_scales": [3, 4], "upsample_activation": "ReLU", "freq_axis_kernel_size": 3},
    },
}  # fmt: skip


class Stretching(nn.Module):
    """The upsampling of later versions: values are repeated and filtered, stage by stage."""

    def __init__(self, upsample_scales, upsample_activation="none", freq_axis_kernel_size=1, cut=0):
        super().__init__()
        self.cut, self.up_layers = cut * math.prod(upsample_scales), nn.ModuleList()
        for scale in upsample_scales:
            size, bands = 2 * scale + 1, freq_axis_kernel_size
            taps = nn.Conv2d(1, 1, (bands, size), padding=(bands // 2, scale), bias=False)
            self.up_layers += [nn.Upsample(scale_factor=(1, scale)), nn.utils.weight_norm(taps)]
            self.up_layers += [getattr(nn, upsample_activation)()] if upsample_activation != "none" else []

    def forward(self, x):
        x = x[:, None]
        for layer in self.up_layers:
            x = layer(x)
        return x[:, 0, :, self.cut : x.shape[-1] - self.cut]


class Later(vocoder.WaveNet):
    """Later versions than PyPI's, which differ in the sum of skips and the upsampling."""

    def __init__(self, hparams, **arguments):
        super().__init__(**arguments, legacy=False)
        pad, self.upsample_net = hparams.get("cin_pad", 0), None
        if hparams.get("upsample_net") == "UpsampleNetwork":
            self.upsample_net = Stretching(**hparams["upsample_params"], cut=pad)
        elif hparams.get("upsample_net"):
            self.upsample_net = nn.Module()
            self.upsample_net.conv_in = nn.Conv1d(5, 5, 2 * pad + 1, bias=False)
            self.upsample_net.upsample = Stretching(**hparams["upsample_params"])

    def forward(self, x, c=None, g=None):
        if self.upsample_net is not None:
            first = getattr(self.upsample_net, "conv_in", None)
            c = self.upsample_net(c) if first is None else self.upsample_net.upsample(first(c))
        g = None if g is None else self.embed_speakers(g).transpose(1, 2).expand(-1, -1, x.shape[-1])
        x, skips = self.first_conv(x), 0
        for layer in self.conv_layers:
            x, skip = layer(x, c, g)
            skips = skips + skip
        x = skips * math.sqrt(1 / len(self.conv_layers))
        for layer in self.last_conv_layers:
            x = layer(x)
        return x


def create(kind, folder, zipped=True):
    """Create a network of wavenet_vocoder with random weights, and write its checkpoint and hyperparameters."""
    hparams = {**NETWORK, **AUDIO, **kind}
    later = "output_distribution" in hparams
    passed = (*NETWORK, "out_channels", "cin_channels", "gin_channels", "n_speakers")
    arguments = {name: hparams[name] for name in passed if name in hparams}
    arguments["scalar_input"] = hparams["input_type"] == "raw"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of wavenet_vocoder's weight_norm
        if later:
            network = Later(hparams, **arguments)
        else:
            names = ("upsample_conditional_features", "upsample_scales", "freq_axis_kernel_size", "legacy")
            more = {name: hparams[name] for name in (*names, "weight_normalization") if name in hparams}
            network = vocoder.WaveNet(**arguments, **more)
    lively(network)
    optimizer = torch.optim.Adam(network.parameters())
    contents = {"state_dict": network.state_dict(), "optimizer": optimizer.state_dict(), "global_step": 1000}
    torch.save(contents, folder / "model.pth", _use_new_zipfile_serialization=zipped)
    (folder / "hparams.json").write_text(json.dumps({**hparams, "name": "wavenet_vocoder", "dropout": 0.05}))
    return network.eval(), hparams


@torch.no_grad()
def lively(network):
    """Scale the weights so that each part has an effect on the parameters."""
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            weight.copy_(0.2 * torch.randn_like(weight))
        elif name.endswith("weight_g"):
            weight.mul_(1.5 + torch.rand_like(weight))
        elif "up" in name:
            weight.add_(0.1 * torch.randn_like(weight))
        elif name.endswith("weight"):  # those without norms
            weight.mul_(2)


def make_conditions(hparams, batch, samples):
    """Return conditions for the original network and for the imported one."""
    original, imported = {}, {}
    if "cin_channels" in hparams:
        frames = torch.randn(batch, 5, samples // AUDIO["hop_size"])
        imported["mel"] = frames
        pad = hparams.get("cin_pad", 0)
        original["c"] = nn.functional.pad(frames, (pad, pad), mode="replicate")
        if not hparams.get("upsample_conditional_features"):
            original["c"] = frames.repeat_interleave(AUDIO["hop_size"], dim=-1)
    if "gin_channels" in hparams:
        original["g"], imported["speaker"] = torch.tensor([[2], [0]])[:batch], ["2", "0"][:batch]
    return original, imported


def make_inputs(hparams, batch, samples):
    """Return the same audio as the input of each network: classes, or numbers."""
    if hparams["input_type"] == "raw":
        audio = torch.rand(batch, samples) * 2 - 1
        return audio[:, None], audio
    classes = torch.randint(hparams["out_channels"], (batch, samples))
    one_hot = nn.functional.one_hot(classes, hparams["out_channels"]).transpose(1, 2).float()
    return one_hot, mu_law_decode(classes, hparams["out_channels"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_parameters_for_the_same_input(tmp_path, kind):
    network, hparams = create(KINDS[kind], tmp_path, zipped="speakers" not in kind)
    model = load(tmp_path / "model.pth").model
    original, imported = make_conditions(hparams, 2, 120)
    x, audio = make_inputs(hparams, 2, 120)
    with torch.no_grad():
        wanted = network(x, **original)[:, -model.distribution.parameter_channels :]
        condition = model.condition(imported, 2)
        assert wanted.std() > 0.3
        assert (model(audio, condition)[0] - wanted).abs().max() < 1e-4 * min(1, float(wanted.std()))
        for name in original:  # each has an effect, so that the line above tests it
            other = {**original, name: original[name].flip(0)}
            assert (network(x, **other)[:, -wanted.shape[1] :] - wanted).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["mulaw, mel", "logistic, mel and speakers"])
def test_saved_and_run_by_the_native_loop(run, in_tmp, kind):
    """Both networks predict each next sample of the audio that the imported one generates."""
    network, hparams = create(KINDS[kind], in_tmp)
    output = run("import_", "checkpoint=model.pth", "output=imported")
    assert "6 layers in 2 cycles, 3 taps" in output and "receptive field 29 samples (4 ms) at 8000 Hz" in output
    assert "dropped  optimizer, global_step=1000" in output and "differs  mel is not computed from audio" in output
    model = wavenet.load("imported")
    assert CPUBackend.unsupported_reason(model) is None
    original, imported = make_conditions(hparams, 1, 240)
    audio = wavenet.generate(model, None, conditions=imported, seed=2, backend="cpu")
    assert audio.shape == (1, 240) and audio.std() > 0.01
    before = torch.cat([torch.zeros(1, 1), audio[:, :-1]], dim=1)
    x = before[:, None]
    if hparams["input_type"] != "raw":
        classes = wavenet.audio.mu_law_encode(before, hparams["out_channels"])
        x = nn.functional.one_hot(classes, hparams["out_channels"]).transpose(1, 2).float()
    with torch.inference_mode():
        parameters = CPUBackend(model).parameters(before, model.condition(imported, 1))
        assert (parameters - network(x, **original)).abs().max() < 1e-4


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_in_a_checkpoint_is_run(tmp_path, zipped):
    class Harm:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'harm')!r}, 'w')",))

    create(MULAW, tmp_path)
    contents = torch.load(tmp_path / "model.pth", weights_only=True)
    torch.save({**contents, "lr": Harm()}, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="eval") as error:
        load(tmp_path / "model.pth")
    assert "\n" not in str(error.value) and not (tmp_path / "harm").exists()


FILES = [
    (b"", "is empty"),
    (b"PK\x03\x04" + bytes(200), "is not an archive as torch.save writes it"),
    (b"no checkpoint", "is not a file as torch.save writes it"),
    (pickle.dumps({"state_dict": {}}, protocol=2), "is not a file as torch.save writes it"),
]


@pytest.mark.parametrize(("data", "message"), FILES)
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path, data, message):
    create(MULAW, tmp_path)
    (tmp_path / "model.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as error:
        load(tmp_path / "model.pth")
    assert "\n" not in str(error.value)


def test_old_files_are_checked_before_they_are_read(tmp_path, monkeypatch):
    """Files of `torch.save` before torch 1.6 that are cut off, too long, or would take too much memory."""
    create(MULAW, tmp_path, zipped=False)
    whole = (tmp_path / "model.pth").read_bytes()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    storage = pickle.dumps(768, protocol=2)[2:-1]  # numbers of the first matrix
    assert storage in whole
    for data in (whole[:-4], whole + b"0", whole.replace(storage, b"J\xff\xff\xff\x7f", 1), whole[:3000]):
        (tmp_path / "model.pth").write_bytes(data)
        with pytest.raises(CheckpointError):
            load(tmp_path / "model.pth")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.pth: cannot be read"):
        load(tmp_path / "model.pth")
    create(MULAW, tmp_path)
    (tmp_path / "hparams.json").rename(tmp_path / "preset.json")
    with pytest.raises(CheckpointError, match=r"no hparams\.json beside it; give hparams=FILE\.json"):
        load(tmp_path / "model.pth")
    assert load(tmp_path / "model.pth", tmp_path / "preset.json").model.sample_rate == 8000
    with pytest.raises(CheckpointError, match=r"other\.json: cannot be read"):
        load(tmp_path / "model.pth", tmp_path / "other.json")


WRONG = {
    "no stacks": ({"stacks": None}, "has no stacks"),
    "stacks": ({"stacks": 4}, "layers=6 in stacks=4; layers must be a multiple of stacks"),
    "huge": ({"layers": 10**9}, "layers=1000000000; it must be a whole number from 1 to 500"),
    "layers": ({"layers": 8}, "with conv_layers.6.conv.weight, which the checkpoint does not have"),
    "fewer layers": ({"layers": 4}, "without conv_layers.4.conv.bias, which the checkpoint has"),
    "kernel": (
        {"kernel_size": 2},
        r"conv_layers.0.conv.weight of shape \(16, 12, 2\); the checkpoint's has \(16, 12, 3\)",
    ),
    "input": ({"input_type": "mulaw"}, "input_type='mulaw'; supported are mulaw-quantize and raw"),
    "classes": ({"quantize_channels": 256}, "quantize_channels=256 and out_channels=64"),
    "output": ({"input_type": "raw", "output_distribution": "Beta"}, "output_distribution='Beta' with out_channels=64"),
    "parts": ({"input_type": "raw"}, "'Logistic' with out_channels=64; supported are"),
    "outside vectors": ({**SPEAKERS, "use_speaker_embedding": False}, "a vector for each utterance; only numbered"),
    "no speakers": ({"gin_channels": 4}, "has no n_speakers"),
    "no hop": ({**LOCAL, "hop_size": None}, "has no hop_size"),
    "scales": ({**LOCAL, "upsample_scales": [3, 3]}, r"upsample_scales=\[3, 3\], whose product is not the hop of 12"),
    "even bands": ({**LOCAL, "freq_axis_kernel_size": 2}, "freq_axis_kernel_size=2; only odd sizes"),
    "net": ({**LATER, "upsample_net": "Other"}, "upsample_net='Other' with"),
    "activation": (
        {**LATER, "upsample_params": {"upsample_scales": [3, 4], "upsample_activation": "Tanh"}},
        "upsample_activation='Tanh' and mode='nearest'; supported are none and ReLU, and nearest",
    ),
}


@pytest.mark.parametrize("which", WRONG)
def test_unsupported_and_mismatched_hyperparameters_are_named(tmp_path, which):
    _, hparams = create(MULAW, tmp_path)
    changes, message = WRONG[which]
    (tmp_path / "hparams.json").write_text(json.dumps({**hparams, **changes}))
    with pytest.raises(CheckpointError, match=message) as error:
        load(tmp_path / "model.pth")
    assert str(error.value).startswith(f"{tmp_path / 'hparams.json'}: ") and "\n" not in str(error.value)


def test_a_mistake_on_the_command_line_is_one_line(run, in_tmp):
    create(MULAW, in_tmp)
    (in_tmp / "hparams.json").write_text("{}")
    with pytest.raises(AssertionError, match=r"exit 2\n\nwavenet import: hparams\.json: has no sample_rate"):
        run("import_", "checkpoint=model.pth")
    assert not (in_tmp / "imported").exists()


def test_differences_are_listed(tmp_path):
    kinds = {
        "mulaw, mel": [
            "rounded to the nearest class",
            "mu = classes, up to 4 % lower",
            "wavenet_vocoder's prep",
            "dropout",
        ],
        "later mulaw, mel": ["rounded to the nearest class", "the one below", "wavenet_vocoder's prep", "dropout"],
        "logistic, mel and speakers": [
            "rounded to 16 bits",
            "has -7 in generation and training",
            "wavenet_vocoder's prep",
            "dropout",
        ],
        "later normal": ["rounded to 16 bits", "has -9 in training, but not", "dropout"],
    }
    for kind, expected in kinds.items():
        create(KINDS[kind], tmp_path)
        differs = load(tmp_path / "model.pth").differs
        assert len(differs) == len(expected)
        for line, part in zip(differs, expected, strict=True):
            assert part in line


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_refused_in_one_line_or_harmless(tmp_path, zipped):
    rng = random.Random(3)
    create(KINDS["mulaw, mel"], tmp_path, zipped)
    whole, refused = (tmp_path / "model.pth").read_bytes(), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 4])):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        (tmp_path / "model.pth").write_bytes(damaged)
        try:
            load(tmp_path / "model.pth")
        except CheckpointError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 20
