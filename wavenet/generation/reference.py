"""The reference backend: the model itself, one sample at a time. Slow, and the truth."""

import torch
from torch import Tensor

from wavenet.generation.backend import Backend
from wavenet.model import State, WaveNet
from wavenet.nn import Condition


class ReferenceBackend(Backend):
    """Runs `WaveNet.forward` with its states, for every distribution, conditioner and device.

    Args:
        model: A trained model; it is used as it is.
        threads: Is left to torch.
        weights: "float32" only, which means those of the model.

    Raises:
        ValueError: If other weights are asked for.
    """

    name = "reference"

    @staticmethod
    def unsupported_reason(model: WaveNet) -> str | None:
        """Why this backend cannot serve the model; None if it can."""
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
        """See `Backend.run`. The loop below is all of autoregression."""
        sample, layers = state
        made = []
        for t in range(uniforms.shape[-1]):
            now = None if condition is None else condition.slice(t, 1)
            parameters, layers = self._model(sample, now, layers)
            sample = self._model.distribution.sample(parameters, uniforms[..., t : t + 1], temperature, top_k)
            made.append(sample)
        return torch.cat(made, dim=1), State(sample, layers)
