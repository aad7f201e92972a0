"""The speed of generation on this machine."""

import time
from collections.abc import Mapping
from typing import Any

from wavenet.generation import stream
from wavenet.machine import machine_in_words
from wavenet.model import WaveNet
from wavenet.native import native_unsupported_reason
from wavenet.report.synthesis import repeat_frames, requested_conditions


def speed(model: WaveNet, seconds: float, conditions: Mapping[str, Any], weights: str = "float32") -> dict[str, Any]:
    """Measure generation once: one utterance, one thread, after compilation.

    Args:
        model: The model, with its own weights.
        seconds: Length of the generated audio.
        conditions: Conditions of an utterance; features are repeated where they are too short.
        weights: How the cpu backend stores the weights.

    Returns:
        samples_per_second; times_real_time, seconds of audio generated in a second; real_time_factor, seconds that a
        second of audio takes; and the measurement's setup. Or the reason for having none.
    """
    reason = native_unsupported_reason(model)
    if weights != "float32" and reason is not None:
        return {"reason": f"weights={weights} needs the cpu backend, which is not available: {reason}"}
    length = max(1, round(seconds * model.sample_rate))
    requested = requested_conditions(model, conditions)
    for features in model.features:
        requested[features.name] = repeat_frames(requested[features.name], features.num_frames(length))
    stream(model, conditions=requested, threads=1, weights=weights).read(min(length, 100))  # compiles
    audio_stream = stream(model, conditions=requested, threads=1, weights=weights)
    began = time.perf_counter()
    audio_stream.read(length)
    elapsed = time.perf_counter() - began
    return {
        "samples_per_second": length / elapsed,
        "times_real_time": length / elapsed / model.sample_rate,
        "real_time_factor": elapsed * model.sample_rate / length,
        "seconds": length / model.sample_rate,
        "backend": audio_stream.backend,
        "weights": weights,
        "threads": 1,
        "utterances": 1,
        "machine": machine_in_words(),
    }
