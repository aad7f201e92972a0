"""The recipes with published numbers: their sizes and settings, and a front end's array goes straight in."""

import numpy as np
import pytest
import soundfile

from tests.audio.test_front_ends import of_hifi_gan, of_tacotron_2, speech
from tests.configured import build_full_size, composed
from tests.conftest import TINY
from tests.data.layouts import libritts
from wavenet.audio import LogMel

VOCODERS = {
    "vocoder_22k": LogMel(22050, 1024, 256, 80, 0.0, 8000.0, 1e-5, padding="reflect"),
    "vocoder_24k": LogMel(24000, 1024, 256, 100, 0.0, None, 1e-5, padding="reflect"),
}


def test_the_baseline_of_sashimi():
    cfg = composed("experiment=sashimi_wavenet")
    assert cfg.dataset._target_ == "wavenet.data.speechcommands.SpeechCommands"
    assert (cfg.model.head_channels, cfg.model.sample_rate, dict(cfg.model.conditioners)) == (512, 16000, {})
    assert cfg.batch_size * cfg.segment_length == 128_000
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, cfg.trainer.gradient_clip_val) == (1e-3, 0, None)
    model = build_full_size("experiment=sashimi_wavenet")
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_244_480
    assert model.receptive_field == 4093


@pytest.mark.parametrize("experiment", VOCODERS)
def test_the_vocoders_are_of_the_papers_size_and_of_the_front_ends_mel(experiment):
    model = build_full_size(f"experiment={experiment}")
    assert model.features == (VOCODERS[experiment],)
    assert (model.stack.num_layers, model.distribution.num_mixtures) == (30, 10)
    assert model.conditioners["mel"].upsampling.hop_length == 256


@pytest.mark.parametrize("experiment", VOCODERS)
def test_a_front_ends_array_goes_straight_in(run, in_tmp, experiment):
    rate = VOCODERS[experiment].sample_rate
    if experiment == "vocoder_24k":
        data = [f"dataset.root={libritts(in_tmp)}"]
    else:
        wavs = in_tmp / "LJSpeech-1.1" / "wavs"
        wavs.mkdir(parents=True)
        for number in (1, 2):
            soundfile.write(wavs / f"LJ001-000{number}.wav", speech(rate), rate)
        data = [f"dataset.root={in_tmp}"]
    settings = [f"experiment={experiment}", f"model.sample_rate={rate}", "num_workers=0", "compile=false"]
    run("train", *TINY, *settings, *data, "logger=none", "run_dir=r", "samples.final_seconds=0")
    x = speech(rate)
    for name, frames in (("hifi_gan", of_hifi_gan(x, rate, 1e-9)), ("tacotron_2", of_tacotron_2(x, rate))):
        np.save(f"{name}.npy", frames.astype(np.float32))
        options = ["checkpoint=r", "seconds=0.02", "backend=reference"]
        output = run("generate", *options, f"mel={name}.npy", f"output={name}.wav")
        assert soundfile.info(f"{name}.wav").frames == round(0.02 * rate)
        assert "if the audio is noise" not in output
    np.save("decibels.npy", (frames * 20 / np.log(10)).astype(np.float32))
    with pytest.raises(AssertionError, match="it looks like decibels"):
        run("generate", *options, "mel=decibels.npy")
    np.save("short.npy", frames[:, :4].astype(np.float32))
    run("generate", *options, "mel=short.npy", "seconds=null", "output=short.wav")
    assert soundfile.info("short.wav").frames == 4 * 256
