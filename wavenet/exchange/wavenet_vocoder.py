"""Models of r9y9's wavenet_vocoder (https://github.com/r9y9/wavenet_vocoder), 0.1.1 of PyPI and later layouts, as ours.

Theirs is the same network but for constants, which are folded into the weights here:

- A layer's output is scaled, x' = (x + W z) s with s = sqrt(1/2). With x = s^l u it is u' = u + s^-l W z: layer l's
  dilated convolution is multiplied by s^l, and its residual product by s^-l.
- The skips are added up as (skips + h) s from layer to layer (up to 0.1.1), as they are (0.1.1 with legacy false),
  or with sqrt(1 / layers) at the end (later): a factor for each layer.
- Weights are normalised, w = g v / |v|; local and global conditions have matrices and biases of their own, here
  one beside the other in the channels of one condition.
- A sample comes in as a one-hot vector times a matrix, here an embedding; or as a number, here one of two features.

At step t both are told the condition c[t] and hear sample t - 1 when they generate sample t. (In training,
wavenet_vocoder predicts sample t with c[t - 1].)
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wavenet.checkpoint import CheckpointError, build_without_memory, describe, refusing
from wavenet.conditioning import CategoricalEmbedding, Conditioner, FileConditioner
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical, OutputDistribution
from wavenet.model import WaveNet
from wavenet.untrusted import TensorPlan, check_file, check_sums, plan_of_archive, plan_of_stream, read_json

_SHRINK = math.sqrt(0.5)
_NO_FLOOR = -30.0  # a log-scale that no sample can tell from 0
_ROOM = 64 * 2**20  # bytes beside eight times the weights: optimizer, averages
_LATER = ("upsample_net", "output_distribution", "cin_pad")  # hyperparameters that came after 0.1.1
_NUMBERS = {  # hyperparameters that must be there, and the largest that each may be
    "sample_rate": 2**20, "layers": 500, "stacks": 500, "kernel_size": 2**10, "out_channels": 2**16,
    "residual_channels": 2**10, "gate_channels": 2**14, "skip_out_channels": 2**14,
}  # fmt: skip


class Imported(NamedTuple):
    """A model from elsewhere.

    Attributes:
        model: As one of this package.
        dropped: What the file has besides weights, by name.
        differs: In what the model's surroundings are others here, a sentence each.
    """

    model: WaveNet
    dropped: list[str]
    differs: list[str]


def load(checkpoint: str | Path, hparams: str | Path | None = None) -> Imported:
    """Read a checkpoint of wavenet_vocoder, weights only; nothing in it is run.

    Args:
        checkpoint: A file of its training, such as checkpoint_step001000000_ema.pth.
        hparams: The hyperparameters as JSON: a preset, or the hparams.json of its training; None looks for that
            beside the checkpoint.

    Returns:
        The model and what there is to say of it.

    Raises:
        CheckpointError: If a file is missing, damaged or from elsewhere, the two do not fit, or the model is one
            that cannot be expressed; says which.
    """
    checkpoint = Path(checkpoint)
    beside = checkpoint.with_name("hparams.json")
    if hparams is None and checkpoint.is_file() and not beside.is_file():
        raise CheckpointError(
            f"{checkpoint}: no hparams.json beside it; give hparams=FILE.json, the preset it was made by"
        )
    described = Path(hparams or beside)
    with refusing(checkpoint):
        state, dropped = _read(checkpoint)
    with refusing(described, fix=""):
        network = Network.of(read_json(described))
        network.check(state)
        model = network.build(state)
        build_without_memory(describe(model), len(model.state_dict()))  # as whoever loads it will
    return Imported(model.eval(), dropped, network.differs)


# ---- the file -----------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The weights, with normalisation folded in, in float64; and the names of all else in the file."""
    check_file(path)
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    plan = plan_of_archive(path) if archive else plan_of_stream(path)
    if not isinstance(plan, dict) or not isinstance(plan.get("state_dict"), dict):
        raise ValueError("not a checkpoint of wavenet_vocoder (it has no 'state_dict')")
    weights = 0
    for name, tensor in plan["state_dict"].items():
        if not isinstance(name, str) or not isinstance(tensor, TensorPlan) or not tensor.dtype.is_floating_point:
            raise ValueError(f"its state_dict has {name!a:.80}, which is no weight")
        weights += tensor.num_bytes
    check_file(path, 8 * weights + _ROOM)
    if archive:
        check_sums(path)
    contents = torch.load(path, map_location="cpu", weights_only=True)
    dropped = [f"{name}={value}" if isinstance(value, int) else str(name) for name, value in plan.items()]
    return _folded(contents["state_dict"]), [name for name in dropped if name != "state_dict"]


