"""Import of models of r9y9's wavenet_vocoder (https://github.com/r9y9/wavenet_vocoder), versions 0.1.1 and later.

Its network is the same except for constants, which are folded into the weights here:

- A layer's output is scaled, x' = (x + W z) s with s = sqrt(1/2). With x = s^l u it is u' = u + s^-l W z: layer l's
  dilated convolution is multiplied by s^l, and its residual product by s^-l.
- The skips are summed as (skips + h) s from layer to layer (up to 0.1.1), without a factor (0.1.1 with legacy
  false), or with sqrt(1 / layers) at the end (later): a factor for each layer.
- Weights are normalised, w = g v / |v|; local and global conditions have separate matrices and biases, here
  side by side in the channels of one condition.
- The input sample is a one-hot vector times a matrix, here an embedding; or a number, here one of two features.

At step t both generate sample t from the condition c[t] and sample t - 1. (In training, wavenet_vocoder predicts
sample t with c[t - 1].)
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wavenet.checkpoint import (
    CheckpointError,
    TensorPlan,
    build_on_meta,
    check_file,
    check_sums,
    describe,
    plan_of_archive,
    plan_of_stream,
    read_json,
    refusing,
)
from wavenet.conditioning import CategoricalEmbedding, Conditioner, FileConditioner
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical, OutputDistribution
from wavenet.exchange import vocoder_hparams
from wavenet.exchange.vocoder_hparams import NO_FLOOR, Hyperparameters
from wavenet.model import WaveNet
from wavenet.native import Layout
from wavenet.native.layout import LayerModules
from wavenet.nn import Upsampling

_SHRINK = math.sqrt(0.5)
_ROOM = 64 * 2**20  # bytes allowed beside eight times the weights, for optimizer and averages
_SIZE = re.compile(r"(.*)(?:weight_g|parametrizations\.weight\.original0)")
_DIRECTION = re.compile(r"(.*)(?:weight_v|parametrizations\.weight\.original1)")
_OPTIONAL = re.compile(r"conv_layers\.\d+\.conv1x1[cg]\.bias")  # only in some versions


class Imported(NamedTuple):
    """An imported model.

    Attributes:
        model: The model as one of this package.
        dropped: Names of the file's contents besides weights.
        differs: What differs around the model, one sentence each.
    """

    model: WaveNet
    dropped: list[str]
    differs: list[str]


def load(checkpoint: str | Path, hparams: str | Path | None = None) -> Imported:
    """Read a checkpoint of wavenet_vocoder, weights only; no code in it is run.

    Args:
        checkpoint: A file of its training, such as checkpoint_step001000000_ema.pth.
        hparams: The hyperparameters as JSON: a preset, or the hparams.json of its training; None looks for that
            beside the checkpoint.

    Returns:
        The model, what was dropped and what differs.

    Raises:
        CheckpointError: If a file is missing, damaged or of another program, the two do not fit, or the model is not
            supported; names the reason.
    """
    checkpoint = Path(checkpoint)
    hparams_path = Path(hparams or checkpoint.with_name("hparams.json"))
    if hparams is None and checkpoint.is_file() and not hparams_path.is_file():
        raise CheckpointError(
            f"{checkpoint}: no hparams.json beside it; give hparams=FILE.json, the preset of its training"
        )
    with refusing(checkpoint):
        state, dropped = _read(checkpoint)
    with refusing(hparams_path, fix=""):
        network = vocoder_hparams.read(read_json(hparams_path))
        _check(network, state)
        model = _build(network, state)
        build_on_meta(describe(model), len(model.state_dict()))  # as loading it will do
    return Imported(model.eval(), dropped, network.differs)


# ---- the file -----------------------------------------------------------------------------------


def _read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights in float64, with normalisation folded in, and the names of everything else in the file."""
    check_file(path)
    with path.open("rb") as file:
        archive = file.read(2) == b"PK"
    plan = plan_of_archive(path) if archive else plan_of_stream(path)
    if not isinstance(plan, dict) or not isinstance(plan.get("state_dict"), dict):
        raise ValueError("not a checkpoint of wavenet_vocoder (it has no 'state_dict')")
    weights = 0
    for name, tensor in plan["state_dict"].items():
        if not isinstance(name, str) or not isinstance(tensor, TensorPlan) or not tensor.dtype.is_floating_point:
            raise ValueError(f"its state_dict has {name!a:.80}, which is not a weight")
        weights += tensor.num_bytes
    check_file(path, 8 * weights + _ROOM)
    if archive:
        check_sums(path)
    contents = torch.load(path, map_location="cpu", weights_only=True)
    others = {name: value for name, value in plan.items() if name != "state_dict"}
    dropped = [f"{name!s:.40}" + (f"={value}" if isinstance(value, int) else "") for name, value in others.items()]
    return _folded(contents["state_dict"]), dropped


