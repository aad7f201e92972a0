"""Benchmark of conditioning: a vocoder and a model without mel, both with matching and with other conditions."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks.table import header, line_of
from wavenet.audio import mu_law_decode, mu_law_encode, write
from wavenet.checkpoint import load
from wavenet.data import Corpus, add_features, prepare, split
from wavenet.data.prompts import Prompts
from wavenet.evaluation import Score, similarity, utterance_bits
from wavenet.model import WaveNet
from wavenet.report.synthesis import make, repeat_frames


@dataclass
class Row:
    """One line of the table, over all held-out recordings.

    Attributes:
        model: Name of the model.
        given: Description of the model's conditions.
        bits: Bits per sample.
        log_mel_distance: Distance of resynthesis and recording, dB; see `similarity`. This and the next three
            are means over the recordings.
        mel_cepstral_distortion: dB.
        f0_error: Cents.
        voicing_error: Fraction of the frames.
        level: RMS of the generated audio relative to that of the recordings, dB.
    """

    model: str
    given: str
    bits: float | None
    log_mel_distance: float
    mel_cepstral_distortion: float
    f0_error: float
    voicing_error: float
    level: float


_COLUMNS = {
    "model": 13,
    "given": 22,
    "bits/sample": 11,
    "log-mel, dB": 11,
    "MCD, dB": 7,
    "F0, cents": 9,
    "voicing": 7,
    "level, dB": 9,
}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    return line_of(
        [
            row.model,
            row.given,
            "" if row.bits is None else f"{row.bits:.3f}",
            f"{row.log_mel_distance:.2f}",
            f"{row.mel_cepstral_distortion:.2f}",
            f"{row.f0_error:.0f}",
            f"{100 * row.voicing_error:.1f} %",
            f"{row.level:+.1f}",
        ],
        _COLUMNS,
    )


def train(folder: Path, name: str, *settings: str) -> float:
    """Train a model on the package's own recordings, in folder/name; return the time in seconds."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "wavenet.cli.train", f"run_dir={folder / name}", "logger=none", *settings]
    subprocess.run([*command, "samples.seconds=0", "samples.max_num=1"], check=True)
    return time.perf_counter() - began


def held_out(model: WaveNet, cache: Path, most: int | None = None) -> Corpus:
    """Return the package's held-out recordings, with the features that the model is conditioned on."""
    corpus = prepare(Prompts(), model.sample_rate, cache)
    _, held = split(add_features(corpus, model.features), 0.1)
    return replace(held, utterances=held.utterances[:most])


def benchmark_vocoder(
    folder: Path, vocoder: Path, without: Path, cache: Path, most: int | None, on_row: Callable[[Row], object]
) -> list[Row]:
    """Compare both models on held-out recordings.

    Args:
        folder: Folder that the audio is written to.
        vocoder: A run or checkpoint conditioned on the mel spectrogram.
        without: A run or checkpoint of the same size conditioned on the speaker.
        cache: Folder of the prepared audio.
        most: Maximum number of recordings; None for all.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows.
    """
    mel, speaker = load(vocoder), load(without)
    with_mel, with_speaker = held_out(mel, cache, most), held_out(speaker, cache, most)
    recordings = [with_mel.read(i) for i in range(len(with_mel.utterances))]
    matching = [with_mel.conditions(i) for i in range(len(recordings))]
    others = [c | {"mel": repeat_frames(matching[i - 1]["mel"], c["mel"].shape[1])} for i, c in enumerate(matching)]
    speakers = [with_speaker.conditions(i) for i in range(len(recordings))]
    names = sorted({each["speaker"] for each in speakers})
    wrong = [each | {"speaker": names[names.index(each["speaker"]) - 1]} for each in speakers]

    rows = []

    def add(name: str, given: str, bits: float | None, generated: Sequence[Tensor]) -> None:
        rows.append(_row(name, given, bits, generated, recordings, mel.sample_rate))
        on_row(rows[-1])
        for index, waveform in enumerate(generated):
            path = f"{index:02d}-{name.replace(' ', '-')}-{given.replace(' ', '-')}.wav"
            write(folder / path, waveform, mel.sample_rate)

    for index, waveform in enumerate(recordings):
        write(folder / f"{index:02d}-recording.wav", waveform, mel.sample_rate)
    add("8-bit mu-law", "of the recording", None, [mu_law_decode(mu_law_encode(x)) for x in recordings])
    for name, given, model, conditions in (
        ("vocoder", "its mel", mel, matching),
        ("vocoder", "another mel", mel, others),
        ("without mel", "its speaker", speaker, speakers),
        ("without mel", "another speaker", speaker, wrong),
    ):
        add(name, given, _bits(model, recordings, conditions), make(model, [len(x) for x in recordings], conditions))
    return rows


def _bits(model: WaveNet, recordings: Sequence[Tensor], conditions: Sequence[dict[str, Any]]) -> float:
    scores = [utterance_bits(model, x, c) for x, c in zip(recordings, conditions, strict=True)]
    return sum(scores, Score()).bits_per_sample


def _row(
    name: str, given: str, bits: float | None, generated: Sequence[Tensor], recordings: Sequence[Tensor], rate: int
) -> Row:
    each = [similarity(a, b, rate) for a, b in zip(generated, recordings, strict=True)]

    def mean(field: str) -> float:
        return torch.tensor([getattr(one, field) for one in each]).nanmean().item()

    power = [torch.cat(list(sounds)).square().mean() for sounds in (generated, recordings)]
    return Row(
        model=name,
        given=given,
        bits=bits,
        log_mel_distance=mean("log_mel_distance"),
        mel_cepstral_distortion=mean("mel_cepstral_distortion"),
        f0_error=mean("f0_error"),
        voicing_error=mean("voicing_error"),
        level=10 * (power[0] / power[1]).log10().item(),
    )
