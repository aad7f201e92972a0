"""What the page can request from a model."""

import os
from dataclasses import dataclass
from typing import Any

from wavenet.audio import Features, Pitch
from wavenet.conditioning import CategoricalEmbedding, Conditioner
from wavenet.extras import install_command
from wavenet.model import WaveNet

FREE, CONTINUE, RESYNTHESISE = "free", "continue", "resynthesise"  # how a recording is used, if at all


@dataclass(frozen=True)
class Limits:
    """Limits of the requests.

    Attributes:
        max_seconds: Maximum length of the generated audio, and of a recording.
        max_upload_bytes: Maximum size of a recording's file.
        max_concurrent: Maximum number of generations at the same time, of all visitors.
    """

    max_seconds: float = 30.0
    max_upload_bytes: int = 32 * 2**20
    max_concurrent: int = 2


class Capabilities:
    """The model's description on the page, and the requests that it supports.

    Args:
        model: The model.
        title: The model's name on the page.
        limits: Limits of the requests.

    Attributes:
        sample_rate: The model's sample rate, Hz.
        names: For each categorical condition, such as "speaker": the known names, and whether it may be left out.
        features: The features that are extracted from a recording to resynthesise it.
        modes: Those of `FREE`, `CONTINUE` and `RESYNTHESISE` that are available.
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
        """Return it as plain data, for the page."""
        return {
            "title": self.title,
            "sample_rate": self.sample_rate,
            **self._model_facts,
            "names": [
                {"name": name, "known": known, "optional": optional} for name, (known, optional) in self.names.items()
            ],
            "modes": self.modes,
            "unsupported_reason": self.unsupported_reason,
            "max_seconds": self.limits.max_seconds,
            "max_upload_bytes": self.limits.max_upload_bytes,
        }


def title_of(checkpoint: str | os.PathLike[str]) -> str:
    """Return a checkpoint's name, without its folders.

    >>> title_of("runs/june/"), title_of("runs/june/checkpoints/best.ckpt")
    ('june', 'best.ckpt')
    """
    return os.path.basename(os.path.abspath(checkpoint))  # noqa: PTH100, PTH119 - no links are followed


def _unavailable_reason(name: str, features: Features | None) -> str | None:
    """Return why a condition cannot be extracted from a recording here; None if it can."""
    if features is None or features.reads_files:
        return (
            f"needs '{name}', which another program computes and which cannot be extracted from a recording; "
            f"wavenet generate reads it from a file: conditions={{{name}: FILE.npy}}"
        )
    if isinstance(features, Pitch) and not Pitch.is_available():
        install = install_command("pitch")
        return f"needs {name}, which is computed by librosa, and librosa is not installed: {install}"
    return None


def _model_facts(model: WaveNet) -> dict[str, Any]:
    return {
        "receptive_field": model.receptive_field,
        "layers": model.stack.num_layers,
        "conditions": list(model.conditioners),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "distribution": model.distribution.label,
        "top_k": model.distribution.supports_top_k,
    }
