"""Frames of features on their way to samples: what they cover, where they stand, and what they depend on."""

import numpy as np
import pytest
import torch

from tests.conftest import PROMPTS
from wavenet.audio import read
from wavenet.conditioning import F0Conditioner, FileConditioner, MelConditioner
from wavenet.nn import Upsampling

KINDS = {
    "mel": lambda **o: MelConditioner(8000, 3, n_fft=64, hop_length=24, n_mels=5, **with_upsampling(**o)),
    "f0": lambda **o: F0Conditioner(8000, 3, hop_length=24, **with_upsampling(**o)),
    "features": lambda **o: FileConditioner("features", 4, 3, hop_length=24, **with_upsampling(**o)),
}
OF_UPSAMPLING = ("kind", "freq_kernel_size", "activation", "bias")


def with_upsampling(scales=(2, 3), hold=4, **options):
    """A conditioner's options, those of its upsampling as one."""
    of_it = {name: options.pop(name) for name in OF_UPSAMPLING if name in options}
    return options | {"upsampling": Upsampling(scales, hold, **of_it)}


VARIANTS = [
    (name, {"kind": kind, "context_frames": context} | bands)
    for name in KINDS
    for kind in ("nearest", "transposed")
    for context in (0, 2)
    for bands in ([{}] if name == "f0" else [{"freq_kernel_size": 1}, {"freq_kernel_size": 3}])
]
WITH_MORE = {"activation": "relu", "bias": True}  # what networks from elsewhere have
each = pytest.mark.parametrize(("name", "options"), VARIANTS)


def frames_for(name, count, batch=1):
    """Random features; F0 in Hz, with pauses."""
    channels = KINDS[name]().num_features
    frames = torch.randn(batch, channels, count, dtype=torch.float64)
    return (150 + 100 * frames).clamp(min=0) if name == "f0" else frames


def wild(conditioner):
    """Give every filter weights of its own."""
    for taps in conditioner.upsampling.filters:
        torch.nn.init.normal_(taps)
    for bias in conditioner.upsampling.biases or []:
        torch.nn.init.normal_(bias)
    return conditioner.double()


@each
def test_frames_cover_their_samples(name, options):
    conditioner = wild(KINDS[name](**options))
    for count in (1, 2, 7):
        condition = conditioner({name: frames_for(name, count, 2)}, 2)
        assert condition.values.shape == (2, 3, count * 6)
        assert (condition.hop_length, condition.offset, condition.num_samples) == (4, 0, count * 24)


@each
def test_a_piece_with_its_margin_is_the_same_as_the_whole(name, options):
    """And with a frame less to either side it is not: the margin is no guess."""
    conditioner = wild(KINDS[name](**options))
    margin, rest = divmod(conditioner.margin, 24)
    assert rest == 0 and margin > 0
    frames = frames_for(name, 40) + (200 if name == "f0" else 0)  # voiced, so that each frame has a say
    whole = conditioner({name: frames}, 1).values[..., 18 * 6 : 22 * 6]
    for fewer in (0, 1):
        begin, end = 18 - margin + fewer, 22 + margin - fewer
        piece = conditioner({name: frames[..., begin:end]}, 1).values[..., (18 - begin) * 6 : (22 - begin) * 6]
        equal = torch.isclose(piece, whole, rtol=1e-12, atol=1e-12)
        assert equal.all() if fewer == 0 else not (equal[..., :6].all() or equal[..., -6:].all())


@each
def test_a_constant_feature_gives_a_constant_condition(name, options):
    """Also at the ends, beyond which the first and the last frame go on."""
    conditioner = KINDS[name](**options).double()
    values = conditioner({name: frames_for(name, 1).expand(-1, -1, 9)}, 1).values
    torch.testing.assert_close(values, values[..., :1].expand_as(values), rtol=1e-6, atol=1e-6)  # of float32 filters


@pytest.mark.parametrize("options", [{}, {"context_frames": 0}, {"kind": "transposed"}, WITH_MORE])
def test_beyond_the_edges_the_upsampling_may_hear_zeros(options):
    """Frames that are far enough from the ends have the same condition, and the ends that of a pause."""
    conditioner = wild(FileConditioner("features", 4, 3, 24, **with_upsampling([6], edges="zeros", **options)))
    frames = frames_for("features", 9)
    values = conditioner({"features": frames}, 1).values
    reading = torch.nn.functional.pad(frames, [conditioner.context_frames] * 2, mode="replicate")
    inputs = torch.nn.functional.pad(conditioner.before(reading), (9, 9))
    upsampled = conditioner.upsampling(inputs)[..., 9 * 6 : -9 * 6]
    torch.testing.assert_close(values, conditioner.after(upsampled), rtol=1e-12, atol=1e-12)
    conditioner.edges = "replicate"
    going_on = conditioner({"features": frames}, 1).values
    end = conditioner.upsampling.margin * 6
    torch.testing.assert_close(values[..., end:-end], going_on[..., end:-end], rtol=1e-12, atol=1e-12)
    for edge in (slice(0, end), slice(-end, None)):
        assert (values[..., edge] - going_on[..., edge]).abs().max() > 1e-3


def test_an_activation_and_a_bias_end_each_stage_of_the_upsampling():
    upsample = Upsampling([2, 3], 1, kind="transposed", activation="relu", bias=True).double()
    for bias, value in zip(upsample.biases, (0.5, -0.1), strict=True):
        bias.data.fill_(value)
    frames = torch.tensor([[[1.0, 1, 1, 1, -1, -1, -1, -1]]], dtype=torch.float64)
    values = upsample(frames)[0, 0]
    # where all neighbours are alike: relu(relu(1 + 0.5) - 0.1), and relu(relu(-1 + 0.5) - 0.1)
    torch.testing.assert_close(values[[12, 36]], torch.tensor([1.4, 0.0], dtype=torch.float64))


