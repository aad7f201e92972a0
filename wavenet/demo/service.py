"""Where audio is made for the page: one model, and room for so many at a time."""

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

_PIECE = 0.1  # seconds that making a piece may take: a stop is heeded after it
_LONGEST = 0.25  # seconds of audio in a piece
_FIRST = 0.02  # seconds of audio in the first one, which shows how fast the model is


class BusyError(RuntimeError):
    """As much is being made as may be at a time."""


class GenerationService:
    """Makes audio of wishes; its methods may be called from any thread, except `place`, which is for one.

    Args:
        model: The model.
        title: What to call it.
        limits: What one visitor may take.
        backend: As in `wavenet.stream`, and so what follows.
        threads: CPU threads for each generation.
        weights: How the cpu backend stores weights.

    Attributes:
        offer: What may be asked for.
        backend: The name of the backend that is used.
        running: Generations at this moment.

    Raises:
        ValueError: If the backend does not serve the model.
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
        """Make a little in each mode, so that the first visitor waits for no compiler.

        Returns:
            What there is to say about it, such as why a faster backend was passed over.
        """
        rate = self._model.sample_rate
        names = {name: known[0] for name, (known, optional) in self.capabilities.names.items() if not optional}
        noise = torch.rand(rate, generator=torch.Generator().manual_seed(0)) * 0.02 - 0.01
        said: list[str] = []
        for mode in self.capabilities.modes:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                audio_stream = self._stream(
                    GenerationRequest(mode, None if mode == RESYNTHESISE else 1.0, names=names), noise
                )
            audio_stream.read(min(64, rate))
            self.backend = audio_stream.backend
            said += [str(warning.message) for warning in caught if warning.category is UserWarning]
        return list(dict.fromkeys(said))

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take one of the places, and give it back.

        Raises:
            BusyError: If all are taken.
        """
        most = self.capabilities.limits.max_concurrent
        if self.running >= most:
            raise BusyError(
                f"{self.running} of {most} generations are running already; wait for one to end, "
                "or start the page with a larger max_concurrent"
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def start(self, request: GenerationRequest, data: bytes) -> Stream:
        """Start what is wished for, with the file of a recording if the mode takes one.

        Raises:
            ValueError: If the recording cannot serve, or the model does not know a name.
        """
        recording = None
        if request.mode != FREE:
            recording = decode(data, self._model.sample_rate, self.capabilities.limits.max_seconds)
        return self._stream(request, recording)

    def chunks(self, audio_stream: Stream) -> Iterator[bytes]:
        """Samples, little-endian float32, a piece at a time; each takes about as long, however fast the model is."""
        rate = self._model.sample_rate
        size = max(1, round(_FIRST * rate))
        while left := sum(audio_stream.lengths or [0]):
            began = time.perf_counter()
            piece = audio_stream.read(min(size, left))
            share = _PIECE / max(time.perf_counter() - began, 1e-4)
            yield piece.numpy().astype("<f4").tobytes()
            size = min(max(1, round(size * min(share, 4))), max(1, round(_LONGEST * rate)))

    def _stream(self, request: GenerationRequest, recording: Tensor | None) -> Stream:
        told, seconds = dict(request.names), request.seconds
        if request.mode == RESYNTHESISE:
            assert recording is not None
            told |= {features.name: features.extract(recording) for features in self.capabilities.features}
            seconds = len(recording) / self._model.sample_rate
        return stream(
            self._model,
            seconds,
            conditions=told,
            seed=request.seed,
            temperature=request.temperature,
            top_k=request.top_k,
            prompt=recording if request.mode == CONTINUE else None,
            backend=self.backend,
            threads=self._threads,
            weights=self._weights,
        )
