"""The random numbers of generation."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def uniforms(seeds: Sequence[int], position: int, num_samples: int, per_sample: int = 1) -> Tensor:
    """Uniform random numbers, each a pure function of (seed, position): any piece can be drawn alone.

    The generator is Philox4x64-10 (Salmon et al., 2011), which is counter-based: it needs no state.

    Args:
        seeds: One for each utterance, 0 or more.
        position: Index of the first sample.
        num_samples: Number of samples.
        per_sample: Random numbers per sample.

    Returns:
        (B, per_sample, num_samples), float32 in [0, 1), multiples of 2**-24.
    """
    rows = []
    for seed in seeds:
        skipped, remainder = divmod(position * per_sample, 4)  # each counter value gives four numbers
        bits = np.random.Philox(key=seed)
        bits.advance(skipped)
        raw = bits.random_raw(remainder + num_samples * per_sample)[remainder:]
        rows.append((raw >> 40).astype(np.float32) * np.float32(2**-24))
    drawn = torch.from_numpy(np.stack(rows))
    return drawn.reshape(len(seeds), num_samples, per_sample).transpose(1, 2)
