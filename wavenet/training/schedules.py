"""Schedules of the learning rate: factors of its peak, after a linear warm-up."""

import math


def lr_factor(
    step: int, schedule: str, warmup_steps: int, total_steps: int, final_fraction: float, decay_fraction: float
) -> float:
    """Return the learning rate's factor at a step.

    Args:
        step: The step, from 0.
        schedule: After the warm-up, "cosine" falls to final_fraction along half a cosine, "wsd" (warm-up, stable,
            decay; Hu et al., 2024, https://arxiv.org/abs/2404.06395, section 4) stays at 1 and falls linearly at the
            end, and "constant" stays.
        warmup_steps: Steps of the linear warm-up.
        total_steps: Steps of the run.
        final_fraction: Factor at the last step, except with "constant".
        decay_fraction: Share of the run's steps in which "wsd" falls.

    >>> [round(lr_factor(s, "cosine", 10, 110, 0.1, 0.2), 3) for s in (0, 9, 60, 110)]
    [0.1, 1.0, 0.55, 0.1]
    >>> [round(lr_factor(s, "wsd", 10, 110, 0.1, 0.2), 3) for s in (0, 9, 60, 88, 99, 110)]
    [0.1, 1.0, 1.0, 1.0, 0.55, 0.1]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        share = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * share))
    falling = max(1.0, decay_fraction * total_steps)
    share = min(1.0, max(0.0, (step - total_steps + falling) / falling))
    return 1 + (final_fraction - 1) * share
