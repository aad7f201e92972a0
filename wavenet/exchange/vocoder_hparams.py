"""The hyperparameters of wavenet_vocoder, from JSON: the network that they describe, and what is unsupported."""

import math
from dataclasses import dataclass, field
from typing import Any

from wavenet.bounds import CHANNELS, KERNELS, MAX_CATEGORIES, MAX_LAYERS, RATES
from wavenet.types import Integer

NO_FLOOR = -30.0  # a log-scale that no sample can tell from 0
_LATER = ("upsample_net", "output_distribution", "cin_pad")  # came after 0.1.1
_SIZES = {  # those that must be there, and what each may be: as much as can be loaded
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
        scales: Of the stages; none if values are only repeated.
        bands: That the filters reach over.
        relu: Whether each stage ends with one.
        pad: Frames to either side that are there besides.
        widened: Whether a convolution over frames comes first, which takes these.
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
        sizes: Those of `_SIZES`.
        output: What comes out: "classes", "logistic" or "normal".
        bits: Of the samples, if not classes.
        later: Whether the layout came after 0.1.1.
        skips: How they are added up: "halved" up to 0.1.1, "added" there without legacy, "averaged" later.
        local: Channels of the features, 0 for none.
        everywhere: Channels of a speaker's vector, 0 for none.
        speakers: How many there are.
        upsampling: Of the features.
        differs: In what the model's surroundings are others here, a sentence each.
    """

    sizes: dict[str, int]
    output: str
    bits: int
    later: bool
    skips: str
    local: int
    everywhere: int
    speakers: int
    upsampling: Upsampling
    differs: list[str] = field(default_factory=list)


def read(hparams: Any) -> Hyperparameters:
    """Parse plain data.

    Raises:
        ValueError: If something is missing, out of range, or of a network that cannot be expressed; names it.
    """
    if not isinstance(hparams, dict):
        raise ValueError("holds no hyperparameters by name")
    sizes = {name: _whole(hparams, name, kind.high, kind.low) for name, kind in _SIZES.items()}
    if sizes["layers"] % sizes["stacks"]:
        raise ValueError(f"has layers={sizes['layers']} in stacks={sizes['stacks']}, which does not divide them")
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
    output, bits = _output(hparams, sizes["out_channels"])
    read = Hyperparameters(
        sizes,
        output,
        bits,
        later,
        "halved" if legacy else "averaged" if later else "added",
        local,
        everywhere,
        _whole(hparams, "n_speakers", MAX_CATEGORIES) if everywhere else 0,
        _upsampling(hparams, later, sizes["sample_rate"]) if local else Upsampling(1),
    )
    read.differs = _differences(read, hparams)
    return read


def _whole(hparams: dict[str, Any], name: str, most: int, least: int = 1, usual: int | None = None) -> int:
    value = hparams.get(name, usual)
    if value is None:
        raise ValueError(f"has no {name}, which the network is made by")
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"has {name}={value!r:.40}; it is a whole number from {least} to {most}")
    return value


def _output(hparams: dict[str, Any], out_channels: int) -> tuple[str, int]:
    """Return the output distribution and the bits of the samples."""
    kind, classes = hparams.get("input_type"), _whole(hparams, "quantize_channels", 2**16, least=2)
    if kind == "mulaw-quantize":
        if classes != out_channels:
            raise ValueError(f"has quantize_channels={classes} and out_channels={out_channels}; both are the classes")
        return "classes", 0
    if kind != "raw":
        raise ValueError(
            f"has input_type={kind!r:.40}; what can be expressed is mulaw-quantize and raw (mulaw is a mixture of "
            "companded samples, and ours are of samples)"
        )
    name = hparams.get("output_distribution", "Logistic")
    if name not in ("Logistic", "Normal") or (out_channels % 3 and (name, out_channels) != ("Normal", 2)):
        raise ValueError(
            f"has output_distribution={name!r:.40} with out_channels={out_channels}; what can be expressed is "
            "Logistic and Normal, with three for each component, or Normal with two"
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
                f"has upsample_net={name!r:.40} with upsample_params={settings!r:.40}; what can be expressed is "
                "ConvInUpsampleNetwork and UpsampleNetwork"
            )
        activation, mode = settings.get("upsample_activation", "none"), settings.get("mode", "nearest")
        if activation not in ("none", "ReLU") or mode != "nearest":
            raise ValueError(
                f"has upsample_activation={activation!r:.40} and mode={mode!r:.40}; what can be expressed is none "
                "and ReLU, and nearest"
            )
        pad = _whole(hparams, "cin_pad", 1000, least=0, usual=0)
        usual_bands, widened, relu = 1, name == "ConvInUpsampleNetwork", activation == "ReLU"
    scales = settings.get("upsample_scales")
    if not isinstance(scales, list) or len(scales) > 16 or any(type(each) is not int or each < 1 for each in scales):
        raise ValueError(f"has upsample_scales={scales!r:.60}; it is a list of whole numbers")
    if math.prod(scales) != hop_length:
        raise ValueError(f"has upsample_scales={scales!s:.60}, whose product is not the hop of {hop_length} samples")
    bands = _whole(settings, "freq_axis_kernel_size", 63, usual=usual_bands)
    if bands % 2 == 0:
        raise ValueError(f"has freq_axis_kernel_size={bands}; only odd ones can be expressed")
    return Upsampling(hop_length, scales, bands, relu, pad, widened)


def _hop_length(hparams: dict[str, Any], sample_rate: int) -> int:
    """Return the samples per frame, given as a number or in ms."""
    shift = hparams.get("frame_shift_ms")
    if hparams.get("hop_size") is None and isinstance(shift, int | float) and 0 < shift < 10_000:
        return _whole({"frame_shift_ms": int(shift / 1000 * sample_rate)}, "frame_shift_ms", 2**14)
    return _whole(hparams, "hop_size", 2**14)


def _differences(network: Hyperparameters, hparams: dict[str, Any]) -> list[str]:
    """List what differs from wavenet_vocoder's scripts, though the network is the same."""
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
            where = "when it learns, though not when it draws" if network.later else "when it draws and learns"
            differs.append(f"log-scales have no floor; wavenet_vocoder has {floor:g} {where}")
    if network.local:
        differs.append(
            f"mel is not computed from sound: it is read from files ({network.local}, frames), which are those of "
            "wavenet_vocoder's preprocessing transposed, in their own scale"
        )
    if (
        network.upsampling.pad == 1 and not network.upsampling.widened
    ):  # from 2 on, the end is out of the filters' reach
        differs.append("the first and last frame are upsampled as if they went on for ever, not for one frame")
    for name in ("preprocess", "postprocess"):
        if hparams.get(name):
            differs.append(
                f"{name}={hparams[name]!r:.40} is a filter of its scripts, which the audio here does not get"
            )
    gain = hparams.get("global_gain_scale", 1)
    if isinstance(gain, int | float) and gain not in (0, 1):
        differs.append(f"audio has {gain:g} of the recordings' level (global_gain_scale), by which its scripts divide")
    dropout = hparams.get("dropout")
    if isinstance(dropout, int | float) and dropout:
        differs.append(f"dropout={dropout:.3g} was for training only")
    return differs
