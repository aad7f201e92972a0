"""A small model learns tones and generates them; with a speaker as condition, it generates the right one."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F

import wavenet
from wavenet.conditioning import CategoricalEmbedding, F0Conditioner, MelConditioner
from wavenet.distributions import GaussianMixture, LogisticMixture, MuLawCategorical
from wavenet.nn import Upsampling
from wavenet.optimizers import SOAP
from wavenet.training import CPUNetwork, make_optimizer

pytestmark = pytest.mark.slow

RATE = 2000
TONES = (155.56, 196.00, 233.08)  # Hz


def sines(*tones, seconds=0.5):
    time = torch.arange(int(seconds * RATE)) / RATE
    return sum(torch.sin(2 * math.pi * hertz * time) for hertz in tones) * 0.9 / len(tones)


def power_at(waveform, tone, width=6.0):
    """Share of a waveform's power within `width` Hz of a tone."""
    spectrum = torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs().square()
    hertz = torch.fft.rfftfreq(len(waveform), 1 / RATE)
    return (spectrum[(hertz - tone).abs() < width].sum() / spectrum.sum()).item()


def learn(model, waveforms, speakers, steps):
    optimizer = make_optimizer(functools.partial(SOAP, lr=0.01), model)
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=steps, cycle_momentum=False)
    bits, native = [], CPUNetwork(model)  # what training on a CPU runs
    for _ in range(steps):
        condition = model.condition({"speaker": speakers}, len(waveforms)) if speakers else None
        loss = -native.log_prob(waveforms, condition).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bits.append(loss.item() / math.log(2))
    return bits


def build_model(speakers=(), distribution=None, conditioners=None):
    conditioners = {"speaker": CategoricalEmbedding("speaker", speakers, 8)} if speakers else conditioners
    return wavenet.WaveNet(
        distribution or MuLawCategorical(256, 32),
        RATE,
        conditioners,
        residual_channels=32,
        gate_channels=64,
        skip_channels=64,
        condition_channels=8,
        kernel_size=2,
        dilation_cycle=7,
        num_cycles=2,
    )


def test_three_tones_are_learnt_and_spoken():
    model = build_model()
    bits = learn(model, sines(*TONES)[None], None, 150)
    assert 7 < bits[0] < 10
    assert bits[-1] < 0.25 * bits[0]
    made = wavenet.generate(model.eval(), 0.5, seed=0)[0]
    shares = [power_at(made, tone) for tone in TONES]
    assert sum(shares) >= 0.7, shares
    assert min(shares) >= 0.1, shares


@pytest.mark.parametrize(
    "distribution",
    [LogisticMixture(), GaussianMixture(), GaussianMixture(10)],
    ids=["logistics", "gaussian", "gaussians"],
)
def test_a_tone_is_learnt_with_every_mixture(distribution):
    """Two bits a sample, and more, are learnt; and the beginning of the tone is gone on with."""
    model, tone = build_model(distribution=distribution), sines(TONES[1])
    bits = learn(model, tone[None], None, 150)
    assert 14 < bits[0] < 60
    assert bits[-1] < 12
    made = wavenet.generate(model.eval(), 0.5, seed=0, prompt=tone[:200])[0]
    assert power_at(made, TONES[1]) > 0.7
    assert made.abs().max() > 0.3


def test_the_tone_of_the_requested_speaker_is_generated():
    speakers = ["low", "middle", "high"]
    model = build_model(tuple(speakers))
    learn(model, torch.stack([sines(tone) for tone in TONES]), speakers, 150)
    made = wavenet.generate(model.eval(), 0.5, num=3, speaker=speakers)
    for waveform, own in zip(made, TONES, strict=True):
        asked = power_at(waveform, own)
        others = sum(power_at(waveform, tone) for tone in TONES if tone != own)
        assert asked >= 10 * others, (own, asked, others)
        assert asked >= 0.5


def glides(count, seconds=0.5):
    """Tones whose frequency wanders, each in its own way: frames of 20 samples (count, 1, F) in Hz, and the sound."""
    frames = int(seconds * RATE) // 20
    course = F.interpolate(torch.rand(count, 1, 5), frames, mode="linear", align_corners=True)
    hertz = 120 + 180 * course
    phase = 2 * math.pi * hertz.repeat_interleave(20, dim=-1).squeeze(1).double().cumsum(dim=1) / RATE
    return hertz, (0.9 * torch.sin(phase)).float()


FOLLOWERS = {
    "f0": lambda: F0Conditioner(RATE, 8, hop_length=20, centre=200.0, upsampling=Upsampling([5])),
    "mel": lambda: MelConditioner(RATE, 8, n_fft=80, hop_length=20, n_mels=12, upsampling=Upsampling([5])),
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_contour_is_followed(name):
    """The features decide the sound: with those of another utterance, the same sound is far less likely."""
    conditioner = FOLLOWERS[name]()
    model = build_model(conditioners={name: conditioner})
    optimizer, native = torch.optim.AdamW(model.parameters(), lr=0.01), CPUNetwork(model)

    def examples(count):
        hertz, waveforms = glides(count)
        return waveforms, {name: hertz if name == "f0" else conditioner.features.extract(waveforms)}

    for _ in range(120):
        waveforms, conditions = examples(4)
        loss = -native.log_prob(waveforms, model.condition(conditions, 4)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    waveforms, conditions = examples(6)
    with torch.inference_mode():
        right, wrong = (
            -model.log_prob(waveforms, model.condition({name: features}, 6))[0].mean().item() / math.log(2)
            for features in (conditions[name], conditions[name].roll(1, dims=0))
        )
    assert wrong > 2 * right

    hertz = torch.tensor([150.0, 260.0]).repeat_interleave(50)
    phase = 2 * math.pi * hertz.repeat_interleave(20).cumsum(dim=0) / RATE
    features = hertz[None] if name == "f0" else conditioner.features.extract(0.9 * torch.sin(phase))
    made = wavenet.generate(model.eval(), None, conditions={name: features}, temperature=0.7)[0]
    halves = made.split(1000)
    for half, (own, other) in zip(halves, ((150.0, 260.0), (260.0, 150.0)), strict=True):
        assert power_at(half, own, width=20) > 5 * power_at(half, other, width=20)
