"""The CPU backend: a model packed once, then the whole loop over time in one native call."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wavenet.distributions import Mixture
from wavenet.generation.backend import Backend
from wavenet.model import State, WaveNet
from wavenet.native import Workers, dtype_of, native_unsupported_reason, yield_address
from wavenet.native.buffers import Array, address, aligned, round_up, stride, zeros
from wavenet.native.layout import changed
from wavenet.native.verification import verify_generation
from wavenet.nn import Condition, ContextStack

if TYPE_CHECKING:
    from wavenet.native.packing import Packed

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
        UnknownNetworkError: If the model is another network than the native one, or does something else.
    """

    name = "cpu"

    @staticmethod
    def unsupported_reason(model: WaveNet) -> str | None:
        """Why this backend cannot serve the model; None if it can."""
        if not isinstance(model, WaveNet):
            return "it cannot guide"
        if (reason := native_unsupported_reason(model)) is not None:
            return reason
        from wavenet.native.packing import unsupported_distribution  # noqa: PLC0415 - needs numba

        if (unknown := unsupported_distribution(model.distribution)) is not None:
            return unknown
        return None if model.context is None else changed("context", model.context, ContextStack)

    def __init__(self, model: WaveNet, threads: int | None = None, weights: str = "float32") -> None:
        from wavenet.generation import cpu_kernels  # noqa: PLC0415 - needs numba
        from wavenet.native.instructions import HAS_FLOAT16, PANEL  # noqa: PLC0415
        from wavenet.native.packing import pack  # noqa: PLC0415

        dtype = dtype_of(weights)
        if weights == "float16" and not HAS_FLOAT16:
            raise ValueError("weights=float16 needs a processor with F16C; bfloat16 and int8 work on this one")
        self._kernels, self._panel = cpu_kernels, PANEL
        self._model = model
        self._threads = threads
        with torch.inference_mode():
            self._packed = pack(model, dtype)
        self._memories: dict[tuple[int, int, int, bool], _Memory] = {}
        self._workers = Workers()
        if weights == "float32":
            verify_generation(model, self.parameters, self._packed.net.condition)
        else:  # which differ by their rounding, too
            CPUBackend(model, threads)

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
                now = condition.slice(done, length) + now
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
                condition = condition.slice(0, steps)
                conditions = condition.values.permute(2, 0, 1).numpy()
                hop, offset = condition.hop_length or _FOR_EVER, condition.offset
        jobs: list[tuple[Any, ...]] = []
        groups: list[tuple[_Memory, _Call]] = []
        kept: dict[tuple[int, int, int, bool], _Memory] = {}  # memory is used again while chunks are of the same batch
        panels = net.gates // self._panel
        for group, (first, last, parts) in enumerate(_shares(batch, self._threads, panels)):
            mine = slice(first, last)
            call = _Call(
                uniforms=aligned(uniforms[mine]),
                conditions=aligned(conditions[:, mine]),
                hop=hop,
                offset=offset,
                forced=None if forced is None else aligned(forced[:, mine]),
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

    def __init__(self, packed: "Packed", batch: int, changing: bool, kernels: Any) -> None:
        net = packed.net
        self._net, self._kernels, self._batch = net, kernels, batch
        self._block = block = max(1, _LOOK_AHEAD >> (batch - 1).bit_length())  # a power of two
        rows, gates, gated, skips, hidden, outputs = (
            stride(n) for n in (net.rows, net.gates, net.layers * net.half, net.skips, net.hiddens, net.outputs)
        )
        self._heard = zeros(batch, net.encoded)
        self._input_ring = zeros(net.input_taps, batch, net.encoded)
        slots = [net.past_taps * dilation + block for dilation in packed.dilations.tolist()]
        starts = list(accumulate(slots, initial=0))
        self._rings = zeros(starts[-1], batch, rows)
        self._ring_of_layer = [self._rings[a:b] for a, b in pairwise(starts)]
        self._starts = np.array(starts, np.int64) * self._rings.strides[0]
        self._hidden = zeros(net.layers if block > 1 else 1, block, batch, gates)
        self._ring = 2 * kernels.FRAMES + round_up(block, kernels.FRAMES) if changing else 1
        self._fixed = zeros(net.layers, self._ring, batch, gates)
        self._probabilities = zeros(max(net.classes, 6 * int(packed.mixture[0])))  # for mixtures in float64
        self._gated = zeros(batch, gated)
        self._skips, self._head, self._logits = zeros(batch, skips), zeros(batch, hidden), zeros(batch, outputs)

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
            heard=address(self._heard),
            input_ring=address(self._input_ring),
            rings=address(self._rings),
            starts=address(self._starts),
            hidden=address(self._hidden),
            fixed=address(self._fixed),
            probabilities=address(self._probabilities),
            gated=address(shared._gated),
            skips=address(shared._skips),
            head=address(shared._head),
            logits=address(shared._logits),
            conditions=address(call.conditions),
            uniforms=address(call.uniforms),
            audio=address(call.audio),
            arrivals=address(call.arrivals),
            forced=0 if forced is None else address(forced),
            parameters=address(call.parameters),
            frames=len(call.conditions),
            hop=call.hop,
            offset=call.offset,
            ring=self._ring,
            hidden_block=self._block if self._block > 1 else 0,
            row_stride=self._rings.strides[1],
            gate_stride=self._fixed.strides[2],
            gated_stride=self._gated.strides[0],
            skip_stride=self._skips.strides[0],
            head_stride=self._head.strides[0],
            output_stride=self._logits.strides[0],
        )


def _shares(batch: int, threads: int | None, panels: int) -> list[tuple[int, int, int]]:
    """(first, last + 1) of each group of utterances, and the number of threads that share the group."""
    threads = threads or (1 if batch == 1 else torch.get_num_threads())
    groups = min(batch, threads)
    parts = min(threads // groups, panels)
    edges = [batch * group // groups for group in range(groups + 1)]
    return [(a, b, parts) for a, b in pairwise(edges)]
