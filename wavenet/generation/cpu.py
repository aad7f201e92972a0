"""The CPU backend: a model packed once, then the whole loop over time in one native call."""

import copy
import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wavenet.distributions import GaussianMixture, LogisticMixture, Mixture, MuLawCategorical
from wavenet.distributions.mixture import ARRIVED, CLIMBS, LOG_SCALE_MAX
from wavenet.generation.backend import Backend
from wavenet.model import State, WaveNet
from wavenet.nn import Condition, GatedResidualLayer

Array = NDArray[Any]
WEIGHTS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}
_KINDS = {MuLawCategorical: "CATEGORICAL", LogisticMixture: "LOGISTIC", GaussianMixture: "GAUSSIAN"}  # in `cpu_kernels`
_FOR_EVER = 2**62  # steps
_LOOK_AHEAD = 16  # steps, for one utterance; fewer for several, which share the weights that are read


class CPUBackend(Backend):
    """Runs every model of this package in float32 on a CPU; see `cpu_kernels` for how.

    The audio is the same, to the bit, for every batch, number of threads and chunk length.

    Args:
        model: A trained model. Its weights are copied: later changes are not heard.
        threads: Threads to use. None takes one for a single utterance, and for more as many as torch
            uses. Asked for more threads than utterances, they share the layers of each and wait for
            each other in a busy loop, which is fast only on cores that nobody else uses.
        weights: How weights are stored: "float32"; or "float16", "bfloat16" or "int8" (with a scale
            for each output), which are faster where memory is the limit and change the model a little.

    Raises:
        ValueError: If `weights` is unknown, or needs another processor.
    """

    name = "cpu"

    @staticmethod
    def refusal(model: WaveNet) -> str | None:
        """Why this backend cannot serve the model; None if it can."""
        distribution = type(model.distribution)
        if not isinstance(model, WaveNet):
            return "it cannot guide"
        if (refusal := native_refusal(model)) is not None:
            return refusal
        if distribution not in _KINDS:
            return f"it does not know the output distribution {distribution.__name__}"
        return None

    def __init__(self, model: WaveNet, threads: int | None = None, weights: str = "float32") -> None:
        from wavenet.generation import cpu_kernels  # noqa: PLC0415

        dtype = _dtype_of(weights)
        if weights == "float16" and not cpu_kernels.HAS_FLOAT16:
            raise ValueError("weights=float16 needs a processor with F16C; bfloat16 and int8 work on this one")
        self._kernels = cpu_kernels
        self._model = model
        self._threads = threads
        with torch.inference_mode():
            self._packed = _pack(model, dtype, cpu_kernels)
        self._memories: dict[tuple[int, int, int, bool], _Memory] = {}
        self._workers = Workers()

    def run(
        self,
        state: State,
        condition: Condition | None,
        uniforms: Tensor,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> tuple[Tensor, State]:
        """See `Backend.run`."""
        distribution = self._model.distribution
        drawn = uniforms.float()
        if isinstance(distribution, Mixture):
            drawn = torch.cat([drawn[:, :1], distribution.standard_variates(drawn[:, 1:])], dim=1)
        if self._model.context is not None:
            return self._run_with_context(state, condition, drawn, temperature, top_k)
        audio, _, layers = self._loop(state, condition, drawn.numpy(), None, temperature, top_k or 0)
        waveform = torch.from_numpy(audio)
        return waveform, State(waveform[:, -1:], layers)

    @torch.inference_mode()
    def _run_with_context(
        self,
        state: State,
        condition: Condition | None,
        drawn: Tensor,
        temperature: float,
        top_k: int | None,
    ) -> tuple[Tensor, State]:
        """`run` from one frame of the context stack to the next: what it says holds until a frame is full.

        The stack hears each utterance by itself: side by side, a batch's products may round
        otherwise, and audio would depend on the batch.
        """
        context = self._model.context
        assert context is not None
        inner, told = self._model.split_state(state.layers)
        told = told or context.beginning(state.previous)
        previous, made, done = state.previous, [], 0
        while done < drawn.shape[-1]:
            length = min(drawn.shape[-1] - done, context.pool - int(told[1].max()))
            now = Condition(told[2])
            if condition is not None:
                now = condition.piece(done, length) + now
            piece = drawn[..., done : done + length].contiguous()
            audio, _, inner = self._loop(State(previous, inner), now, piece.numpy(), None, temperature, top_k or 0)
            waveform = torch.from_numpy(audio)
            heard = torch.cat([previous, waveform[:, :-1]], dim=1)
            after = [context(x[None], [part[k : k + 1] for part in told])[1] for k, x in enumerate(heard)]
            told = [torch.cat(parts) for parts in zip(*after, strict=True)]
            previous, done = waveform[:, -1:], done + length
            made.append(waveform)
        assert inner is not None
        return torch.cat(made, dim=1), State(previous, [*inner, *told])

    def parameters(self, waveform: Tensor, condition: Condition | None = None, state: State | None = None) -> Tensor:
        """What the network says about given samples: the same as `WaveNet.forward`, by this backend's loop.

        Args:
            waveform: (B, T) in [-1, 1], float32.
            condition: What the T samples are told, or None.
            state: The layers' states; its last sample is not used.

        Returns:
            (B, parameter_channels, T).
        """
        inner, told = self._model.split_state(None if state is None else state.layers)
        with torch.inference_mode():
            condition, _ = self._model.with_context(waveform, condition, told)
            heard = self._model.distribution.encode(waveform).permute(2, 0, 1).contiguous().numpy()
        unused = np.zeros((waveform.shape[0], 1, waveform.shape[1]), np.float32)
        _, parameters, _ = self._loop(State(waveform[:, :1], inner), condition, unused, heard)
        return torch.from_numpy(parameters).permute(1, 2, 0)

    def _hear(self, previous: Tensor) -> Array:
        """The encoded last samples (B, encoded), from (B, 1).

        Those that can be drawn are taken from the loop's own table, so that a chunk that begins with
        one goes on from the same number, to the last bit.
        """
        levels, samples = self._packed.levels, previous.numpy()[:, 0]
        number = np.searchsorted(levels, samples).clip(max=len(levels) - 1)
        encoded = self._model.distribution.encode(previous)[..., 0].numpy()
        return np.where((levels[number] == samples)[:, None], self._packed.embedding[number], encoded)

    def _loop(
        self,
        state: State,
        condition: Condition | None,
        uniforms: Array,
        forced: Array | None,
        temperature: float = 1.0,
        top_k: int = 0,
    ) -> tuple[Array, Array, list[Tensor]]:
        """Hand each thread its utterances, or its part of them; collect what they made."""
        net = self._packed.net
        batch, _, steps = uniforms.shape
        with torch.inference_mode():
            heard = self._hear(state.previous)
            past = None if state.layers is None else [layer.permute(2, 0, 1).numpy() for layer in state.layers]
            conditions, hop, offset = np.zeros((1, batch, 0), np.float32), _FOR_EVER, 0
            if condition is not None:
                condition = condition.piece(0, steps)
                conditions = condition.values.permute(2, 0, 1).numpy()
                hop, offset = condition.hop_length or _FOR_EVER, condition.offset
        jobs: list[tuple[Any, ...]] = []
        groups: list[tuple[_Memory, _Call]] = []
        kept: dict[tuple[int, int, int, bool], _Memory] = {}  # memory is used again while chunks are of the same batch
        panels = net.gates // self._kernels.PANEL
        for group, (first, last, parts) in enumerate(_shares(batch, self._threads, panels)):
            mine = slice(first, last)
            call = _Call(
                uniforms=_aligned(uniforms[mine]),
                conditions=_aligned(conditions[:, mine]),
                hop=hop,
                offset=offset,
                forced=None if forced is None else _aligned(forced[:, mine]),
                audio=np.zeros((last - first, steps), np.float32),
                parameters=np.zeros((0 if forced is None else steps, last - first, net.classes), np.float32),
                arrivals=np.zeros(1, np.int64),
            )
            memories = []
            changing = len(conditions) > 1
            for part in range(parts):
                key = (last - first, group, part, changing)
                memory = self._memories.get(key) or _Memory(self._packed, last - first, changing, self._kernels)
                kept[key] = memory
                memories.append(memory)
                memory.begin(heard[mine], None if past is None else [layer[:, mine] for layer in past])
                jobs.append((memory.workspace(memories[0], call), np.float32(temperature), top_k, part, parts))
            groups.append((memories[0], call))
        self._memories = kept

        def run(job: int) -> None:
            self._kernels.run(self._packed.weights, net, *jobs[job], yield_address())

        self._workers.run(run, len(jobs))
        audio = np.concatenate([call.audio for _, call in groups])
        parameters = np.concatenate([call.parameters for _, call in groups], axis=1)
        pasts = zip(*(memory.past(steps) for memory, _ in groups), strict=True)
        layers = [torch.from_numpy(np.concatenate(pieces, axis=1)).permute(1, 2, 0) for pieces in pasts]
        return audio, parameters, layers


def native_refusal(model: WaveNet) -> str | None:
    """Why native code cannot compute with a model's weights, or not on this machine; None if it can."""
    weight = next(model.parameters())
    if weight.device.type != "cpu":
        return f"the model is on {weight.device} (device=cpu, or model.cpu(), would do)"
    if weight.dtype != torch.float32:
        return f"it computes in float32, and the model is {str(weight.dtype).removeprefix('torch.')}"
    try:
        import wavenet.generation.cpu_kernels  # noqa: F401, PLC0415
    except Exception as error:  # numba checks its surroundings when it is imported, and has many ways to say no
        return f"numba cannot be used here ({type(error).__name__}: {error})"
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return "numba is switched off by NUMBA_DISABLE_JIT"
    return None


class Workers:
    """Threads for work whose parts wait for each other, and so must run at the same time; kept for the next call."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0

    def run(self, work: Callable[[int], object], count: int) -> None:
        """Call work(0) ... work(count - 1), a single one here, and several on a thread each."""
        if count == 1:
            work(0)
            return
        if self._pool is None or self._size < count:
            self._size = count
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="wavenet")
        for future in [self._pool.submit(work, number) for number in range(count)]:
            future.result()


def with_rounded_weights(model: WaveNet, weights: str) -> WaveNet:
    """A copy of a model, in float32, whose weights are what narrower ones stand for: to score them with.

    Args:
        model: The model.
        weights: As in `CPUBackend`; with "float32" the model itself is returned.

    Raises:
        ValueError: If `weights` is unknown.
    """
    dtype = _dtype_of(weights)
    if weights == "float32":
        return model
    model = copy.deepcopy(model)
    layers: list[GatedResidualLayer] = list(model.stack.layers)  # pyright: ignore[reportAssignmentType]
    groups: list[list[Any]] = [[model.input.conv], [model.head[1]], [model.head[3]]]
    groups.append([layer.skip for layer in layers])
    groups += [[layer.residual] for layer in layers if layer.residual is not None]
    groups += [[c for c in (layer.dilated.conv, layer.condition) if c is not None] for layer in layers]
    with torch.no_grad():
        for group in groups:  # what is added up in the same outputs has one scale
            scale = _scale_of([conv.weight for conv in group])[:, None, None]
            for conv in group:
                if dtype == torch.int8:
                    conv.weight.copy_((conv.weight / scale).round() * scale)
                else:
                    conv.weight.copy_(conv.weight.to(dtype))
    return model


def _dtype_of(weights: str) -> torch.dtype:
    if weights not in WEIGHTS:
        raise ValueError(f"weights is '{weights}'; it must be one of {', '.join(WEIGHTS)}")
    return WEIGHTS[weights]


@dataclass
class _Call:
    """What comes in and goes out in one call, for a group of utterances; shapes as in `Workspace`."""

    uniforms: Array
    conditions: Array
    hop: int
    offset: int
    forced: Array | None
    audio: Array
    parameters: Array
    arrivals: Array


class _Memory:
    """What one thread needs for a group of utterances: the rings, and room for all it computes."""

    def __init__(self, packed: "_Packed", batch: int, changing: bool, kernels: Any) -> None:
        net = packed.net
        self._net, self._kernels, self._batch = net, kernels, batch
        self._block = block = max(1, _LOOK_AHEAD >> (batch - 1).bit_length())  # a power of two
        rows, gates, gated, heads, outputs = (
            _stride(n) for n in (net.rows, net.gates, net.layers * net.half, net.heads, net.outputs)
        )
        self._heard = _zeros(batch, net.encoded)
        self._input_ring = _zeros(net.input_taps, batch, net.encoded)
        slots = [net.past_taps * dilation + block for dilation in packed.dilations.tolist()]
        starts = list(accumulate(slots, initial=0))
        self._rings = _zeros(starts[-1], batch, rows)
        self._ring_of_layer = [self._rings[a:b] for a, b in pairwise(starts)]
        self._starts = np.array(starts, np.int64) * self._rings.strides[0]
        self._hidden = _zeros(net.layers if block > 1 else 1, block, batch, gates)
        self._ring = 2 * kernels.FRAMES + round_up(block, kernels.FRAMES) if changing else 1
        self._fixed = _zeros(net.layers, self._ring, batch, gates)
        self._chances = _zeros(max(net.classes, 6 * int(packed.mixture[0])))  # for mixtures in float64
        self._gated = _zeros(batch, gated)
        self._skips, self._head, self._logits = _zeros(batch, heads), _zeros(batch, heads), _zeros(batch, outputs)

    def begin(self, heard: Array, past: list[Array] | None) -> None:
        """Put the state in its place: what is heard next (B, encoded), and each layer's past (P, B, C)."""
        self._heard[:] = heard
        for i, ring in enumerate([self._input_ring, *self._ring_of_layer]):
            if past is None:
                ring[:] = 0
            else:
                length, _, channels = past[i].shape
                ring[:length, :, :channels] = past[i]

    def past(self, steps: int) -> list[Array]:
        """Each layer's past (P, B, C) after a run of so many steps."""
        net, past = self._net, []
        for ring in [self._input_ring, *self._ring_of_layer]:
            is_input = ring is self._input_ring
            length = len(ring) - (1 if is_input else self._block)
            slots = (steps + np.arange(length)) % len(ring)
            past.append(ring[slots, :, : net.encoded if is_input else net.residual])
        return past

    def workspace(self, shared: "_Memory", call: _Call) -> Any:
        """The addresses of it all; `shared` is the memory of the group's first thread."""
        forced = call.forced
        return self._kernels.Workspace(
            batch=self._batch,
            steps=call.uniforms.shape[2],
            block=self._block,
            heard=_address(self._heard),
            input_ring=_address(self._input_ring),
            rings=_address(self._rings),
            starts=_address(self._starts),
            hidden=_address(self._hidden),
            fixed=_address(self._fixed),
            chances=_address(self._chances),
            gated=_address(shared._gated),
            skips=_address(shared._skips),
            head=_address(shared._head),
            logits=_address(shared._logits),
            conditions=_address(call.conditions),
            uniforms=_address(call.uniforms),
            audio=_address(call.audio),
            arrivals=_address(call.arrivals),
            forced=0 if forced is None else _address(forced),
            parameters=_address(call.parameters),
            frames=len(call.conditions),
            hop=call.hop,
            offset=call.offset,
            ring=self._ring,
            hidden_block=self._block if self._block > 1 else 0,
            row_stride=self._rings.strides[1],
            gate_stride=self._fixed.strides[2],
            gated_stride=self._gated.strides[0],
            head_stride=self._skips.strides[0],
            output_stride=self._logits.strides[0],
        )


@dataclass
class _Packed:
    """A model as the kernels read it: the arrays, and `net` with their addresses."""

    weights: Array
    biases: Array
    scales: Array
    embedding: Array
    levels: Array
    dilations: Array
    windows: Array
    mixture: Array
    net: Any


@dataclass
class _Block:
    """Matrices (outputs, inputs) that are added up in the same outputs, with one bias and scale for each of these."""

    matrices: list[Tensor]
    bias: Tensor
    scale: Tensor


def _pack(model: WaveNet, dtype: torch.dtype, kernels: Any) -> _Packed:
    """Lay the model out as `Network` says."""
    distribution = model.distribution
    assert isinstance(distribution, MuLawCategorical | Mixture)
    drawn = distribution.levels()
    panel, lanes = kernels.PANEL, kernels.LANES
    layers: list[GatedResidualLayer] = list(model.stack.layers)  # pyright: ignore[reportAssignmentType]
    channels = model.gate_channels // 2
    half = round_up(channels, lanes)

    def in_panels(count: int) -> Tensor:
        """Order of outputs: as they are, rounded up; -1 stands for none."""
        return F.pad(torch.arange(count), (0, -count % panel), value=-1)

    each = F.pad(torch.arange(channels), (0, half - channels), value=-1).reshape(-1, lanes)
    gated = torch.cat([each, torch.where(each < 0, each, each + channels)], dim=1).flatten()

    def block(convs: Sequence[tuple[Tensor, Tensor | None]], order: Tensor) -> _Block:
        """Convolutions' weights (outputs, inputs, taps) and biases."""
        matrices = [_take(tap, order) for weight, _ in convs for tap in weight.unbind(-1)]
        bias = sum((_take(bias, order) for _, bias in convs if bias is not None), torch.zeros(len(order)))
        scale = torch.ones(len(order))
        if dtype == torch.int8:
            scale = _scale_of(matrices)
            matrices = [(matrix / scale[:, None]).round() for matrix in matrices]
        return _Block(matrices, bias, scale)

    def weight_and_bias(conv: torch.nn.Conv1d) -> tuple[Tensor, Tensor | None]:
        return conv.weight, conv.bias

    def of_gates(weight: Tensor) -> Tensor:
        return F.pad(weight, (0, 0, 0, half - channels))  # inputs of zero for the channels that round up

    rows, heads, outputs = (
        in_panels(n) for n in (model.residual_channels, model.skip_channels, distribution.parameter_channels)
    )
    first = block([weight_and_bias(model.input.conv)], rows)
    gates, residuals = [], []
    for layer in layers:
        condition = [] if layer.condition is None else [weight_and_bias(layer.condition)]
        gates.append(block([*condition, weight_and_bias(layer.dilated.conv)], gated))
        if layer.residual is None:  # the last layer's; its place among the biases stays
            residuals.append(_Block([], torch.zeros(len(rows)), torch.ones(len(rows))))
        else:
            residuals.append(block([(of_gates(layer.residual.weight), layer.residual.bias)], rows))
    skip_biases = [layer.skip.bias for layer in layers if layer.skip.bias is not None]
    skip_bias = torch.stack(skip_biases).sum(dim=0) if skip_biases else None
    skip = block([(torch.cat([of_gates(layer.skip.weight) for layer in layers], dim=1), skip_bias)], heads)
    head = [block([weight_and_bias(model.head[1])], heads), block([weight_and_bias(model.head[3])], outputs)]  # pyright: ignore[reportArgumentType]

    ahead = [matrix for gate in gates for matrix in gate.matrices[:-1]]
    now = [[gate.matrices[-1], *residual.matrices] for gate, residual in zip(gates, residuals, strict=True)]
    last = [matrix for part in (skip, *head) for matrix in part.matrices]
    matrices = [*ahead, *first.matrices, *(matrix for layer in now for matrix in layer), *last]
    in_order = [first, *(part for pair in zip(gates, residuals, strict=True) for part in pair), skip, *head]

    flat = torch.cat([m.reshape(-1, panel, m.shape[1]).transpose(1, 2).flatten() for m in matrices]).to(dtype)
    as_integers = {torch.float16: torch.int16, torch.bfloat16: torch.uint16}  # numba has no such floats
    dilations = [layer.dilated.conv.dilation[0] for layer in layers]
    past_taps = model.kernel_size - 1
    packed = _Packed(
        weights=_aligned(flat.view(as_integers.get(dtype, dtype)).numpy()),
        biases=_aligned(torch.cat([part.bias for part in in_order]).numpy()),
        scales=_aligned(torch.cat([part.scale for part in in_order]).numpy()),
        embedding=_aligned(distribution.encode(drawn[None])[0].T.numpy()),
        levels=_aligned(drawn.numpy()),
        dilations=np.array(dilations, np.int64),
        windows=np.array(
            [2 ** ((past_taps - tap) * d).bit_length() // 2 for d in dilations for tap in range(past_taps)], np.int64
        ),
        mixture=mixture_settings(distribution),
        net=None,
    )
    sizes = [sum(m.numel() for m in part) for part in (ahead, first.matrices, now[0], *now[1:], last[:1], last[1:2])]
    offsets = list(accumulate(sizes, initial=0))
    packed.net = kernels.Network(
        biases=_address(packed.biases),
        scales=_address(packed.scales),
        embedding=_address(packed.embedding),
        levels=_address(packed.levels),
        dilations=_address(packed.dilations),
        windows=_address(packed.windows),
        layers=len(layers),
        past_taps=past_taps,
        input_taps=model.input_kernel_size,
        encoded=distribution.in_channels,
        condition=model.stack.condition_channels,
        residual=model.residual_channels,
        half=half,
        skip=model.skip_channels,
        classes=distribution.parameter_channels,
        rows=len(rows),
        gates=len(gated),
        heads=len(heads),
        outputs=len(outputs),
        ahead_size=len(ahead) and sizes[0] // len(layers),
        input_0=offsets[1],
        layer_0=offsets[2],
        layer_size=sizes[2],
        skip_0=offsets[-3],
        head_0=offsets[-2],
        head_1=offsets[-1],
        kind=getattr(kernels, _KINDS[type(distribution)]),
        mixture=_address(packed.mixture),
    )
    return packed


def mixture_settings(distribution: MuLawCategorical | Mixture) -> Array:
    """The settings of `draw_from_mixture`; zeros for a categorical."""
    if not isinstance(distribution, Mixture):
        return np.zeros(6)
    half = 2 ** (distribution.bits - 1)
    arrived = ARRIVED * distribution.bin_width
    return np.array([distribution.num_mixtures, half, distribution.log_scale_min, LOG_SCALE_MAX, CLIMBS, arrived])


def _shares(batch: int, threads: int | None, panels: int) -> list[tuple[int, int, int]]:
    """(first, last + 1) of each group of utterances, and the number of threads that share the group."""
    threads = threads or (1 if batch == 1 else torch.get_num_threads())
    groups = min(batch, threads)
    parts = min(threads // groups, panels)
    edges = [batch * group // groups for group in range(groups + 1)]
    return [(a, b, parts) for a, b in pairwise(edges)]


def _scale_of(weights: Sequence[Tensor]) -> Tensor:
    """What 8-bit weights are multiplied with, for each output (the first dimension)."""
    scale = torch.stack([weight.flatten(1).abs().amax(dim=1) for weight in weights]).amax(dim=0) / 127
    return scale.where(scale > 0, 1.0)


def _take(rows: Tensor, order: Tensor) -> Tensor:
    """The rows in that order; zeros where it is -1."""
    return torch.cat([rows, torch.zeros_like(rows[:1])])[order]


def round_up(count: int, multiple: int) -> int:
    """The next multiple."""
    return -(-count // multiple) * multiple


def _stride(count: int) -> int:
    """Floats from a row to the next; a cache line more than a power of two, whose rows would collide in the cache."""
    return count + 16 if count >= 128 else count


def _zeros(*shape: int) -> Array:
    return _aligned(np.zeros(shape, np.float32))


def _aligned(array: Array) -> Array:
    """A copy, in order, that begins at a multiple of 64 bytes, a cache line."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    aligned[...] = array
    return aligned


def _address(array: Array) -> int:
    return array.ctypes.data


@cache
def yield_address() -> int:
    """Address of the system's function that offers a thread's core to others."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
