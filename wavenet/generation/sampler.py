"""The public functions of generation: a whole waveform, or a stream of chunks that can be continued."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from wavenet.bounds import check_value, checked_as
from wavenet.checks import memory_of_this_machine
from wavenet.conditioning import check_scale
from wavenet.generation.backend import Backend, check_overflow
from wavenet.generation.cpu import CPUBackend
from wavenet.generation.guidance import GuidedWaveNet
from wavenet.generation.reference import ReferenceBackend
from wavenet.generation.uniforms import uniforms
from wavenet.model import State, WaveNet
from wavenet.native import UnknownNetworkError
from wavenet.native.rounding import WEIGHTS
from wavenet.nn import Condition, batch_conditions
from wavenet.types import AnyOf, Integer, ListOf, OneOf, Real

_BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend for backend in (CPUBackend, ReferenceBackend)
}  # fastest first
UTTERANCES = Integer(1, 2**16)
SECONDS = Real(0, 86400, exclusive_low=True, example=2)  # length of an utterance, at most a day
SEED = Integer(0, 2**63 - 1)
SEEDS = AnyOf((SEED, ListOf(SEED, 1, UTTERANCES.high, "[1,7]")))
_PREFILL_CHUNK = 65536  # samples of a prompt that are run at once; bounds the memory


@dataclass(frozen=True)
class StreamState:
    """The state of a stream: pass it to `stream(model, state=...)` to continue with exactly the same samples.

    Attributes:
        model: The model's state: the last samples and the convolutions' states.
        positions: Samples generated so far for each utterance, without the prompt.
        prompt_length: Samples of the prompt before them.
    """

    model: State
    positions: tuple[int, ...]
    prompt_length: int = 0


def generate(
    model: WaveNet,
    seconds: float | Sequence[float] | None,
    num: int = 1,
    *,
    on_progress: Callable[[int], object] | None = None,
    **options: Any,
) -> Tensor:
    """Generate audio.

    Args:
        model: A model, such as `wavenet.load` returns.
        seconds: Length of all utterances, or of each; None for the length of the conditions.
        num: Number of utterances, generated as a batch.
        on_progress: Called with the number of samples generated since the last call.
        **options: speaker, conditions, seed, temperature, top_k, guidance, prompt, backend, threads
            and weights as in `wavenet.generation.Stream`.

    Returns:
        (num, round(seconds * model.sample_rate)) samples in [-1, 1], float32, on the CPU. A prompt
        is not included. Utterances that end before the longest are followed by zeros.

    Raises:
        ValueError: If an option is out of range, or a speaker is unknown (the message lists the known ones).
        FloatingPointError: If the model's outputs are infinite or nan.
    """
    audio_stream = stream(model, seconds, num, **options)
    if audio_stream.lengths is None:
        raise ValueError("generate: seconds is None, and no condition has an end; give seconds, or use stream")
    check_room(audio_stream.lengths)
    pieces = []
    for chunk in audio_stream:
        pieces.append(chunk)
        if on_progress is not None:
            on_progress(chunk.shape[1])
    return torch.cat(pieces, dim=1)


def stream(model: WaveNet, seconds: float | Sequence[float] | None = None, num: int = 1, **options: Any) -> "Stream":
    """Generate audio in chunks, which can be played while it is generated.

    Args:
        model: A model, such as `wavenet.load` returns.
        seconds: Length of all utterances, or of each; None for no end, or for the length of the conditions.
        num: Number of utterances, generated as a batch.
        **options: speaker, conditions, seed, temperature, top_k, guidance, prompt, chunk, state, backend,
            threads and weights as in `wavenet.generation.Stream`.

    Returns:
        An iterator over chunks (num, chunk) of samples in [-1, 1], float32, on the CPU.

    Raises:
        ValueError: If an option is out of range, or a speaker is unknown (the message lists the known ones).

    >>> from wavenet.distributions import MuLawCategorical
    >>> model = WaveNet(MuLawCategorical(), sample_rate=8000, num_cycles=1).eval()
    >>> audio_stream = stream(model, seed=1, chunk=100)       # no seconds: it never ends
    >>> next(audio_stream).shape
    torch.Size([1, 100])
    >>> kept = audio_stream.state                             # to continue from here, now or later
    >>> torch.equal(next(audio_stream), next(stream(model, seed=1, chunk=100, state=kept)))
    True
    """
    return Stream(model, seconds, num, **options)


class Stream(Iterator[Tensor]):
    """An iterator over chunks (num, chunk) of generated samples, float32 on the CPU.

    Utterance k is generated with seed + k, or its own seed, so it is the same as generated alone with that seed. The
    same seed gives the same audio for any chunk length.

    Args:
        model: The model.
        seconds: Length of all utterances, or of each; None for no end, or for the length of conditions that
            change with time. An utterance that has ended is no longer computed, and is followed by zeros.
        num: Number of utterances.
        speaker: Short for conditions={"speaker": ...}: one name, or one name for each utterance.
        conditions: Conditions by the names of the model's conditioners. Those that change with time cover
            the prompt and then the generated samples.
        seed: Seed of the first utterance; or of each.
        temperature: 1 draws from the model's distribution, below 1 likely samples become likelier, 0 takes
            the most likely sample.
        top_k: Draw only from this many of the most likely values; not for mixtures, which have no classes.
        guidance: Above 1, the condition is followed more than in training (experimental): logits
            are u + guidance (c - u), c with the condition and u without; 1 is the model itself.
        prompt: Samples to continue, (T,) for all utterances or (num, T), in [-1, 1] at the model's
            rate. It is run in parallel, not sample by sample.
        chunk: Samples in a chunk; the last one may be shorter.
        state: `Stream.state` of an earlier stream, instead of a prompt.
        backend: "auto" takes the fastest backend that supports the model, with a warning if that is not the
            first choice; "cpu" or "reference".
        threads: CPU threads; None for one with a single utterance, and torch's number of threads with more. If
            there are more threads than utterances, the threads share the layers of each, which needs cores
            that are not used otherwise.
        weights: How the cpu backend stores weights: "float32", "float16", "bfloat16" or "int8".

    Raises:
        ValueError: If an argument is out of range; the message gives the valid range.
    """

    @checked_as("stream")
    def __init__(
        self,
        model: WaveNet,
        seconds: float | Sequence[float] | None = None,
        num: Annotated[int, UTTERANCES] = 1,
        *,
        speaker: str | list[str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        seed: Annotated[int | Sequence[int], SEEDS] = 0,
        temperature: Annotated[float, Real(0, 1000, example=1)] = 1.0,
        top_k: Annotated[int, Integer(1, 65536)] | None = None,
        guidance: Annotated[float, Real(-1000, 1000, example=1)] = 1.0,
        prompt: Tensor | None = None,
        chunk: Annotated[int, Integer(1, 2**24)] = 4000,
        state: StreamState | None = None,
        backend: str = "auto",
        threads: Annotated[int, Integer(1, 1024)] | None = None,
        weights: Annotated[str, OneOf(tuple(WEIGHTS))] = "float32",
    ) -> None:
        if top_k is not None and not model.distribution.supports_top_k:
            raise ValueError(
                f"stream: top_k is {top_k}, but the output distribution, {model.distribution.label}, has no classes to "
                "choose among; use top_k=null and a temperature below 1"
            )
        lengths = None if seconds is None else _lengths(seconds, num, model.sample_rate)
        if prompt is not None and state is not None:
            raise ValueError("stream: prompt and state were both given; a state includes its past, so remove one")
        conditions = dict(conditions or {})
        if speaker is not None:
            conditions["speaker"] = speaker
        unused = conditions.keys() - model.conditioners.keys()
        if unused:
            known = ", ".join(model.conditioners.keys()) or "no conditions"
            raise ValueError(f"stream: the model is not conditioned on {', '.join(sorted(unused))}; it takes {known}")
        self._chunk, self._temperature, self._top_k = chunk, temperature, top_k
        self._seeds = [seed + k for k in range(num)] if isinstance(seed, int) else list(seed)
        if len(self._seeds) != num:
            raise ValueError(f"stream: seed has {len(self._seeds)} seeds; give one, or {num} for num={num}")
        self._distribution = model.distribution
        with torch.inference_mode():
            self._condition = model.condition(conditions, num)
            _check_scales(model, conditions)
            if guidance != 1:
                guided = GuidedWaveNet(model, guidance)
                assert self._condition is not None
                self._condition = guided.condition(self._condition, num)
                model = guided  # pyright: ignore[reportAssignmentType]
        self._backend = choose_backend(model, backend, threads, weights)
        with torch.inference_mode():
            if state is None:
                length = 0 if prompt is None else prompt.shape[-1]
                state = StreamState(_prefill(model, prompt, num, self._condition), (0,) * num, length)
        if len(state.positions) != num:
            raise ValueError(f"stream: state has {len(state.positions)} utterances, but num is {num}")
        self.state = state
        self._ends: list[int] | None = None
        if lengths is not None:
            self._ends = [position + length for position, length in zip(state.positions, lengths, strict=True)]
        covered = math.inf if self._condition is None else self._condition.num_samples
        if covered < math.inf:
            last = int(covered) - state.prompt_length
            self._ends = self._ends or [last] * num
            if max(self._ends) > last or last < 0:
                raise ValueError(
                    f"stream: the conditions cover {covered} samples, prompt included; "
                    f"{max(self._ends) + state.prompt_length} were requested"
                )

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._backend.name

    @property
    def lengths(self) -> list[int] | None:
        """Number of samples that each utterance has left; None if there is no end."""
        return None if self._ends is None else self._left()

    def __next__(self) -> Tensor:
        """Return the next chunk, (num, chunk).

        Raises:
            FloatingPointError: If the model's outputs are infinite or nan.
        """
        left = max(self._left())
        if left == 0:
            raise StopIteration
        return self.read(min(left, self._chunk))

    def read(self, num_samples: int) -> Tensor:
        """Return the next samples, (num, num_samples). After an utterance's end they are 0."""
        audio = torch.zeros(len(self._seeds), num_samples)
        done = 0
        while done < num_samples:
            left = self._left()
            active = [k for k, samples in enumerate(left) if samples > 0]
            if not active:
                break
            length = min(num_samples - done, *(left[k] for k in active))  # until the first one of them ends
            audio[active, done : done + length] = self._advance(active, length)
            done += length
        return audio

    def _left(self) -> list[int]:
        """Return the number of samples that each utterance has left; without an end, a chunk."""
        if self._ends is None:
            return [self._chunk] * len(self._seeds)
        return [end - position for end, position in zip(self._ends, self.state.positions, strict=True)]

    @torch.inference_mode()
    def _advance(self, active: list[int], length: int) -> Tensor:
        """Generate the next samples of some utterances: (len(active), length)."""
        whole, positions = self.state.model, list(self.state.positions)
        all_active = len(active) == len(positions)
        before = whole
        if not all_active:
            before = State(whole.previous[active], None if whole.layers is None else [s[active] for s in whole.layers])
        condition = None
        if self._condition is not None:
            starts = [self.state.prompt_length + positions[k] for k in active]
            own = (self._condition.select(slice(k, k + 1)) for k in active)  # views; a list of indices would copy
            condition = batch_conditions([each.from_sample(p) for each, p in zip(own, starts, strict=True)], length)
        random_numbers = torch.cat(
            [uniforms([self._seeds[k]], positions[k], length, self._distribution.num_uniforms) for k in active]
        )
        try:
            audio, after = self._backend.run(
                before, condition, random_numbers.to(whole.previous.device), self._temperature, self._top_k
            )
            check_overflow(*(after.layers or ())[-1:])  # an overflow in any layer reaches the last one
        except FloatingPointError as error:
            first = min(positions[k] for k in active)
            raise FloatingPointError(f"samples {first} to {first + length - 1}: {error}") from error
        if not all_active:
            after = _insert(whole, active, after)
        for k in active:
            positions[k] += length
        self.state = StreamState(after, tuple(positions), self.state.prompt_length)
        return audio.float().cpu()


