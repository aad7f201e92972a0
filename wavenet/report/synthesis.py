"""Audio generated from the conditions of recordings: names and features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet.generation import generate
from wavenet.model import WaveNet

BATCH = 16  # utterances generated in parallel


def requested_conditions(model: WaveNet, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions of an utterance that a model uses."""
    return {name: conditions[name] for name in model.conditioners if name in conditions}


def make(
    model: WaveNet,
    lengths: Sequence[int],
    conditions: Sequence[Mapping[str, Any]],
    seed: int = 0,
    on_progress: Callable[[int], object] | None = None,
    temperature: float = 1.0,
) -> list[Tensor]:
    """Generate an utterance for each of several conditions.

    Args:
        model: The model.
        lengths: Number of samples of each utterance.
        conditions: Conditions of each, as `Corpus.conditions` returns them; features are repeated where too short.
        seed: Utterance k is generated with seed + k.
        on_progress: Called with the number of steps since the last call; see `num_steps`.
        temperature: As in `wavenet.stream`.

    Returns:
        Waveforms (length,), float32 on the CPU.
    """
    generated: list[Tensor] = []
    for start in range(0, len(lengths), BATCH):
        part = slice(start, start + BATCH)
        waveforms = _make(model, lengths[part], conditions[part], seed + start, on_progress, temperature)
        generated += [waveform[:length] for waveform, length in zip(waveforms, lengths[part], strict=True)]
    return generated


def num_steps(lengths: Sequence[int]) -> int:
    """Return the number of samples that `make` generates sequentially: those of the longest utterance of each batch."""
    return sum(max(lengths[start : start + BATCH]) for start in range(0, len(lengths), BATCH))


def _make(
    model: WaveNet,
    lengths: Sequence[int],
    conditions: Sequence[Mapping[str, Any]],
    seed: int,
    on_progress: Callable[[int], object] | None,
    temperature: float,
) -> Tensor:
    requested: dict[str, Any] = {
        name: [each[name] for each in conditions]
        for name in model.conditioners
        if all(name in each for each in conditions)
    }
    for features in model.features:
        longest = features.num_frames(max(lengths))
        requested[features.name] = torch.stack([repeat_frames(frames, longest) for frames in requested[features.name]])
    seconds = [length / model.sample_rate for length in lengths]
    options: dict[str, Any] = {"seed": seed, "temperature": temperature, "on_progress": on_progress}
    return generate(model, seconds, len(lengths), conditions=requested, **options)


def repeat_frames(frames: Tensor, length: int) -> Tensor:
    """Repeat frames from the beginning until there are this many."""
    return frames.repeat(1, -(-length // frames.shape[1]))[:, :length]
