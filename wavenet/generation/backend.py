"""The interface of generation backends."""

from typing import Protocol

from torch import Tensor

from wavenet.model import State, WaveNet
from wavenet.nn import Condition


class Backend(Protocol):
    """A backend: prepares a trained model once, then runs the generation loop over time.

    Args:
        model: A trained model for which `unsupported_reason` returns None.
        threads: CPU threads to use; None lets the backend choose.
        weights: How weights are stored: "float32", or another type that the backend supports.

    Attributes:
        name: Its name in `backend=`.

    Raises:
        ValueError: If the backend does not support these weights.
    """

    name: str

    @staticmethod
    def unsupported_reason(model: WaveNet) -> str | None:
        """Return why this backend does not support the model; None if it does."""
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
        """Generate one sample for each step of the random numbers.

        Args:
            state: The state after the samples before.
            condition: The condition of the T samples, or None.
            uniforms: (B, distribution.num_uniforms, T) in [0, 1).
            temperature: See `OutputDistribution.sample`.
            top_k: See `OutputDistribution.sample`.

        Returns:
            (B, T) samples in [-1, 1], and the state after them.

        Raises:
            FloatingPointError: If the distribution's parameters are infinite or nan.
        """
        ...


def check_overflow(*outputs: Tensor) -> None:
    """Check outputs of the network, of which finite weights may be too large for float32.

    Raises:
        FloatingPointError: If a number is infinite or nan.
    """
    if not all(bool(each.isfinite().all()) for each in outputs):
        raise FloatingPointError(
            "the model's outputs are infinite or nan: its weights, or the conditions, are too large for float32; "
            "use an older checkpoint, or check the features"
        )
