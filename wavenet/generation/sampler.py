"""Generation as people call it: a whole waveform, or a stream of chunks that can be continued."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wavenet.generation.backend import Backend
from wavenet.generation.reference import ReferenceBackend
from wavenet.generation.uniforms import uniforms
from wavenet.model import State, WaveNet

_BACKENDS: dict[str, type[Backend]] = {backend.name: backend for backend in (ReferenceBackend,)}  # the fastest first
_PREFILL_CHUNK = 65536  # samples of a prompt that are run at once; bounds the memory


@dataclass(frozen=True)
class StreamState:
    """Where a stream stands: hand it to `stream(model, state=...)` to go on, sample for sample.

    Attributes:
        model: The model's state: the last sample and the convolutions' pasts.
        position: Samples generated so far, without the prompt.
    """

    model: State
    position: int


def generate(
    model: WaveNet,
    seconds: float,
    num: int = 1,
    *,
    on_progress: Callable[[int], object] | None = None,
    **options: Any,
) -> Tensor:
    """Make audio.

    Args:
        model: A model, such as `wavenet.load` returns.
        seconds: Length of what is made.
        num: Number of utterances, made side by side.
        on_progress: Is called with the number of samples made since it was last called.
        **options: speaker, conditions, seed, temperature, top_k, prompt and backend as in `Stream`.

    Returns:
        (num, round(seconds * model.sample_rate)) samples in [-1, 1], float32, on the CPU. A prompt
        is not repeated in it.

    Raises:
        ValueError: If an option is out of range, or a speaker is unknown (lists the known).
    """
    pieces = []
    for chunk in stream(model, seconds, num, **options):
        pieces.append(chunk)
        if on_progress is not None:
            on_progress(chunk.shape[1])
    return torch.cat(pieces, dim=1)


def stream(model: WaveNet, seconds: float | None = None, num: int = 1, **options: Any) -> "Stream":
    """Make audio in chunks, to be heard while it is made; the arguments are `Stream`'s.

    >>> from wavenet.distributions import MuLawCategorical
    >>> model = WaveNet(MuLawCategorical(), sample_rate=8000, num_cycles=1).eval()
    >>> talk = stream(model, seed=1, chunk=100)       # no seconds: it never ends
    >>> next(talk).shape
    torch.Size([1, 100])
    >>> kept = talk.state                             # go on from here, now or later
    >>> torch.equal(next(talk), next(stream(model, seed=1, chunk=100, state=kept)))
    True
    """
    return Stream(model, seconds, num, **options)


class Stream(Iterator[Tensor]):
    """An iterator over chunks (num, chunk) of generated samples, float32 on the CPU.

    Utterance k is made with seed + k, so it is what that seed makes alone. The same seed makes the
    same audio for any chunk length.

    Args:
        model: The model.
        seconds: Where to stop; None goes on for ever.
        num: Number of utterances.
        speaker: Short for conditions={"speaker": ...}: one name, or one for each utterance.
        conditions: What the model's conditioners ask for, by name.
        seed: Seed of the first utterance, 0 or more.
        temperature: 1 draws from the model's distribution, less is more careful, 0 takes the most
            likely sample.
        top_k: Draw among this many of the likeliest values only.
        prompt: Samples to continue, (T,) for all utterances or (num, T), in [-1, 1] at the model's
            rate. It is run in parallel, not sample by sample.
        chunk: Samples in a chunk; the last one may be shorter.
        state: `Stream.state` of an earlier stream; takes the place of a prompt.
        backend: "auto" takes the fastest that serves the model; or a name.

    Raises:
        ValueError: If an argument is out of range; the message says what would be right.
    """

    def __init__(
        self,
        model: WaveNet,
        seconds: float | None = None,
        num: int = 1,
        *,
        speaker: str | list[str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        prompt: Tensor | None = None,
        chunk: int = 4000,
        state: StreamState | None = None,
        backend: str = "auto",
    ) -> None:
        _check(num=num, seed=seed, temperature=temperature, top_k=top_k, chunk=chunk, seconds=seconds)
        if prompt is not None and state is not None:
            raise ValueError("stream: prompt and state were both given; a state already holds its past")
        named = dict(conditions or {})
        if speaker is not None:
            named["speaker"] = speaker
        unused = named.keys() - model.conditioners.keys()
        if unused:
            known = ", ".join(model.conditioners.keys()) or "no conditions"
            raise ValueError(f"stream: the model is not conditioned on {', '.join(sorted(unused))}; it takes {known}")
        self._chunk, self._temperature, self._top_k = chunk, temperature, top_k
        self._seeds = [seed + k for k in range(num)]
        self._distribution = model.distribution
        self._end = None if seconds is None else max(1, round(seconds * model.sample_rate))
        self._backend = choose_backend(model, backend)
        with torch.inference_mode():
            self._condition = model.condition(named, num)
            self.state = state or StreamState(_prefill(model, prompt, num, self._condition), position=0)
        if self.state.model.previous.shape[0] != num:
            raise ValueError(f"stream: state is of {self.state.model.previous.shape[0]} utterances, num is {num}")
        if self._end is not None:
            self._end += self.state.position

    @property
    def backend(self) -> str:
        """The name of the backend that is used."""
        return self._backend.name

    def __next__(self) -> Tensor:
        """The next chunk, (num, chunk)."""
        left = self._chunk if self._end is None else min(self._chunk, self._end - self.state.position)
        if left <= 0:
            raise StopIteration
        return self.read(left)

    def read(self, num_samples: int) -> Tensor:
        """The next samples, as many as asked for: (num, num_samples)."""
        previous, position = self.state.model.previous, self.state.position
        drawn = uniforms(self._seeds, position, num_samples, self._distribution.num_uniforms).to(previous.device)
        made, after = self._backend.run(self.state.model, self._condition, drawn, self._temperature, self._top_k)
        self.state = StreamState(after, position + num_samples)
        return made.float().cpu()


def choose_backend(model: WaveNet, name: str = "auto") -> Backend:
    """The backend of that name; for "auto" the fastest one that serves the model.

    Raises:
        ValueError: If there is no such backend, or it cannot serve the model; says why.
    """
    if name != "auto" and name not in _BACKENDS:
        raise ValueError(f"backend is '{name}'; it must be auto or one of {', '.join(_BACKENDS)}")
    refusals = []
    for backend in _BACKENDS.values() if name == "auto" else [_BACKENDS[name]]:
        refusal = backend.refusal(model)
        if refusal is None:
            return backend(model)
        refusals.append(f"{backend.name}: {refusal}")
    raise ValueError(f"no backend serves this model: {'; '.join(refusals)}")


def _prefill(model: WaveNet, prompt: Tensor | None, num: int, condition: Tensor | None) -> State:
    """The model's state after a prompt, or at the very beginning."""
    weight = next(model.parameters())
    state = State(torch.zeros(num, 1, device=weight.device), layers=None)
    if prompt is None:
        return state
    if prompt.dim() == 1:
        prompt = prompt.expand(num, -1)
    if prompt.dim() != 2 or prompt.shape[0] != num or prompt.shape[1] == 0:
        raise ValueError(f"stream: prompt is {tuple(prompt.shape)}; it must be (T,) or ({num}, T), T at least 1")
    for piece in prompt.float().to(weight.device).split(_PREFILL_CHUNK, dim=1):
        _, state = model.log_prob(piece, condition, state)
    return state


def _check(num: int, seed: int, temperature: float, top_k: int | None, chunk: int, seconds: float | None) -> None:
    if num < 1 or chunk < 1:
        raise ValueError(f"stream: num is {num} and chunk is {chunk}; both must be at least 1")
    if seed < 0:
        raise ValueError(f"stream: seed is {seed}; it must be 0 or more")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"stream: temperature is {temperature}; it must be 0 or more, 1 is the model's own")
    if top_k is not None and top_k < 1:
        raise ValueError(f"stream: top_k is {top_k}; it must be at least 1, or null for all")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"stream: seconds is {seconds}; it must be above 0")