def _folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in place of pairs of a size g and a direction v, in float64."""
    result: dict[str, Tensor] = {}
    for full, tensor in state.items():
        name = full.removeprefix("module.")  # of training on several GPUs
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"weight {name} holds NaN or infinite numbers")
        sized = re.fullmatch(r"(.*)(?:weight_g|parametrizations\.weight\.original0)", name)
        directed = re.fullmatch(r"(.*)(?:weight_v|parametrizations\.weight\.original1)", name)
        if directed is not None:
            continue
        if sized is None:
            result[name] = tensor.double()
            continue
        other = full.replace("weight_g", "weight_v").replace("original0", "original1")
        if other not in state or tensor.shape != (len(state[other]), *(1,) * (state[other].dim() - 1)):
            raise ValueError(f"weight {name} has no direction of its size beside it")
        direction = state[other].double()
        length = direction.flatten(1).norm(dim=1).view(tensor.shape)
        result[f"{sized[1]}weight"] = tensor.double() * direction / length
    return result


# ---- the network --------------------------------------------------------------------------------


@dataclass
class Network:
    """What the hyperparameters say of a network, of which `build` makes ours.

    Attributes:
        numbers: Those of `_NUMBERS`.
        distribution: Of the output.
        local: Channels of the features, 0 for none.
        everywhere: Channels of a speaker's vector, 0 for none.
        speakers: How many there are.
        hop_length: Samples of a frame of features.
        scales: Of the upsampling.
        bands: That its filters reach over.
        activation: "none" or "relu", after each of its stages.
        pad: Frames to either side that are read with each.
        layout: "0.1.1", or "later".
        widened: Whether the first thing that later networks do to features is a convolution over frames.
        skips: "halved" up to 0.1.1, "added" or "averaged".
        differs: See `Imported`.
    """

    numbers: dict[str, int]
    distribution: OutputDistribution
    local: int
    everywhere: int
    speakers: int
    hop_length: int
    scales: list[int]
    bands: int
    activation: str
    pad: int
    layout: str
    widened: bool
    skips: str
    differs: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, hparams: Any) -> "Network":
        """Read hyperparameters.

        Raises:
            ValueError: If one is missing, out of range, or of a network that cannot be expressed; names it.
        """
        if not isinstance(hparams, dict):
            raise ValueError("holds no hyperparameters by name")
        numbers = {name: _whole(hparams, name, most) for name, most in _NUMBERS.items()}
        if numbers["layers"] % numbers["stacks"]:
            raise ValueError(
                f"has layers={numbers['layers']} in stacks={numbers['stacks']}, which does not divide them"
            )
        later = any(name in hparams for name in _LATER)
        legacy = hparams.get("legacy", not later)
        if not isinstance(legacy, bool):
            raise ValueError(f"has legacy={legacy!r:.40}; it is true or false")
        local = max(0, _whole(hparams, "cin_channels", 2**12, least=-1, usual=-1))
        everywhere = max(0, _whole(hparams, "gin_channels", 2**12, least=-1, usual=-1))
        if everywhere and hparams.get("use_speaker_embedding") is False:
            raise ValueError(
                f"has gin_channels={everywhere} and use_speaker_embedding=false, a vector for each utterance; that cannot "
                "be expressed, only numbered speakers can"
            )
        network = cls(
            numbers,
            _distribution(hparams, numbers["out_channels"], numbers["residual_channels"]),
            local,
            everywhere,
            _whole(hparams, "n_speakers", 10**5) if everywhere else 0,
            _hop_length(hparams, numbers["sample_rate"]) if local else 1,
            [],
            1,
            "none",
            0,
            "later" if later else "0.1.1",
            False,
            "halved" if legacy else "averaged" if later else "added",
        )
        if local and hparams.get("upsample_conditional_features"):
            network._read_upsampling(hparams)
        network.differs = _differences(network, hparams)
        return network

    def _read_upsampling(self, hparams: dict[str, Any]) -> None:
        """What the hyperparameters say of the way from frames to samples."""
        if self.layout == "0.1.1":
            settings: dict[str, Any] = {"freq_axis_kernel_size": 3, **hparams}
            self.activation = "relu"
        else:
            name, settings = hparams.get("upsample_net", "ConvInUpsampleNetwork"), hparams.get("upsample_params", {})
            if name not in ("ConvInUpsampleNetwork", "UpsampleNetwork") or not isinstance(settings, dict):
                raise ValueError(
                    f"has upsample_net={name!r:.60} with upsample_params={settings!r:.60}; what can be expressed is "
                    "ConvInUpsampleNetwork and UpsampleNetwork"
                )
            self.widened = name == "ConvInUpsampleNetwork"
            self.pad = _whole(hparams, "cin_pad", 1000, least=0, usual=0)
            self.activation = {"none": "none", "ReLU": "relu"}.get(settings.get("upsample_activation", "none"), "")
            if not self.activation or settings.get("mode", "nearest") != "nearest":
                raise ValueError(
                    f"has upsample_activation={settings.get('upsample_activation')!r:.40} and "
                    f"mode={settings.get('mode')!r:.40}; what can be expressed is none and ReLU, and nearest"
                )
        scales = settings.get("upsample_scales")
        if (
            not isinstance(scales, list)
            or len(scales) > 16
            or not all(type(each) is int and 0 < each <= 2**10 for each in scales)
        ):
            raise ValueError(f"has upsample_scales={scales!r:.60}; it is a list of whole numbers")
        if math.prod(scales) != self.hop_length:
            raise ValueError(f"has upsample_scales={scales}, whose product is not the hop of {self.hop_length} samples")
        self.scales = scales
        self.bands = _whole(settings, "freq_axis_kernel_size", 63, usual=1)
        if self.bands % 2 == 0:
            raise ValueError(f"has freq_axis_kernel_size={self.bands}; only odd ones can be expressed")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """All weights that such a network has, in their shapes."""
        n = self.numbers
        inner, gates, skips, out = n["residual_channels"], n["gate_channels"], n["skip_out_channels"], n["out_channels"]
        wanted: dict[str, tuple[int, ...]] = {}

        def conv(name: str, outputs: int, inputs: int, taps: int = 1) -> None:
            wanted[f"{name}.weight"], wanted[f"{name}.bias"] = (outputs, inputs, taps), (outputs,)

        conv("first_conv", inner, out if isinstance(self.distribution, MuLawCategorical) else 1)
        for layer in range(n["layers"]):
            conv(f"conv_layers.{layer}.conv", gates, inner, n["kernel_size"])
            conv(f"conv_layers.{layer}.conv1x1_out", inner, gates // 2)
            conv(f"conv_layers.{layer}.conv1x1_skip", skips, gates // 2)
            for name, channels in (("c", self.local), ("g", self.everywhere)):
                if channels:
                    conv(f"conv_layers.{layer}.conv1x1{name}", gates, channels)
        conv("last_conv_layers.1", skips, skips)
        conv("last_conv_layers.3", out, skips)
        if self.everywhere:
            wanted["embed_speakers.weight"] = (self.speakers, self.everywhere)
        for name, scale in zip(self.stages(), self.scales, strict=True):
            wanted[f"{name}.weight"] = (1, 1, self.bands, scale if self.layout == "0.1.1" else 2 * scale + 1)
            if self.layout == "0.1.1":
                wanted[f"{name}.bias"] = (1,)
        if self.widened:
            wanted["upsample_net.conv_in.weight"] = (self.local, self.local, 2 * self.pad + 1)
        return wanted

    def stages(self) -> list[str]:
        """The names of the upsampling's filters."""
        if self.layout == "0.1.1":
            return [f"upsample_conv.{2 * index}" for index in range(len(self.scales))]
        parts = 2 if self.activation == "none" else 3  # stretch, filter, and perhaps an activation
        inside = "upsample." if self.widened else ""
        return [f"upsample_net.{inside}up_layers.{parts * index + 1}" for index in range(len(self.scales))]

    def check(self, state: dict[str, Tensor]) -> None:
        """Raise unless there are just this network's weights; biases of conditions came and went.

        Raises:
            ValueError: Names one that differs.
        """
        wanted = self.shapes()
        for name in (*wanted, *state):
            if name in wanted and name not in state and not re.search(r"conv1x1[cg]\.bias$", name):
                raise ValueError(
                    f"describes a network with {name}, which the checkpoint does not have; it is of another model"
                )
            if name not in wanted:
                raise ValueError(
                    f"describes a network without {name:.80}, which the checkpoint has; it is of another model"
                )
            if name in state and state[name].shape != wanted[name]:
                raise ValueError(
                    f"describes a network in which {name} is {wanted[name]}; in the checkpoint it is "
                    f"{tuple(state[name].shape)}: it is of another model"
                )

    def build(self, state: dict[str, Tensor]) -> WaveNet:
        """Our model with these weights."""
        n = self.numbers
        condition_channels = max(1, self.local + self.everywhere)
        model = WaveNet(
            self.distribution,
            n["sample_rate"],
            self._conditioners(condition_channels),
            residual_channels=n["residual_channels"],
            gate_channels=n["gate_channels"],
            skip_channels=n["skip_out_channels"],
            condition_channels=condition_channels,
            kernel_size=n["kernel_size"],
            dilation_cycle=n["layers"] // n["stacks"],
            num_cycles=n["stacks"],
        )
        with torch.no_grad():
            self._fill_ends(model, state)
            for index, layer in enumerate(model.stack.layers):
                self._fill_layer(layer, index, state)
            if self.everywhere:
                _set(model.conditioners["speaker"].embedding.weight, state["embed_speakers.weight"], (0, self.local))
            if self.local:
                self._fill_features(model.conditioners["mel"], state)
        return model

    def _conditioners(self, condition_channels: int) -> dict[str, Conditioner]:
        made: dict[str, Conditioner] = {}
        if self.local:
            made["mel"] = FileConditioner(
                "mel",
                self.local,
                condition_channels,
                self.hop_length,
                self.scales,
                self.hop_length // math.prod(self.scales),
                "transposed" if self.layout == "0.1.1" else "nearest",
                max(3, self.bands),  # so that what stands before the upsampling is one product, without an activation
                self.pad if self.widened else 0,
                2 * self.local,
                edges="replicate" if self.pad and not self.widened else "zeros",
                activation=self.activation,
                upsampling_bias=self.layout == "0.1.1" and bool(self.scales),
            )
        if self.everywhere:
            names = [str(number) for number in range(self.speakers)]
            made["speaker"] = CategoricalEmbedding("speaker", names, condition_channels)
        return made

    def _fill_ends(self, model: WaveNet, state: dict[str, Tensor]) -> None:
        """The input, and the head."""
        first, conv = state["first_conv.weight"][..., 0], model.input.conv
        if isinstance(self.distribution, MuLawCategorical):
            _set(self.distribution.embedding.weight, first.T)
            _set(conv.weight, torch.eye(len(first))[..., None])
        else:
            amplitude = self.distribution.encode(torch.ones(1, 1))[0, 1, 0].double()
            _set(conv.weight, first[..., None] / amplitude, (0, 1))
        _set(conv.bias, state["first_conv.bias"])
        last = model.distribution.parameter_channels  # a mixture of one has a weight there, which means nothing
        for index in (1, 3):
            for part in ("weight", "bias"):
                values = state[f"last_conv_layers.{index}.{part}"]
                _set(getattr(model.head[index], part), values[-last:] if index == 3 else values)

    def _fill_layer(self, layer: Any, index: int, state: dict[str, Tensor]) -> None:
        theirs = {name.split(".", 2)[2]: w for name, w in state.items() if name.startswith(f"conv_layers.{index}.")}
        shrunk = _SHRINK**index
        _set(layer.dilated.conv.weight, theirs["conv.weight"] * shrunk)
        biases = [theirs[name] for name in ("conv.bias", "conv1x1c.bias", "conv1x1g.bias") if name in theirs]
        _set(layer.dilated.conv.bias, torch.stack(biases).sum(dim=0))
        told = [theirs[name] for name in ("conv1x1c.weight", "conv1x1g.weight") if name in theirs]
        if told:
            _set(layer.condition.weight, torch.cat(told, dim=1))
        layers = self.numbers["layers"]
        share = {"added": 1.0, "averaged": math.sqrt(1 / layers), "halved": _SHRINK ** (layers - max(index, 1))}
        for part in ("weight", "bias"):
            _set(getattr(layer.skip, part), theirs[f"conv1x1_skip.{part}"] * share[self.skips])
            if layer.residual is not None:
                _set(getattr(layer.residual, part), theirs[f"conv1x1_out.{part}"] / shrunk)

    def _fill_features(self, conditioner: Any, state: dict[str, Tensor]) -> None:
        """From frames to samples; at its end x = relu(x) - relu(-x) goes into the first channels of the condition."""
        same = torch.eye(self.local)
        frames = state.get("upsample_net.conv_in.weight")
        if frames is None:
            _set(conditioner.before.weight, same[..., None])
        else:
            _set(conditioner.before.weight, frames)
        _set(conditioner.before.bias, torch.zeros(self.local))
        into, _, out_of = conditioner.after
        _set(into.weight, torch.cat([same, -same])[..., None])
        _set(into.bias, torch.zeros(2 * self.local))
        _set(out_of.weight, torch.cat([same, -same], dim=1)[..., None])
        _set(out_of.bias, torch.zeros(len(out_of.bias)))
        for index, (name, taps) in enumerate(zip(self.stages(), conditioner.upsample.filters, strict=True)):
            theirs = state[f"{name}.weight"]
            middle = [(ours - its) // 2 for ours, its in zip(taps.shape, theirs.shape, strict=True)]
            _set(taps, theirs, tuple(middle))
            if f"{name}.bias" in state:
                _set(conditioner.upsample.biases[index], state[f"{name}.bias"])


def _set(target: Any, values: Tensor, place: tuple[int, ...] = ()) -> None:
    """Put values into a weight, from a place on in each dimension; all else of it becomes 0."""
    target.zero_()
    for dim, (begin, size) in enumerate(zip((*place, *[0] * (values.dim() - len(place))), values.shape, strict=True)):
        target = target.narrow(dim, begin, size)
    target.copy_(values)


# ---- the hyperparameters ------------------------------------------------------------------------


def _whole(hparams: dict[str, Any], name: str, most: int, least: int = 1, usual: int | None = None) -> int:
    value = hparams.get(name, usual)
    if value is None:
        raise ValueError(f"has no {name}, which the network is made by")
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"has {name}={value!r:.40}; it is a whole number from {least} to {most}")
    return value


