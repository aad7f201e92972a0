"""What a model can be asked for on the page."""

import os
from dataclasses import dataclass
from typing import Any

from wavenet.audio import Features, Pitch
from wavenet.conditioning import CategoricalEmbedding, Conditioner
from wavenet.model import WaveNet

FREE, CONTINUE, RESYNTHESISE = "free", "continue", "resynthesise"  # what is done with a recording, if there is one


@dataclass(frozen=True)
class Limits:
    """What one visitor may take.

    Attributes:
        max_seconds: Of what is made, and of a recording.
        max_upload_bytes: Of a recording's file.
        max_concurrent: Generations at the same time.
    """

    max_seconds: float = 30.0
    max_upload_bytes: int = 32 * 2**20
    max_concurrent: int = 2


class Capabilities:
    """What the page shows of a model, and what may be asked of it.

    Args:
        model: The model.
        title: What to call it.
        limits: What one visitor may take.

    Attributes:
        sample_rate: The model's, Hz.
        names: For each condition that is a name, such as "speaker": the known names, and whether it may be left out.
        features: What is read off a recording to make it again.
        modes: Which of `FREE`, `CONTINUE` and `RESYNTHESISE` there are.
        unsupported_reason: Why there are none; None if there are.
    """

    def __init__(self, model: WaveNet, title: str, limits: Limits) -> None:
        self.title = title
        self.sample_rate = model.sample_rate
        self.limits = limits
        self.names: dict[str, tuple[list[str], bool]] = {}
        self.features: list[Features] = []
        conditioners: dict[str, Conditioner] = dict(model.conditioners.items())  # pyright: ignore[reportAssignmentType]
        required, impossible = [], []
        for name, conditioner in conditioners.items():
            optional = conditioner.absent is not None
            if isinstance(conditioner, CategoricalEmbedding):
                self.names[name] = (conditioner.categories, optional)
                continue
            reason = _unavailable_reason(name, conditioner.features)
            if reason is None and conditioner.features is not None:
                self.features.append(conditioner.features)
            if not optional:
                required.append(name)
                impossible += [] if reason is None else [reason]
        self.unsupported_reason = f"This model {'; it '.join(impossible)}." if impossible else None
        self.modes: list[str] = []
        if not impossible:
            self.modes += [] if required else [FREE, CONTINUE]
            self.modes += [RESYNTHESISE] if self.features else []
        self._model_facts = _model_facts(model)

    def as_json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "title": self.title,
            "sample_rate": self.sample_rate,
            **self._model_facts,
            "names": [
                {"name": name, "known": known, "optional": optional} for name, (known, optional) in self.names.items()
            ],
            "features": [features.name for features in self.features],
            "modes": self.modes,
            "unsupported_reason": self.unsupported_reason,
            "max_seconds": self.limits.max_seconds,
            "max_upload_bytes": self.limits.max_upload_bytes,
        }


def title_of(checkpoint: str | os.PathLike[str]) -> str:
    """A checkpoint's own name, without the folders around it.

    >>> title_of("runs/june/"), title_of("runs/june/checkpoints/best.ckpt")
    ('june', 'best.ckpt')
    """
    return os.path.basename(os.path.abspath(checkpoint))  # noqa: PTH100, PTH119 - no links are followed


def _unavailable_reason(name: str, features: Features | None) -> str | None:
    """Why a condition cannot be read off a recording here; None if it can."""
    if features is None or features.reads_files:
        return (
            f"needs '{name}', which another program makes and no recording holds; "
            f"wavenet generate takes it from a file: conditions={{{name}: FILE.npy}}"
        )
    if isinstance(features, Pitch) and not Pitch.is_available():
        return f'needs {name}, which librosa finds, and that is not installed: pip install "wavenet[pitch]"'
    return None


def _model_facts(model: WaveNet) -> dict[str, Any]:
    return {
        "receptive_field": model.receptive_field,
        "layers": model.stack.num_layers,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "distribution": type(model.distribution).__name__,
        "top_k": model.distribution.supports_top_k,
    }
