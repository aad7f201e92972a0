"""Train WaveNet on raw audio and make audio with it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavenet.checkpoint import load, push_to_hub, save
    from wavenet.generation import generate, stream
    from wavenet.model import WaveNet

__version__ = "0.1.0"
__all__ = ["WaveNet", "generate", "load", "push_to_hub", "save", "stream"]

_HOME = {
    "WaveNet": "wavenet.model",
    "generate": "wavenet.generation",
    "load": "wavenet.checkpoint",
    "push_to_hub": "wavenet.checkpoint",
    "save": "wavenet.checkpoint",
    "stream": "wavenet.generation",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562), so that `import wavenet` is instant."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'wavenet' has no attribute '{name}'")
