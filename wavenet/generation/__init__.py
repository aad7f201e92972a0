"""Making audio: `generate` returns a waveform, `stream` one in chunks, to be heard while it is made.

Both draw with the same seeds from the same loop, so they make the same audio. On a CPU it runs as native code
(`backend="cpu"`); `backend="reference"` is the same loop in PyTorch, which it is tested against.
"""

from wavenet.generation.sampler import Stream, StreamState, generate, stream

__all__ = ["Stream", "StreamState", "generate", "stream"]
