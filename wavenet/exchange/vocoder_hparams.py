"""The hyperparameters of wavenet_vocoder, from JSON: the network that they describe, and what is unsupported."""

import math
from dataclasses import dataclass, field
from typing import Any

from wavenet.bounds import CHANNELS, KERNELS, MAX_CATEGORIES, MAX_LAYERS, RATES
from wavenet.types import Integer

NO_FLOOR = -30.0  # log-scale of a scale that is 0 at any resolution of samples
_LATER = ("upsample_net", "output_distribution", "cin_pad")  # introduced after 0.1.1
_SIZES = {  # required, with their ranges: as much as this package can load
    "sample_rate": RATES,
    "layers": Integer(1, MAX_LAYERS),
    "stacks": Integer(1, MAX_LAYERS),
    "kernel_size": KERNELS,
    "out_channels": Integer(1, 2**16),
    "residual_channels": CHANNELS,
    "gate_channels": CHANNELS,  # and even
    "skip_out_channels": CHANNELS,
}


@dataclass
class Upsampling:
    """The upsampling from frames to samples.

    Attributes:
        hop_length: Samples of a frame.
        scales: Upsampling factors of the stages; none if values are only repeated.
        bands: Size of the filters across bands.
        relu: Whether each stage ends with a ReLU.
        pad: Additional frames on either side.
        widened: Whether a convolution over frames comes first, which consumes these.
    """

    hop_length: int
    scales: list[int] = field(default_factory=list)
    bands: int = 1
    relu: bool = False
    pad: int = 0
    widened: bool = False


@dataclass
class Hyperparameters:
    """The hyperparameters of a network.

    Attributes:
        sizes: Values of the names in `_SIZES`.
        output: Type of the output: "classes", "logistic" or "normal".
        bits: Bits of the samples, if not classes.
        later: Whether the layout is newer than 0.1.1.
        skips: How skips are summed: "halved" up to 0.1.1, "added" there without legacy, "averaged" later.
        local: Channels of the features (local conditioning), 0 for none.
        global_: Channels of a speaker's embedding (global conditioning), 0 for none.
        speakers: Number of speakers.
        upsampling: Upsampling of the features.
        differs: What differs around the model, one sentence each.
    """

    sizes: dict[str, int]
    output: str
    bits: int
    later: bool
    skips: str
    local: int
    global_: int
    speakers: int
    upsampling: Upsampling
    differs: list[str] = field(default_factory=list)


def read(hparams: Any) -> Hyperparameters:
    """Parse hyperparameters from plain data.

    Raises:
        ValueError: If something is missing, out of range, or of an unsupported network; names it.
    """
    if not isinstance(hparams, dict):
        raise ValueError("is not a JSON object of hyperparameters")
    sizes = {name: _whole(hparams, name, size.high, size.low) for name, size in _SIZES.items()}
    if sizes["layers"] % sizes["stacks"]:
        raise ValueError(
            f"has layers={sizes['layers']} in stacks={sizes['stacks']}; layers must be a multiple of stacks"
        )
    later = any(name in hparams for name in _LATER)
    legacy = hparams.get("legacy", not later)
    if not isinstance(legacy, bool):
        raise ValueError(f"has legacy={legacy!r:.40}; it must be true or false")
    local = max(0, _whole(hparams, "cin_channels", 2**12, least=-1, usual=-1))
    global_ = max(0, _whole(hparams, "gin_channels", 2**12, least=-1, usual=-1))
    if global_ and hparams.get("use_speaker_embedding") is False:
        raise ValueError(
            f"has gin_channels={global_} and use_speaker_embedding=false, a vector for each utterance; only "
            "numbered speakers are supported"
        )
    output, bits = _output(hparams, sizes["out_channels"])
    network = Hyperparameters(
        sizes,
        output,
        bits,
        later,
        "halved" if legacy else "averaged" if later else "added",
        local,
        global_,
        _whole(hparams, "n_speakers", MAX_CATEGORIES) if global_ else 0,
        _upsampling(hparams, later, sizes["sample_rate"]) if local else Upsampling(1),
    )
    network.differs = _differences(network, hparams)
    return network


def _whole(hparams: dict[str, Any], name: str, most: int, least: int = 1, usual: int | None = None) -> int:
    value = hparams.get(name, usual)
    if value is None:
        raise ValueError(f"has no {name}, which the network needs")
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"has {name}={value!r:.40}; it must be a whole number from {least} to {most}")
    return value


