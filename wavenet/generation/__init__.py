"""Generation of audio: `generate` returns a waveform, `stream` returns it in chunks while it is generated.

Both run the same loop with the same seeds, so they generate the same audio. On a CPU the loop is native code
(`backend="cpu"`); `backend="reference"` is the same loop in PyTorch, against which the native code is tested.
"""

from wavenet.generation.sampler import Stream, StreamState, generate, stream

__all__ = ["Stream", "StreamState", "generate", "stream"]
