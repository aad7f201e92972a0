"""Generation for the page: one model, and a limited number of generations at a time."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from wavenet.demo.capabilities import CONTINUE, FREE, RESYNTHESISE, Capabilities, Limits
from wavenet.demo.request import GenerationRequest
from wavenet.demo.upload import decode
from wavenet.generation import Stream, stream
from wavenet.model import WaveNet

_CHUNK_TIME = 0.1  # seconds to generate a chunk; a stop takes effect after a chunk
_LONGEST = 0.25  # seconds of audio in a chunk
_FIRST = 0.02  # seconds of audio in the first chunk, which measures the speed of the model


class BusyError(RuntimeError):
    """The maximum number of generations is running."""


class GenerationService:
    """Generates audio for requests. Its methods may be called from any thread, except `slot`, which is for one.

    Args:
        model: The model.
        title: The model's name on the page.
        limits: Limits of the requests.
        backend: Backend, as in `wavenet.stream`.
        threads: CPU threads for each generation.
        weights: How the cpu backend stores weights.

    Attributes:
        capabilities: The supported requests.
        backend: Name of the backend in use.
        running: Number of running generations.

    Raises:
        ValueError: If the backend does not support the model.
    """

    def __init__(
        self,
        model: WaveNet,
        title: str = "model",
        limits: Limits | None = None,
        backend: str = "auto",
        threads: int | None = None,
        weights: str = "float32",
    ) -> None:
        self.capabilities = Capabilities(model, title, limits or Limits())
        self.backend = backend
        self.running = 0
        self._model, self._threads, self._weights = model, threads, weights

    def warm_up(self) -> list[str]:
        """Generate a little in each mode, so that the first visitor does not wait for compilation.

        Returns:
            Messages for the user, such as why a faster backend is not used.
        """
        rate = self._model.sample_rate
        names = {name: known[0] for name, (known, optional) in self.capabilities.names.items() if not optional}
        noise = torch.rand(rate, generator=torch.Generator().manual_seed(0)) * 0.02 - 0.01
        messages: list[str] = []
        for mode in self.capabilities.modes:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                audio_stream = self._stream(
                    GenerationRequest(mode, None if mode == RESYNTHESISE else 1.0, names=names), noise
                )
            audio_stream.read(min(64, rate))
            self.backend = audio_stream.backend
            messages += [str(warning.message) for warning in caught if warning.category is UserWarning]
        return list(dict.fromkeys(messages))

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a generation slot, and release it.

        Raises:
            BusyError: If all slots are taken.
        """
        max_concurrent = self.capabilities.limits.max_concurrent
        if self.running >= max_concurrent:
            raise BusyError(
                f"{self.running} of {max_concurrent} generations are already running; wait for one to end, "
                "or start the page with a larger max_concurrent"
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def start(self, request: GenerationRequest, data: bytes) -> Stream:
        """Start a generation, with the file of a recording if the mode needs one.

        Raises:
            ValueError: If the recording cannot be used, or a name is unknown to the model.
        """
        recording = None
        if request.mode != FREE:
            recording = decode(data, self._model.sample_rate, self.capabilities.limits.max_seconds)
        return self._stream(request, recording)

    def chunks(self, audio_stream: Stream) -> Iterator[bytes]:
        """Yield samples as little-endian float32, in chunks that take about equally long for any model."""
        rate = self._model.sample_rate
        size = max(1, round(_FIRST * rate))
        while left := sum(audio_stream.lengths or [0]):
            began = time.perf_counter()
            chunk = audio_stream.read(min(size, left))
            ratio = _CHUNK_TIME / max(time.perf_counter() - began, 1e-4)
            yield chunk.numpy().astype("<f4").tobytes()
            size = min(max(1, round(size * min(ratio, 4))), max(1, round(_LONGEST * rate)))

    def _stream(self, request: GenerationRequest, recording: Tensor | None) -> Stream:
        conditions, seconds = dict(request.names), request.seconds
        if request.mode == RESYNTHESISE:
            assert recording is not None
            conditions |= {features.name: features.extract(recording) for features in self.capabilities.features}
            seconds = len(recording) / self._model.sample_rate
        return stream(
            self._model,
            seconds,
            conditions=conditions,
            seed=request.seed,
            temperature=request.temperature,
            top_k=request.top_k,
            prompt=recording if request.mode == CONTINUE else None,
            backend=self.backend,
            threads=self._threads,
            weights=self._weights,
        )