def _hop_length(hparams: dict[str, Any], sample_rate: int) -> int:
    """Samples of a frame, which are given as a number or as a time in ms."""
    shift = hparams.get("frame_shift_ms")
    if hparams.get("hop_size") is None and isinstance(shift, int | float) and 0 < shift < 10_000:
        return _whole({"hop_size": int(shift / 1000 * sample_rate)}, "hop_size", 2**14)
    return _whole(hparams, "hop_size", 2**14)


def _distribution(hparams: dict[str, Any], out_channels: int, residual_channels: int) -> OutputDistribution:
    """The output distribution whose parameters the network makes."""
    kind, classes = hparams.get("input_type"), _whole(hparams, "quantize_channels", 2**16, least=2)
    if kind == "mulaw-quantize":
        if classes != out_channels:
            raise ValueError(
                f"has quantize_channels={classes} and out_channels={out_channels}; classes are as many as outputs"
            )
        return MuLawCategorical(classes, residual_channels)
    if kind != "raw":
        raise ValueError(
            f"has input_type={kind!r:.40}; what can be expressed is mulaw-quantize and raw (with mulaw, the mixture is one "
            "of companded samples, and ours are of samples)"
        )
    name = hparams.get("output_distribution", "Logistic")
    if name not in ("Logistic", "Normal") or (out_channels % 3 and (name, out_channels) != ("Normal", 2)):
        raise ValueError(
            f"has output_distribution={name!r:.40} with out_channels={out_channels}; what can be expressed is Logistic and "
            "Normal, with three for each component, or Normal with two"
        )
    bits = classes.bit_length() - 1 if classes.bit_count() == 1 and classes >= 4 else 16
    mixture = LogisticMixture if name == "Logistic" else GaussianMixture
    return mixture(max(1, out_channels // 3), bits, encoding_channels=2, log_scale_min=_NO_FLOOR)


def _differences(network: Network, hparams: dict[str, Any]) -> list[str]:
    """What is not the same as in wavenet_vocoder's scripts, though the network is."""
    differs = []
    if isinstance(network.distribution, MuLawCategorical):
        differs.append("a recording is rounded to the nearest class; wavenet_vocoder takes the one below")
        differs.append(
            "classes are levels of mu-law with mu = classes - 1; its scripts have mu = classes, up to 4 % lower ones"
            if network.layout == "0.1.1"
            else "audio begins after a sample of the class above the middle; its scripts begin with the one below"
        )
    else:
        floor = hparams.get("log_scale_min")
        differs.append(f"samples are rounded to {network.distribution.bits} bits")
        if isinstance(floor, int | float) and floor > _NO_FLOOR:
            where = (
                "when it draws and learns" if network.layout == "0.1.1" else "when it learns, though not when it draws"
            )
            differs.append(f"log-scales have no floor; wavenet_vocoder has {floor:g} {where}")
    if network.local:
        differs.append(
            f"mel is not computed from sound: it is read from files ({network.local}, frames), which are those of "
            "wavenet_vocoder's preprocessing transposed, in their own scale"
        )
    if network.pad == 1 and not network.widened:  # from 2 on, what lies beyond is out of the filters' reach
        differs.append("the first and last frame are upsampled as if they went on for ever, not for cin_pad frames")
    for name in ("preprocess", "postprocess"):
        if hparams.get(name):
            differs.append(
                f"{name}={hparams[name]!r:.60} is a filter of its scripts, which the audio here does not get"
            )
    gain = hparams.get("global_gain_scale", 1)
    if isinstance(gain, int | float) and gain not in (0, 1):
        differs.append(
            f"global_gain_scale={gain:g}: the audio is louder by that factor in training than it was recorded"
        )
    if hparams.get("dropout"):
        differs.append(f"dropout={hparams['dropout']:.3g} was for training only")
    return differs
