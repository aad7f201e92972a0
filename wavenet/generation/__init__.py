"""Making audio: the sampler and its backends."""

from wavenet.generation.sampler import Stream, StreamState, generate, stream

__all__ = ["Stream", "StreamState", "generate", "stream"]
