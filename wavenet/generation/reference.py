"""The reference backend: the PyTorch model itself, one sample at a time. Slow; other backends are tested against it."""

import torch
from torch import Tensor

from wavenet.generation.backend import Backend, check_overflow
from wavenet.model import State, WaveNet
from wavenet.nn import Condition


class ReferenceBackend(Backend):
    """The reference backend: runs `WaveNet.forward` with its states, for every distribution, conditioner and device.

    Args:
        model: A trained model; it is used unchanged.
        threads: Ignored; torch chooses.
        weights: Only "float32", which means the model's own weights.

    Raises:
        ValueError: If other weights are requested.
    """

    name = "reference"

    @staticmethod
    def unsupported_reason(model: WaveNet) -> str | None:
        """Return why this backend does not support the model; always None."""
        del model
        return None

    def __init__(self, model: WaveNet, threads: int | None = None, weights: str = "float32") -> None:
        del threads
        if weights != "float32":
            raise ValueError(f"weights is '{weights}'; the reference backend takes the model's own, weights=float32")
        self._model = model

    @torch.inference_mode()
    def run(
        self,
        state: State,
        condition: Condition | None,
        uniforms: Tensor,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> tuple[Tensor, State]:
        """See `Backend.run`. The loop is plain autoregression."""
        sample, layers = state
        samples = []
        for t in range(uniforms.shape[-1]):
            current = None if condition is None else condition.slice(t, 1)
            parameters, layers = self._model(sample, current, layers)
            check_overflow(parameters)
            sample = self._model.distribution.sample(parameters, uniforms[..., t : t + 1], temperature, top_k)
            samples.append(sample)
        check_overflow(*(layers or ()))
        return torch.cat(samples, dim=1), State(sample, layers)