def check_room(lengths: Sequence[int]) -> None:
    """Check that waveforms of these numbers of samples fit into memory, where they are concatenated.

    Raises:
        ValueError: If they do not fit; gives the memory that is needed.
    """
    needed, available = 2 * 4 * len(lengths) * max(lengths), memory_of_this_machine()
    if needed > available:
        raise ValueError(
            f"seconds and num: {len(lengths)} x {max(lengths)} samples need {needed / 1e9:.3g} GB, and the machine has "
            f"{available / 1e9:.3g} GB; reduce seconds or num, or use wavenet.stream"
        )


def _check_scales(model: WaveNet, conditions: Mapping[str, Any]) -> None:
    """Check features against what they looked like in training, if the model's metadata states it."""
    known = (model.metadata or {}).get("features")
    for features in model.features:
        if features.name in conditions and isinstance(known, dict):
            frames = torch.as_tensor(conditions[features.name], dtype=torch.float32)
            warning = check_scale(f"stream: {features.name}", frames, known.get(features.name))
            if warning is not None:
                warnings.warn(warning, stacklevel=5)


def choose_backend(model: WaveNet, name: str = "auto", threads: int | None = None, weights: str = "float32") -> Backend:
    """Return the backend of that name; for "auto" the fastest one that supports the model.

    Warns:
        UserWarning: If "auto" cannot use a faster one; gives the reason.

    Raises:
        ValueError: If there is no such backend, or it does not support the model; gives the reason. Also if
            the model's weights are infinite or nan.
    """
    if name != "auto" and name not in _BACKENDS:
        raise ValueError(f"backend is '{name}'; it must be auto or one of {', '.join(_BACKENDS)}")
    for parameter, values in model.named_parameters():
        if not values.isfinite().all():
            raise ValueError(
                f"the model's {parameter} holds infinity or nan; training diverged, so use an older checkpoint"
            )
    reasons = []
    for backend in _BACKENDS.values() if name == "auto" else [_BACKENDS[name]]:
        reason = backend.unsupported_reason(model)
        if reason is None:
            try:
                chosen = backend(model, threads, weights)
            except UnknownNetworkError as error:
                reason = str(error)
            else:
                if reasons:
                    _warn_slower(backend.name, reasons)
                return chosen
        reasons.append(f"{backend.name}: {reason}")
    raise ValueError(f"no backend supports this model: {'; '.join(reasons)}")


