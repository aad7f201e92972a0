"""Sound made from what recordings say of themselves: names, and features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wavenet.generation import generate
from wavenet.model import WaveNet

BATCH = 16  # utterances made side by side


def requested_conditions(model: WaveNet, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an utterance's conditions that a model asks for."""
    return {name: conditions[name] for name in model.conditioners if name in conditions}


def make(
    model: WaveNet,
    lengths: Sequence[int],
    conditions: Sequence[Mapping[str, Any]],
    seed: int = 0,
    on_progress: Callable[[int], object] | None = None,
) -> list[Tensor]:
    """Make an utterance for each of several conditions, at the model's own temperature.

    Args:
        model: The model.
        lengths: Samples of each.
        conditions: Of each, as `Corpus.conditions` has them; features begin again where they are too short.
        seed: Utterance k is what seed + k makes.
        on_progress: Is called with the number of samples made since, of utterances side by side; see `num_steps`.

    Returns:
        Waveforms (length,), float32 on the CPU.
    """
    made: list[Tensor] = []
    for start in range(0, len(lengths), BATCH):
        part = slice(start, start + BATCH)
        waveforms = _make(model, lengths[part], conditions[part], seed + start, on_progress)
        made += [waveform[:length] for waveform, length in zip(waveforms, lengths[part], strict=True)]
    return made


def num_steps(lengths: Sequence[int]) -> int:
    """Samples that `make` makes one after the other: of the longest utterance of each batch."""
    return sum(max(lengths[start : start + BATCH]) for start in range(0, len(lengths), BATCH))


def _make(
    model: WaveNet,
    lengths: Sequence[int],
    conditions: Sequence[Mapping[str, Any]],
    seed: int,
    on_progress: Callable[[int], object] | None,
) -> Tensor:
    asked: dict[str, Any] = {
        name: [each[name] for each in conditions]
        for name in model.conditioners
        if all(name in each for each in conditions)
    }
    for features in model.features:
        longest = features.num_frames(max(lengths))
        asked[features.name] = torch.stack([repeat_frames(frames, longest) for frames in asked[features.name]])
    seconds = [length / model.sample_rate for length in lengths]
    return generate(model, seconds, len(lengths), conditions=asked, seed=seed, on_progress=on_progress)


def repeat_frames(frames: Tensor, length: int) -> Tensor:
    """So many frames: from the beginning again where there are too few."""
    return frames.repeat(1, -(-length // frames.shape[1]))[:, :length]
