"""The CPU backend: it packs a model once, then runs the whole loop over time in one native call."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wavenet.distributions import Mixture
from wavenet.generation.backend import Backend, check_overflow
from wavenet.model import State, WaveNet
from wavenet.native import Workers, dtype_of, native_unsupported_reason, yield_address
from wavenet.native.buffers import Array, address, aligned, round_up, stride, zeros
from wavenet.native.layout import changed
from wavenet.native.verification import verify_generation
from wavenet.nn import Condition, ContextStack

if TYPE_CHECKING:
    from wavenet.native.packing import Packed

_NO_END = 2**62  # steps
_LOOK_AHEAD = 16  # steps for one utterance; fewer for several, which already share each weight that is read


class CPUBackend(Backend):
    """The CPU backend: runs every model of this package in float32; see `cpu_kernels` for how.

    The audio is the same, to the bit, for every batch, number of threads and chunk length.

    Args:
        model: A trained model. Its weights are copied: later changes have no effect.
        threads: Threads to use. None takes one for a single utterance, and for more as many as torch
            uses. If there are more threads than utterances, the threads share the layers of each and
            wait for each other in a busy loop, which is fast only on cores that are not used otherwise.
        weights: How weights are stored: "float32"; or "float16", "bfloat16" or "int8" (with a scale
            for each output), which are faster where memory is the limit and change the model a little.

    Raises:
        ValueError: If `weights` is unknown, or not supported by the processor.
        UnknownNetworkError: If the model is not a network that native code supports, or its outputs differ.
    """

    name = "cpu"

    @staticmethod
    def unsupported_reason(model: WaveNet) -> str | None:
        """Return why this backend does not support the model; None if it does."""
        if not isinstance(model, WaveNet):
            return "it does not support guidance"
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
        else:  # rounded weights change the outputs, so the float32 form is verified
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
        random_numbers = uniforms.float()
        if isinstance(distribution, Mixture):
            variates = distribution.standard_variates(random_numbers[:, 1:])
            random_numbers = torch.cat([random_numbers[:, :1], variates], dim=1)
        if self._model.context is not None:
            return self._run_with_context(state, condition, random_numbers, temperature, top_k)
        audio, _, layers = self._loop(state, condition, random_numbers.numpy(), None, temperature, top_k or 0)
        waveform = torch.from_numpy(audio)
        return waveform, State(waveform[:, -1:], layers)

    @torch.inference_mode()
    def _run_with_context(
        self,
        state: State,
        condition: Condition | None,
        random_numbers: Tensor,
        temperature: float,
        top_k: int | None,
    ) -> tuple[Tensor, State]:
        """Do `run` from one frame of the context stack to the next: its output is constant until a frame is full.

        The context stack runs each utterance separately: the matrix products of a batch may round
        differently, and audio would depend on the batch.
        """
        context = self._model.context
        assert context is not None
        layers, context_state = self._model.split_state(state.layers)
        context_state = context_state or context.beginning(state.previous)
        previous, pieces, done = state.previous, [], 0
        while done < random_numbers.shape[-1]:
            length = min(random_numbers.shape[-1] - done, context.pool - int(context_state[1].max()))
            total = Condition(context_state[2])
            if condition is not None:
                total = condition.slice(done, length) + total
            numbers = random_numbers[..., done : done + length].contiguous().numpy()
            audio, _, layers = self._loop(State(previous, layers), total, numbers, None, temperature, top_k or 0)
            waveform = torch.from_numpy(audio)
            inputs = torch.cat([previous, waveform[:, :-1]], dim=1)
            after = [context(x[None], [part[k : k + 1] for part in context_state])[1] for k, x in enumerate(inputs)]
            context_state = [torch.cat(parts) for parts in zip(*after, strict=True)]
            previous, done = waveform[:, -1:], done + length
            pieces.append(waveform)
        assert layers is not None
        check_overflow(layers[-1], *context_state)  # as the stream does without a context stack
        return torch.cat(pieces, dim=1), State(previous, [*layers, *context_state])

    def parameters(self, waveform: Tensor, condition: Condition | None = None, state: State | None = None) -> Tensor:
        """Return the parameters for given samples: those of `WaveNet.forward`, computed by this backend's loop.

        Args:
            waveform: (B, T) in [-1, 1], float32.
            condition: The condition of the T samples, or None.
            state: The layers' states; its last sample is not used.

        Returns:
            (B, parameter_channels, T).
        """
        layers, context_state = self._model.split_state(None if state is None else state.layers)
        with torch.inference_mode():
            condition, _ = self._model.with_context(waveform, condition, context_state)
            inputs = self._model.distribution.encode(waveform).permute(2, 0, 1).contiguous().numpy()
        unused = np.zeros((waveform.shape[0], 1, waveform.shape[1]), np.float32)
        _, parameters, _ = self._loop(State(waveform[:, :1], layers), condition, unused, inputs)
        return torch.from_numpy(parameters).permute(1, 2, 0)

    def _encode_input(self, previous: Tensor) -> Array:
        """Encode the last samples: (B, 1) -> (B, encoded).

        The encodings of levels that can be drawn are taken from the loop's own table, so that a chunk that
        begins with one continues from identical values, to the last bit.
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
        """Run the loop: give each thread its utterances, or its part of them, and collect the results."""
        net = self._packed.net
        batch, _, steps = uniforms.shape
        with torch.inference_mode():
            inputs = self._encode_input(state.previous)
            past = None if state.layers is None else [layer.permute(2, 0, 1).numpy() for layer in state.layers]
            conditions, hop, offset = np.zeros((1, batch, 0), np.float32), _NO_END, 0
            if condition is not None:
                condition = condition.slice(0, steps)
                conditions = condition.values.permute(2, 0, 1).numpy()
                hop, offset = condition.hop_length or _NO_END, condition.offset
        jobs: list[tuple[Any, ...]] = []
        groups: list[tuple[_Memory, _Call]] = []
        kept: dict[tuple[int, int, int, bool], _Memory] = {}  # memory is reused while chunks are of the same batch
        panels = net.gates // self._panel
        for group, (first, last, parts) in enumerate(_shares(batch, self._threads, panels)):
            utterances = slice(first, last)
            call = _Call(
                uniforms=aligned(uniforms[utterances]),
                conditions=aligned(conditions[:, utterances]),
                hop=hop,
                offset=offset,
                forced=None if forced is None else aligned(forced[:, utterances]),
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
                past_of_group = None if past is None else [layer[:, utterances] for layer in past]
                memory.begin(inputs[utterances], past_of_group)
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
        if forced is None:  # the parameters of the last step; the stream checks the state, in which an overflow stays
            check_overflow(*(torch.from_numpy(memory.logits) for memory, _ in groups))
        return audio, parameters, layers


@dataclass
class _Call:
    """The inputs and outputs of one call, for a group of utterances; shapes as in `Workspace`."""

    uniforms: Array
    conditions: Array
    hop: int
    offset: int
    forced: Array | None
    audio: Array
    parameters: Array
    arrivals: Array


class _Memory:
    """The memory of one thread for a group of utterances: the ring buffers, and buffers for all it computes."""

    def __init__(self, packed: "Packed", batch: int, changing: bool, kernels: Any) -> None:
        net = packed.net
        self._net, self._kernels, self._batch = net, kernels, batch
        self._block = block = max(1, _LOOK_AHEAD >> (batch - 1).bit_length())  # a power of two
        rows, gates, gated, skips, hidden, outputs = (
            stride(n) for n in (net.rows, net.gates, net.layers * net.half, net.skips, net.hiddens, net.outputs)
        )
        self._inputs = zeros(batch, net.encoded)
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
        self._skips, self._head, self.logits = zeros(batch, skips), zeros(batch, hidden), zeros(batch, outputs)

    def begin(self, inputs: Array, past: list[Array] | None) -> None:
        """Load a state: the next inputs (B, encoded), and each layer's past (P, B, C)."""
        self._inputs[:] = inputs
        for i, ring in enumerate([self._input_ring, *self._ring_of_layer]):
            if past is None:
                ring[:] = 0
            else:
                length, _, channels = past[i].shape
                ring[:length, :, :channels] = past[i]

    def past(self, steps: int) -> list[Array]:
        """Return each layer's past (P, B, C) after a run of this many steps."""
        net, past = self._net, []
        for ring in [self._input_ring, *self._ring_of_layer]:
            is_input = ring is self._input_ring
            length = len(ring) - (1 if is_input else self._block)
            slots = (steps + np.arange(length)) % len(ring)
            past.append(ring[slots, :, : net.encoded if is_input else net.residual])
        return past

    def workspace(self, shared: "_Memory", call: _Call) -> Any:
        """Return the addresses of all buffers; `shared` is the memory of the group's first thread."""
        forced = call.forced
        return self._kernels.Workspace(
            batch=self._batch,
            steps=call.uniforms.shape[2],
            block=self._block,
            inputs=address(self._inputs),
            input_ring=address(self._input_ring),
            rings=address(self._rings),
            starts=address(self._starts),
            hidden=address(self._hidden),
            fixed=address(self._fixed),
            probabilities=address(self._probabilities),
            gated=address(shared._gated),
            skips=address(shared._skips),
            head=address(shared._head),
            logits=address(shared.logits),
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
            output_stride=self.logits.strides[0],
        )


def _shares(batch: int, threads: int | None, panels: int) -> list[tuple[int, int, int]]:
    """Return (first, last + 1) of each group of utterances, and the number of threads that share the group."""
    threads = threads or (1 if batch == 1 else torch.get_num_threads())
    groups = min(batch, threads)
    parts = min(threads // groups, panels)
    edges = [batch * group // groups for group in range(groups + 1)]
    return [(a, b, parts) for a, b in pairwise(edges)]