def _warn_slower(name: str, reasons: list[str]) -> None:
    warnings.warn(
        f"generating with the slower backend '{name}', because {'; '.join(reasons)}; it takes tens of times as long",
        stacklevel=6,
    )


def _insert(whole: State, active: list[int], part: State) -> State:
    """Return a batch's state with that of some utterances replaced."""
    assert part.layers is not None
    layers = whole.layers or [s.new_zeros(len(whole.previous), *s.shape[1:]) for s in part.layers]
    index = torch.tensor(active, device=whole.previous.device)
    return State(
        whole.previous.index_copy(0, index, part.previous),
        [s.index_copy(0, index, p) for s, p in zip(layers, part.layers, strict=True)],
    )


@torch.inference_mode()
def _prefill(model: WaveNet, prompt: Tensor | None, num: int, condition: Condition | None) -> State:
    """Return the model's state after a prompt, or at the very beginning."""
    weight = next(model.parameters())
    beginning = State(torch.zeros(num, 1, device=weight.device), layers=None)
    if prompt is None:
        return beginning
    same = prompt.dim() == 1
    prompts = prompt[None] if same else prompt
    if prompts.dim() != 2 or prompts.shape[0] not in ((1,) if same else (num,)) or prompts.shape[1] == 0:
        raise ValueError(f"stream: prompt is {tuple(prompt.shape)}; it must be (T,) or ({num}, T), T at least 1")

    # One by one: the matrix products of a batch may round differently, and audio would depend on the batch.
    states = []
    for k in range(num if condition is not None or not same else 1):
        state = State(torch.zeros(1, 1, device=weight.device, dtype=weight.dtype), layers=None)
        own = None if condition is None else condition.select([k])
        start = 0
        for piece in prompts[0 if same else k][None].to(weight).split(_PREFILL_CHUNK, dim=1):
            current = None if own is None else own.slice(start, piece.shape[1])
            _, state = model.log_prob(piece, current, state)
            start += piece.shape[1]
        states.append(state)
    states = states * (num // len(states))
    layers = [torch.cat(parts) for parts in zip(*(s.layers for s in states if s.layers is not None), strict=True)]
    return State(torch.cat([state.previous for state in states]), layers)


def _lengths(seconds: float | Sequence[float], num: int, sample_rate: int) -> list[int]:
    """Return the number of samples of each utterance."""
    each: list[Any] = [seconds] * num
    if isinstance(seconds, Iterable) and not isinstance(seconds, str):
        each = list(seconds)
    if len(each) != num:
        raise ValueError(f"stream: seconds has {len(each)} lengths; it must be one number, or {num} for num={num}")
    for length in each:
        check_value("stream", "seconds", length, SECONDS)
    return [max(1, round(length * sample_rate)) for length in each]
