"""The contract of generation backends."""

from typing import Protocol

from torch import Tensor

from wavenet.model import State, WaveNet
from wavenet.nn import Condition


class Backend(Protocol):
    """Takes a trained model once, then runs the loop over time.

    Args:
        model: A trained model that `refusal` says None to.
        threads: CPU threads to use; None leaves it to the backend.
        weights: How weights are stored, "float32" or what else the backend has.

    Attributes:
        name: What `backend=` calls it.

    Raises:
        ValueError: If the backend has no such weights.
    """

    name: str

    @staticmethod
    def unsupported_reason(model: WaveNet) -> str | None:
        """Why this backend cannot serve the model; None if it can."""
        ...

    def __init__(self, model: WaveNet, threads: int | None = None, weights: str = "float32") -> None: ...

    def run(
        self,
        state: State,
        condition: Condition | None,
        uniforms: Tensor,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> tuple[Tensor, State]:
        """Generate as many samples as there are random numbers.

        Args:
            state: What came before.
            condition: What the T samples are told, or None.
            uniforms: (B, distribution.num_uniforms, T) in [0, 1).
            temperature: See `OutputDistribution.sample`.
            top_k: Likewise.

        Returns:
            (B, T) samples in [-1, 1], and the state after them.
        """
        ...
