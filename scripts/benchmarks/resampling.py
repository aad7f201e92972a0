"""Benchmark of resampling: how flat, how sharp and how fast the filters of two libraries are."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
import torch
import torchaudio.functional

from scripts.benchmarks.table import header, line_of, median_ratio

RATES = ("48000:16000", "44100:16000", "44100:8000", "22050:16000", "8000:16000")
_FLAT = 0.9  # fraction of half the lower rate up to which the pass band is judged
_FREQUENCIES = np.arange(0.02, 1.3, 0.01)  # of the tones, as fractions of half the lower rate


@dataclass
class Row:
    """One line of the table.

    Attributes:
        resampler: A name in `RESAMPLERS`.
        rates: From and to, Hz.
        ripple: Largest deviation of the gain from 1, up to 0.9 of half the lower rate, dB.
        cutoff: Where the gain falls below -3 dB, as a fraction of half the lower rate.
        alias: Level of the loudest tone that is above half the new rate, relative to itself before, dB; None where
            the new rate is the higher one.
        milliseconds: Time for the noise on one thread, median.
        ratio: Speed compared with the first resampler's, median over the rounds.
    """

    resampler: str
    rates: tuple[int, int]
    ripple: float
    cutoff: float
    alias: float | None
    milliseconds: float
    ratio: float


def _kaiser_best(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """Resample with the parameters that torchaudio's documentation gives for librosa's kaiser_best."""
    return torchaudio.functional.resample(
        torch.from_numpy(samples), old, new, 64, 0.9475937167399596, "sinc_interp_kaiser", 14.769656459379492
    ).numpy()


RESAMPLERS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "torchaudio, kaiser_best": _kaiser_best,
    "torchaudio": lambda x, old, new: torchaudio.functional.resample(torch.from_numpy(x), old, new).numpy(),
    "soxr HQ": lambda x, old, new: soxr.resample(x, old, new, "HQ"),
    "soxr VHQ": lambda x, old, new: soxr.resample(x, old, new, "VHQ"),
}


def benchmark_resampling(
    rates: Sequence[tuple[int, ...]],
    rounds: int,
    seconds: float,
    on_row: Callable[[Row], object] = print,
) -> list[Row]:
    """Measure each resampler between each pair of rates, on one thread.

    Args:
        rates: Pairs of rates, from and to, Hz.
        rounds: Measurements of time for each row.
        seconds: Length of the noise whose resampling is timed.
        on_row: Called with each row as soon as it is measured.

    Returns:
        The rows.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    try:
        for old, new in rates:
            noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * old)).astype(np.float32)
            times = {name: [] for name in RESAMPLERS}
            for _ in range(rounds + 1):
                for name, resampler in RESAMPLERS.items():
                    began = time.perf_counter()
                    resampler(noise, old, new)
                    times[name].append(time.perf_counter() - began)
            first, *_ = times.values()
            for name, resampler in RESAMPLERS.items():
                of_each = times[name][1:]
                row = Row(
                    *(name, (old, new)),
                    *response(resampler, old, new),
                    1e3 * statistics.median(of_each),
                    median_ratio(first[1:], of_each),
                )
                rows.append(row)
                on_row(row)
    finally:
        torch.set_num_threads(threads)
    return rows


def response(
    resampler: Callable[[np.ndarray, int, int], np.ndarray], old: int, new: int
) -> tuple[float, float, float | None]:
    """Measure a resampler with one tone after the other.

    Returns:
        Ripple in dB, cutoff, and the loudest alias in dB, as `Row` has them.
    """
    half = min(old, new) / 2
    frequencies = _FREQUENCIES[_FREQUENCIES * half < 0.999 * old / 2]
    gains, levels = [], []
    for hertz in frequencies * half:
        samples = resampler(np.cos(2 * np.pi * hertz * np.arange(old // 2) / old + 0.3).astype(np.float32), old, new)
        inner = samples[len(samples) // 4 : -(len(samples) // 4)].astype(np.float64)
        angle = 2 * np.pi * hertz * (np.arange(len(inner)) + len(samples) // 4) / new
        amplitudes = np.linalg.lstsq(np.stack([np.sin(angle), np.cos(angle)], axis=1), inner)[0]
        gains.append(_decibels(np.hypot(*amplitudes)))
        levels.append(_decibels(np.sqrt(2 * np.mean(inner**2))))
    gains, levels = np.array(gains), np.array(levels)
    cut = frequencies[(gains < -3) & (frequencies < 1)]
    above = levels[frequencies > 1.005]
    ripple = float(np.abs(gains[frequencies <= _FLAT]).max())
    return ripple, float(cut[0]) if len(cut) else 1.0, float(above.max()) if len(above) else None


def _decibels(amplitude: float) -> float:
    return 20 * float(np.log10(max(amplitude, 1e-12)))


_COLUMNS = {
    "resampler": 23,
    "rates, Hz": 14,
    "ripple to 0.9, dB": 17,
    "-3 dB at": 8,
    "loudest alias, dB": 17,
    "noise, ms": 9,
    "x speed": 7,
}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    cells = [
        row.resampler,
        f"{row.rates[0]} to {row.rates[1]}",
        *(f"{row.ripple:.4f}", f"{row.cutoff:.2f}"),
        "" if row.alias is None else f"{row.alias:.0f}",
        *(f"{row.milliseconds:.1f}", f"{row.ratio:.2f}"),
    ]
    return line_of(cells, _COLUMNS)