def _folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace pairs of a norm g and a direction v with weights, in float64."""
    result: dict[str, Tensor] = {}
    for full, tensor in state.items():
        name = full.removeprefix("module.")  # of training on several GPUs
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"weight {name} holds NaN or infinite numbers")
        if _DIRECTION.fullmatch(name):
            continue
        sized = _SIZE.fullmatch(name)
        if sized is None:
            result[name] = tensor.double()
            continue
        other = full.replace("weight_g", "weight_v").replace("original0", "original1")
        if other not in state or tensor.shape != (len(state[other]), *(1,) * (state[other].dim() - 1)):
            raise ValueError(f"weight {name} has no direction (weight_v) of a matching size")
        direction = state[other].double()
        length = direction.flatten(1).norm(dim=1).clamp(min=1e-30).view(tensor.shape)
        result[f"{sized[1]}weight"] = tensor.double() * direction / length
    return result


def _shapes(network: Hyperparameters) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all weights of such a network."""
    sizes, up = network.sizes, network.upsampling
    inner, gates, skips = sizes["residual_channels"], sizes["gate_channels"], sizes["skip_out_channels"]
    expected: dict[str, tuple[int, ...]] = {}

    def conv(name: str, outputs: int, inputs: int, taps: int = 1) -> None:
        expected[f"{name}.weight"], expected[f"{name}.bias"] = (outputs, inputs, taps), (outputs,)

    conv("first_conv", inner, sizes["out_channels"] if network.output == "classes" else 1)
    for layer in range(sizes["layers"]):
        conv(f"conv_layers.{layer}.conv", gates, inner, sizes["kernel_size"])
        conv(f"conv_layers.{layer}.conv1x1_out", inner, gates // 2)
        conv(f"conv_layers.{layer}.conv1x1_skip", skips, gates // 2)
        for name, channels in (("c", network.local), ("g", network.global_)):
            if channels:
                conv(f"conv_layers.{layer}.conv1x1{name}", gates, channels)
    conv("last_conv_layers.1", skips, skips)
    conv("last_conv_layers.3", sizes["out_channels"], skips)
    if network.global_:
        expected["embed_speakers.weight"] = (network.speakers, network.global_)
    for name, scale in zip(_stages(network), up.scales, strict=True):
        expected[f"{name}.weight"] = (1, 1, up.bands, 2 * scale + 1 if network.later else scale)
        if not network.later:
            expected[f"{name}.bias"] = (1,)
    if up.widened:
        expected["upsample_net.conv_in.weight"] = (network.local, network.local, 2 * up.pad + 1)
    return expected


def _stages(network: Hyperparameters) -> list[str]:
    """Return the names of the upsampling's filters."""
    count = len(network.upsampling.scales)
    if not network.later:
        return [f"upsample_conv.{2 * index}" for index in range(count)]
    parts = 3 if network.upsampling.relu else 2  # stretch, filter, and perhaps an activation
    inside = "upsample." if network.upsampling.widened else ""
    return [f"upsample_net.{inside}up_layers.{parts * index + 1}" for index in range(count)]


def _check(network: Hyperparameters, state: dict[str, Tensor]) -> None:
    """Check that the state has exactly this network's weights.

    Raises:
        ValueError: Names one that differs.
    """
    expected, mismatch = _shapes(network), "the two are of different models"
    for name in (*expected, *state):
        if name not in state and not _OPTIONAL.fullmatch(name):
            raise ValueError(f"describes a network with {name}, which the checkpoint does not have; {mismatch}")
        if name not in expected:
            raise ValueError(f"describes a network without {name:.60}, which the checkpoint has; {mismatch}")
        if name in state and state[name].shape != expected[name]:
            loaded = tuple(state[name].shape)
            raise ValueError(f"needs {name} of shape {expected[name]}; the checkpoint's has {loaded}; {mismatch}")


# ---- the network --------------------------------------------------------------------------------


def _build(network: Hyperparameters, state: dict[str, Tensor]) -> WaveNet:
    """Build this package's model with these weights."""
    sizes = network.sizes
    condition_channels = max(1, network.local + network.global_)
    model = WaveNet(
        _distribution(network),
        sizes["sample_rate"],
        _conditioners(network, condition_channels),
        residual_channels=sizes["residual_channels"],
        gate_channels=sizes["gate_channels"],
        skip_channels=sizes["skip_out_channels"],
        condition_channels=condition_channels,
        kernel_size=sizes["kernel_size"],
        dilation_cycle=sizes["layers"] // sizes["stacks"],
        num_cycles=sizes["stacks"],
    )
    parts: Any = model.conditioners
    with torch.no_grad():
        layout = Layout(model)
        _fill_ends(model.distribution, layout, state)
        for index, layer in enumerate(layout.layers):
            _fill_layer(layer, index, network, state)
        if network.global_:
            _set(parts["speaker"].embedding.weight, state["embed_speakers.weight"], (0, network.local))
        if network.local:
            _fill_features(parts["mel"], network, state)
    return model


def _distribution(network: Hyperparameters) -> OutputDistribution:
    out_channels = network.sizes["out_channels"]
    if network.output == "classes":
        return MuLawCategorical(out_channels, network.sizes["residual_channels"])
    mixture = LogisticMixture if network.output == "logistic" else GaussianMixture
    return mixture(max(1, out_channels // 3), network.bits, encoding_channels=2, log_scale_min=NO_FLOOR)


def _conditioners(network: Hyperparameters, condition_channels: int) -> dict[str, Conditioner]:
    conditioners: dict[str, Conditioner] = {}
    up = network.upsampling
    if network.local:
        conditioners["mel"] = FileConditioner(
            "mel",
            network.local,
            condition_channels,
            up.hop_length,
            Upsampling(
                up.scales,
                up.hop_length // math.prod(up.scales),
                "nearest" if network.later else "transposed",
                max(3, up.bands),  # so that one matrix comes before the upsampling, without an activation
                activation="relu" if up.relu else "none",
                bias=bool(up.scales) and not network.later,
            ),
            up.pad if up.widened else 0,
            2 * network.local,
            edges="replicate" if up.pad and not up.widened else "zeros",
        )
    if network.global_:
        names = [str(number) for number in range(network.speakers)]
        conditioners["speaker"] = CategoricalEmbedding("speaker", names, condition_channels)
    return conditioners


def _fill_ends(distribution: OutputDistribution, layout: Layout, state: dict[str, Tensor]) -> None:
    """Fill the input and the head."""
    first = state["first_conv.weight"]
    conv: Any = layout.input
    if isinstance(distribution, MuLawCategorical):
        _set(distribution.embedding.weight, first[..., 0].T)
        _set(conv.weight, torch.eye(len(first))[..., None])
    else:  # the second input channel is the sample itself, times a factor
        _set(conv.weight, first / distribution.encode(torch.ones(1, 1))[0, 1, 0].double(), (0, 1))
    _set(conv.bias, state["first_conv.bias"])
    for part in ("weight", "bias"):
        hidden, output = layout.head
        _set(getattr(hidden, part), state[f"last_conv_layers.1.{part}"])
        last = state[f"last_conv_layers.3.{part}"]  # a mixture of one has a weight there, without effect
        _set(getattr(output, part), last[-distribution.parameter_channels :])


def _fill_layer(layer: LayerModules, index: int, network: Hyperparameters, state: dict[str, Tensor]) -> None:
    """Fill a gated layer; see the module's docstring for the factors."""
    start, layers, shrunk = f"conv_layers.{index}.", network.sizes["layers"], _SHRINK**index
    _set(layer.dilated.weight, state[f"{start}conv.weight"] * shrunk)
    biases = [
        state[f"{start}{name}.bias"] for name in ("conv", "conv1x1c", "conv1x1g") if f"{start}{name}.bias" in state
    ]
    assert layer.dilated.bias is not None
    _set(layer.dilated.bias, torch.stack(biases).sum(dim=0))
    names = [name for name in ("conv1x1c", "conv1x1g") if f"{start}{name}.weight" in state]
    if layer.condition is not None:
        _set(layer.condition.weight, torch.cat([state[f"{start}{name}.weight"] for name in names], dim=1))
    share = {"added": 1.0, "averaged": math.sqrt(1 / layers), "halved": _SHRINK ** (layers - max(index, 1))}
    for part in ("weight", "bias"):
        _set(getattr(layer.skip, part), state[f"{start}conv1x1_skip.{part}"] * share[network.skips])
        if layer.residual is not None:
            _set(getattr(layer.residual, part), state[f"{start}conv1x1_out.{part}"] / shrunk)


def _fill_features(conditioner: Any, network: Hyperparameters, state: dict[str, Tensor]) -> None:
    """Fill the upsampling; at its end x = relu(x) - relu(-x) goes into the first channels of the condition."""
    same = torch.eye(network.local)[..., None]
    _set(conditioner.before.weight, state.get("upsample_net.conv_in.weight", same))
    _set(conditioner.before.bias, torch.zeros(network.local))
    into, _, out_of = conditioner.after
    _set(into.weight, torch.cat([same, -same]))
    _set(into.bias, torch.zeros(2 * network.local))
    _set(out_of.weight, torch.cat([same, -same], dim=1))
    _set(out_of.bias, torch.zeros_like(out_of.bias))
    for index, (name, taps) in enumerate(zip(_stages(network), conditioner.upsampling.filters, strict=True)):
        loaded = state[f"{name}.weight"]
        offsets = [(size - loaded_size) // 2 for size, loaded_size in zip(taps.shape, loaded.shape, strict=True)]
        _set(taps, loaded, tuple(offsets))
        if not network.later:
            _set(conditioner.upsampling.biases[index], state[f"{name}.bias"])


def _set(target: Tensor, values: Tensor, offsets: tuple[int, ...] = ()) -> None:
    """Copy values into a weight, at an offset in each dimension; the rest becomes 0."""
    target.zero_()
    starts = (*offsets, *[0] * (values.dim() - len(offsets)))
    for dim, (start, size) in enumerate(zip(starts, values.shape, strict=True)):
        target = target.narrow(dim, start, size)
    target.copy_(values)