def _output(hparams: dict[str, Any], out_channels: int) -> tuple[str, int]:
    """Return the output distribution and the bits of the samples."""
    input_type, classes = hparams.get("input_type"), _whole(hparams, "quantize_channels", 2**16, least=2)
    if input_type == "mulaw-quantize":
        if classes != out_channels:
            raise ValueError(f"has quantize_channels={classes} and out_channels={out_channels}; they must be equal")
        return "classes", 0
    if input_type != "raw":
        raise ValueError(
            f"has input_type={input_type!r:.40}; supported are mulaw-quantize and raw (mulaw is a mixture over "
            "companded samples, which this package does not have)"
        )
    name = hparams.get("output_distribution", "Logistic")
    if name not in ("Logistic", "Normal") or (out_channels % 3 and (name, out_channels) != ("Normal", 2)):
        raise ValueError(
            f"has output_distribution={name!r:.40} with out_channels={out_channels}; supported are "
            "Logistic and Normal with three channels for each component, and Normal with two"
        )
    return name.lower(), classes.bit_length() - 1 if classes.bit_count() == 1 and classes >= 4 else 16


def _upsampling(hparams: dict[str, Any], later: bool, sample_rate: int) -> Upsampling:
    hop_length = _hop_length(hparams, sample_rate)
    if not hparams.get("upsample_conditional_features"):
        return Upsampling(hop_length)
    settings: Any = hparams
    pad, usual_bands, widened, relu = 0, 3, False, True
    if later:
        name, settings = hparams.get("upsample_net", "ConvInUpsampleNetwork"), hparams.get("upsample_params", {})
        if name not in ("ConvInUpsampleNetwork", "UpsampleNetwork") or not isinstance(settings, dict):
            raise ValueError(
                f"has upsample_net={name!r:.40} with upsample_params={settings!r:.40}; supported are "
                "ConvInUpsampleNetwork and UpsampleNetwork"
            )
        activation, mode = settings.get("upsample_activation", "none"), settings.get("mode", "nearest")
        if activation not in ("none", "ReLU") or mode != "nearest":
            raise ValueError(
                f"has upsample_activation={activation!r:.40} and mode={mode!r:.40}; supported are none "
                "and ReLU, and nearest"
            )
        pad = _whole(hparams, "cin_pad", 1000, least=0, usual=0)
        usual_bands, widened, relu = 1, name == "ConvInUpsampleNetwork", activation == "ReLU"
    scales = settings.get("upsample_scales")
    if not isinstance(scales, list) or len(scales) > 16 or any(type(each) is not int or each < 1 for each in scales):
        raise ValueError(f"has upsample_scales={scales!r:.60}; it must be a list of at most 16 whole numbers above 0")
    if math.prod(scales) != hop_length:
        raise ValueError(f"has upsample_scales={scales!s:.60}, whose product is not the hop of {hop_length} samples")
    bands = _whole(settings, "freq_axis_kernel_size", 63, usual=usual_bands)
    if bands % 2 == 0:
        raise ValueError(f"has freq_axis_kernel_size={bands}; only odd sizes are supported")
    return Upsampling(hop_length, scales, bands, relu, pad, widened)


def _hop_length(hparams: dict[str, Any], sample_rate: int) -> int:
    """Return the samples per frame, given as a number or in ms."""
    shift = hparams.get("frame_shift_ms")
    if hparams.get("hop_size") is None and isinstance(shift, int | float) and 0 < shift < 10_000:
        return _whole({"frame_shift_ms": int(shift / 1000 * sample_rate)}, "frame_shift_ms", 2**14)
    return _whole(hparams, "hop_size", 2**14)


def _differences(network: Hyperparameters, hparams: dict[str, Any]) -> list[str]:
    """List the differences from wavenet_vocoder's scripts; the network itself is the same."""
    differs = []
    if network.output == "classes":
        differs.append("a recording is rounded to the nearest class; wavenet_vocoder takes the one below")
        differs.append(
            "audio begins after a sample of the class above the middle; its scripts begin with the one below"
            if network.later
            else "classes are levels of mu-law with mu = classes - 1; its scripts have mu = classes, up to 4 % lower"
        )
    else:
        floor = hparams.get("log_scale_min")
        differs.append(f"samples are rounded to {network.bits} bits")
        if isinstance(floor, int | float) and floor > NO_FLOOR:
            where = "in training, but not in generation" if network.later else "in generation and training"
            differs.append(f"log-scales have no floor; wavenet_vocoder has {floor:g} {where}")
    if network.local:
        differs.append(
            f"mel is not computed from audio: it is read from files ({network.local}, frames), the output of "
            "wavenet_vocoder's preprocessing, transposed and in its own scale"
        )
    if (
        network.upsampling.pad == 1 and not network.upsampling.widened
    ):  # from 2 on, the end is out of the filters' reach
        differs.append("the first and last frame are upsampled as if repeated endlessly, not for one frame")
    for name in ("preprocess", "postprocess"):
        if hparams.get(name):
            differs.append(
                f"{name}={hparams[name]!r:.40} is a filter of its scripts, which is not applied to the audio here"
            )
    gain = hparams.get("global_gain_scale", 1)
    if isinstance(gain, int | float) and gain not in (0, 1):
        differs.append(f"audio has {gain:g} of the recordings' level (global_gain_scale), by which its scripts divide")
    dropout = hparams.get("dropout")
    if isinstance(dropout, int | float) and dropout:
        differs.append(f"dropout={dropout:.3g} was for training only")
    return differs