@each
def test_it_may_be_given_in_several_forms(name, options):
    conditioner = KINDS[name](**options)
    frames = frames_for(name, 6).float()
    expected = conditioner({name: frames}, 2).values
    torch.testing.assert_close(conditioner({name: frames.expand(2, -1, -1)}, 2).values, expected)
    for form in (frames, frames[0], frames[0].numpy(), frames[0].double(), frames[0].numpy().astype(np.float64)):
        assert torch.equal(conditioner({name: form}, 2).values, expected)


@each
def test_an_utterance_of_a_batch_is_conditioned_as_alone(name, options):
    """To the bit where no gradient is asked for: generated audio does not depend on the batch."""
    conditioner = wild(KINDS[name](**options)).float()
    frames = frames_for(name, 9, 3).float()
    with torch.inference_mode():
        batch = conditioner({name: frames}, 3).values
        for k in range(3):
            assert torch.equal(conditioner({name: frames[k]}, 1).values[0], batch[k])
    torch.testing.assert_close(conditioner({name: frames}, 3).values, batch)


@pytest.mark.parametrize("name", KINDS)
def test_wrong_features_are_named(name):
    conditioner = KINDS[name]()
    channels, good = conditioner.num_features, frames_for(name, 5).float()
    for wrong in (good[0, :, 0], good.expand(3, -1, -1), torch.cat([good, good], dim=1), good[None]):
        shape = ", ".join(map(str, wrong.shape))
        wanted = rf"it must be \({channels}, frames\) or \(2, {channels}, frames\)"
        with pytest.raises(ValueError, match=rf"^{name} is \({shape},?\); {wanted}"):
            conditioner({name: wrong}, 2)
    for number in (float("nan"), float("inf")):
        broken = good.clone()
        broken[0, 0, 2] = number
        with pytest.raises(ValueError, match=f"{name} has no frames, or holds NaN or infinite numbers"):
            conditioner({name: broken}, 1)
    with pytest.raises(ValueError, match=f"{name} has no frames"):
        conditioner({name: good[..., :0]}, 1)
    message = rf"the model needs {name}: .* {name}=FILE.npy, an array \({channels}, frames\) of a frame for every 24"
    with pytest.raises(ValueError, match=message):
        conditioner({}, 1)


@pytest.mark.parametrize("name", KINDS)
def test_wrong_numbers_are_named(name):
    for options, message in (
        ({"context_frames": -1}, "context_frames is -1; it must be a whole number from 0"),
        ({"hidden_channels": 0}, "hidden_channels is 0"),
        ({"kind": "cubic"}, "kind is 'cubic'; it must be nearest or transposed"),
    ):
        with pytest.raises(ValueError, match=message):
            KINDS[name](**options)
    with pytest.raises(
        ValueError, match="hop_length is 24; it must be upsampling.scales x upsampling.hold = 2 x 4 = 8"
    ):
        KINDS[name](scales=[2])
    with pytest.raises(ValueError, match="freq_kernel_size is 3; it must be 1"):
        KINDS["f0"](freq_kernel_size=3)
    with pytest.raises(ValueError, match="edges is 'mirror'; it must be replicate or zeros"):
        KINDS["features"](edges="mirror")
    with pytest.raises(ValueError, match="std is 0; it must be a number above 0"):
        KINDS["mel"](std=0)
    with pytest.raises(ValueError, match="centre is -1; it must be a number above 0"):
        KINDS["f0"](centre=-1)


def test_a_pitch_below_nothing_is_named():
    with pytest.raises(ValueError, match="f0 holds -20 Hz; F0 is above 0, and 0 in unvoiced frames"):
        KINDS["f0"]()({"f0": torch.tensor([[100.0, -20.0, 0.0]])}, 1)


def test_the_network_reads_voicing_and_the_height_of_the_voice():
    read_by_network = KINDS["f0"]().normalise(torch.tensor([[[0.0, 150.0, 150.0 * np.exp(0.4), 75.0]]]))
    expected = torch.tensor([[[0.0, 1, 1, 1], [0, 0, 1, np.log(0.5) / 0.4]]])
    torch.testing.assert_close(read_by_network, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["nearest", "transposed"])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_click_changes_the_condition_where_it_is_in_the_audio(kind, bands):
    """From the samples over the spectrogram to the condition: the change is centred on the click."""
    waveform, rate = read(PROMPTS / "june" / "june_001.flac", 8000)
    options = with_upsampling([4, 4], kind=kind, freq_kernel_size=bands)
    conditioner = MelConditioner(rate, 4, n_fft=512, hop_length=64, n_mels=40, **options)
    first = conditioner.before[0] if bands == 1 else conditioner.before
    with torch.no_grad():  # a filter that looks back as far as ahead, as learned ones need not
        first.weight.add_(first.weight.flip(-1))
    features = conditioner.features

    def condition_of(samples):
        with torch.no_grad():
            return conditioner({"mel": features.extract(samples)}, 1).upsampled(len(samples))[0]

    quiet, times, late = condition_of(waveform), torch.arange(len(waveform)), []
    for t in range(2000, len(waveform) - 2000, 97):
        clicked = waveform.clone()
        clicked[t] += 1.0
        change = (condition_of(clicked) - quiet).square().sum(dim=0)
        late.append(((change * times).sum() / change.sum()).item() - t)
    assert abs(np.mean(late)) < 8, late  # samples; a frame has 64
