"""Training on a CPU: the network's forward and backward pass as two native calls."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from wavenet.audio import mu_law_encode
from wavenet.distributions import MuLawCategorical
from wavenet.model import WaveNet
from wavenet.native import Layout, UnknownNetworkError, Workers, native_unsupported_reason, yield_address
from wavenet.native.buffers import round_up
from wavenet.native.layout import changed
from wavenet.native.verification import verify_training
from wavenet.nn import Condition
from wavenet.training.cpu_weights import Biases, Matrices, WeightPacking

_SMALL = 2**20  # parameters, up to which one thread is faster for PyTorch's part of a step than several
_SMALLEST = 2.0**-40  # product of all layers' residual scales, so that float32 can represent the factors


class CPUNetwork:
    """`wavenet.WaveNet.log_prob` from the beginning of an utterance, with the same gradients, but faster.

    See `cpu_kernels` for how. Its results differ from the model's by rounding only, and depend on nothing
    but the inputs and the number of threads.

    A layer's output that is scaled, x' = s (x + W z), is computed as u' = u + s**-l W z with x = s**l u.

    Args:
        model: The model; its weights are read at every call.

    Raises:
        UnknownNetworkError: If native code does not compute this network.
    """

    @staticmethod
    def unsupported_reason(model: WaveNet) -> str | None:
        """Return why this cannot train the model; None if it can."""
        if (reason := native_unsupported_reason(model)) is not None:
            return reason
        layout = Layout(model)
        if layout.dropout:
            return "native code computes the plain network only, and the layers have dropout"
        if layout.residual_scale ** len(layout.layers) < _SMALLEST:
            return f"residual_scale={layout.residual_scale:g} is too small for {len(layout.layers)} layers"
        return None

    def __init__(self, model: WaveNet) -> None:
        from wavenet.training import cpu_kernels  # noqa: PLC0415 - needs numba

        self._model = model
        self._kernels = cpu_kernels
        self._read_layout()
        self._workers = Workers()
        self._threads: int | None = None  # None: those of PyTorch
        self._free: dict[int, Tensor] = {}  # memory of the last backward pass, by its size

    def check(self) -> None:
        """Check the model again, as it may have been changed.

        Raises:
            UnknownNetworkError: If native code does not compute it any more.
        """
        if self._layout.is_unchanged():
            return
        if (reason := self.unsupported_reason(self._model)) is not None:
            raise UnknownNetworkError(reason)
        self._read_layout()

    def _read_layout(self) -> None:
        self._layout = Layout(self._model)
        self._is_small = sum(parameter.numel() for parameter in self._model.parameters()) <= _SMALL
        self._packing = WeightPacking(self._layout, self._kernels)
        self._dilations = torch.tensor([layer.dilation for layer in self._layout.layers])

    @contextmanager
    def owning_threads(self) -> Iterator[None]:
        """Give all threads to this network; if it is small, PyTorch has one, as several would slow it down."""
        if not self._is_small:
            yield
            return
        threads = self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            self._threads = None
            torch.set_num_threads(threads)

    def verify(self) -> None:
        """Compare outputs and gradients with the PyTorch network's on a short segment.

        Raises:
            UnknownNetworkError: If they differ by more than rounding.
        """
        verify_training(self._model, self.log_prob, self._layout.condition_channels)

    def log_prob(self, waveform: Tensor, condition: Condition | None = None) -> Tensor:
        """Return the log-probability of each sample given all samples before it.

        Args:
            waveform: (B, T) in [-1, 1], float32.
            condition: Condition of the T samples, or None.

        Returns:
            (B, T) in nats.
        """
        inputs, distribution = F.pad(waveform[:, :-1], (1, 0)), self._model.distribution
        if not isinstance(distribution, MuLawCategorical) or changed("", distribution, MuLawCategorical) is not None:
            return distribution.log_prob(self.parameters(inputs, condition), waveform)
        return self._outputs(inputs, condition, mu_law_encode(waveform, distribution.num_classes))

    def parameters(self, waveform: Tensor, condition: Condition | None = None) -> Tensor:
        """Return the distribution's parameters, like `wavenet.WaveNet.forward`: (B, parameter_channels, T).

        Raises:
            ValueError: If a condition is missing, is given to a model without conditioners, or has another shape.
        """
        return self._outputs(waveform, condition).transpose(1, 2)

    def _outputs(self, waveform: Tensor, condition: Condition | None, labels: Tensor | None = None) -> Tensor:
        """Return the parameters (B, T, P), or with labels (B, T), int64, the classes' log-probabilities (B, T)."""
        model, panel = self._model, self._kernels.PANEL
        samples = waveform.shape[1]
        values = self._condition(waveform, condition)
        schedule = _schedule(len(waveform), self._threads or torch.get_num_threads())
        unit = self._kernels.CHUNK * max(parts for jobs in schedule for _, _, parts in jobs)
        steps = round_up(samples, unit)

        def rows(x: Tensor, before: int = 0) -> Tensor:
            """Convert (B, C, T) -> (B, before + steps, C rounded up), padded with zeros."""
            width = round_up(x.shape[1], panel)
            out = x.new_zeros(len(x), before + steps, self._stride(width))
            out[:, before : before + samples, : x.shape[1]] = x.transpose(1, 2)
            return out

        changing = values if values is not None and values.shape[2] > 1 else None
        matrices, biases, fixed = self._packing.pack()
        fixed = fixed.unsqueeze(0)
        if changing is None:
            if values is not None:
                constant = F.pad(values[..., 0], (0, matrices.conditioned.shape[1] - values.shape[1]))
                fixed = fixed + torch.einsum("lcg,bc->blg", matrices.conditioned, constant)
            matrices = matrices._replace(conditioned=matrices.conditioned[:, :0])
        conditions = waveform.new_zeros(len(waveform), steps, 0) if changing is None else rows(changing)
        encoded = rows(model.distribution.encode(waveform), self._layout.input_kernel_size - 1)
        labels = None if labels is None else F.pad(labels, (0, steps - samples))
        outputs = _Network.apply(self, schedule, samples, labels, encoded, conditions, fixed, *matrices, *biases)
        assert isinstance(outputs, Tensor)
        return outputs

    def _condition(self, waveform: Tensor, condition: Condition | None) -> Tensor | None:
        """Return the layers' condition, with the context stack's: (B, condition_channels, 1 or T), or None."""
        condition, _ = self._model.with_context(waveform, condition, None)
        channels = self._layout.condition_channels
        if (condition is None) != (channels == 0):
            actual, expected = ("no condition", "one") if condition is None else ("a condition", "none")
            raise ValueError(f"CPUNetwork: {actual} was given, but the model was built for {expected}")
        if condition is None:
            return None
        batch = len(waveform)
        if condition.values.shape[:2] != (batch, channels):
            shape, expected = tuple(condition.values.shape), f"({batch}, {channels}, L)"
            raise ValueError(f"CPUNetwork: the condition's values are {shape}; for this model they must be {expected}")
        return condition.upsampled(waveform.shape[1])

    def _stride(self, width: int) -> int:
        """Return the stride in floats between rows of this width; see `cpu_kernels.stride`."""
        return self._kernels.stride(width) // 4


Schedule = list[list[tuple[int, int, int]]]


def _schedule(batch: int, threads: int) -> Schedule:
    """Return the jobs of each thread in order: (utterance, part, parts). Threads share the last utterances."""
    left = batch % threads
    whole = batch - left
    jobs: Schedule = [[(u, 0, 1) for u in range(thread, whole, threads)] for thread in range(threads)]
    if left:
        parts = threads // left
        for i in range(left * parts):
            jobs[i].append((whole + i // parts, i % parts, parts))
    return [own_jobs for own_jobs in jobs if own_jobs]


class _Network(torch.autograd.Function):
    """Maps (encoded, conditions, fixed, matrices, biases) to parameters, all as rows; see `Matrices` for shapes.

    With labels (B, steps), it maps them to the labels' log-probabilities (B, samples).
    """

    @staticmethod
    def forward(
        ctx: Any,
        network: CPUNetwork,
        schedule: Schedule,
        samples: int,
        labels: Tensor | None,
        encoded: Tensor,
        conditions: Tensor,
        fixed: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        run = _Run(network, schedule, samples, labels, encoded, conditions, fixed, weights)
        ctx.run = run
        ctx.save_for_backward(encoded, conditions, fixed, *weights)  # so that autograd detects changes to them
        return run.forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        _ = ctx.saved_tensors
        run, ctx.run = ctx.run, None
        if run is None:
            raise RuntimeError("CPUNetwork: backward was called a second time; the first call frees its buffers")
        return None, None, None, None, *run.backward(grads[0])


class _Run:
    """Buffers and calls for one batch's forward and backward pass."""

    def __init__(
        self,
        network: CPUNetwork,
        schedule: Schedule,
        samples: int,
        labels: Tensor | None,
        encoded: Tensor,
        conditions: Tensor,
        fixed: Tensor,
        weights: Sequence[Tensor],
    ) -> None:
        self._network, self._kernels, self._schedule = network, network._kernels, schedule
        self._samples, self._labels = samples, labels
        self._encoded, self._conditions, self._fixed = encoded, conditions, fixed.contiguous()
        self._matrices = Matrices(*weights[: len(Matrices._fields)])
        self._biases = Biases(*(bias.contiguous() for bias in weights[len(Matrices._fields) :]))
        self._batch = len(encoded)
        self._pad = encoded.shape[1] - conditions.shape[1]  # input taps - 1
        self._steps = conditions.shape[1]
        input_taps, encoded_size, residual = self._matrices.input.shape
        layers, taps, _, gates = self._matrices.dilated.shape
        skip, hidden = self._matrices.head_0.shape
        outputs = self._matrices.head_1.shape[1]
        self._sizes = {
            "layers": layers,
            "taps": taps,
            "input_taps": input_taps,
            "encoded": encoded_size,
            "condition": self._matrices.conditioned.shape[1],
            "residual": residual,
            "half": gates // 2,
            "skip": skip,
            "hidden": hidden,
            "outputs": outputs,
            "dilations": network._dilations.data_ptr(),
        }
        pads = (taps - 1) * int(network._dilations.sum())
        rows, stride = layers * self._steps + pads, network._stride
        stored = {"inputs": rows * stride(residual), "gates": rows * stride(gates)}
        stored |= {"skips": self._steps * stride(skip), "hidden": self._steps * stride(hidden)}
        stored |= {} if labels is None else {"parameters": self._steps * outputs, "totals": self._steps}
        self._stored = {name: size * self._batch for name, size in stored.items()}
        self._result = "parameters" if labels is None else "log_prob"
        self._memory = torch.empty(0)
        self._arrivals = torch.zeros(self._batch, dtype=torch.int64)

    def forward(self) -> Tensor:
        """Return the parameters (B, samples, P), or with labels, the log-probabilities (B, samples)."""
        size = sum(self._stored.values())
        memory = self._network._free.pop(size, None)
        self._memory = torch.empty(size) if memory is None else memory
        outputs = torch.empty(self._batch, self._steps, *([self._sizes["outputs"]] if self._labels is None else []))
        packed = {name: _panels(m, self._kernels.PANEL) for name, m in self._matrices._asdict().items()}
        net = self._net(packed, {})
        gated = self._kernels.CHUNK * self._network._stride(self._sizes["half"])
        scratches = torch.empty(len(self._schedule), gated + self._kernels.PANEL)
        no_addresses = dict.fromkeys(self._kernels.Scratch._fields, 0)

        def work(worker: int) -> None:
            addresses = {"gated": scratches[worker].data_ptr(), "lanes": scratches[worker, gated:].data_ptr()}
            scratch = self._kernels.Scratch(**no_addresses | addresses)
            for u, part, parts in self._schedule[worker]:
                utterance = self._utterance(u, **{self._result: outputs})
                barrier = self._arrivals[u].data_ptr()
                self._kernels.forward(net, utterance, scratch, part, parts, barrier, yield_address())

        self._network._workers.run(work, len(self._schedule))
        outputs = outputs[:, : self._samples]
        return outputs if self._labels is not None else outputs[..., : self._network._layout.parameter_channels]

    def backward(self, outputs_grad: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of all inputs."""
        kernels, sizes, stride = self._kernels, self._sizes, self._network._stride
        pad = (0, self._steps - self._samples)
        if self._labels is None:
            pad = (0, sizes["outputs"] - outputs_grad.shape[2], *pad)
        outputs_grad = F.pad(outputs_grad, pad).contiguous()
        packed = {name: _panels(m.transpose(-1, -2), kernels.PANEL) for name, m in self._matrices._asdict().items()}
        net = self._net({}, packed)
        workers = len(self._schedule)
        encoded_grad = torch.zeros_like(self._encoded)
        conditions_grad = torch.zeros_like(self._conditions)
        input_grad = torch.empty(self._batch, self._steps + self._pad, stride(sizes["residual"]))
        input_grad[:, self._steps :] = 0
        max_parts = max(parts for jobs in self._schedule for _, _, parts in jobs)
        fixed_grad = torch.zeros(self._batch, max_parts, sizes["layers"], 2 * sizes["half"])
        weights = self._matrices._asdict() | self._biases._asdict()
        offsets = list(accumulate((w.numel() for w in weights.values()), initial=0))
        grads = torch.zeros(workers, offsets[-1])
        widths = {
            "gated": sizes["half"],
            "gated_grad": sizes["half"],
            "residual_grad": sizes["residual"],
            "skip_grad": sizes["skip"],
            "hidden_grad": sizes["hidden"],
            "parameters_grad": sizes["outputs"],
        }
        starts = list(accumulate((kernels.CHUNK * stride(width) for width in widths.values()), initial=0))
        scratches = torch.empty(workers, starts[-1])

        def work(worker: int) -> None:
            addresses = {name: scratches[worker, at:].data_ptr() for name, at in zip(widths, starts, strict=False)}
            addresses |= {name: grads[worker].data_ptr() + 4 * at for name, at in zip(weights, offsets, strict=False)}
            for u, part, parts in self._schedule[worker]:
                utterance = self._utterance(
                    u,
                    input_grad=input_grad,
                    encoded_grad=encoded_grad[:, self._pad :],
                    conditions_grad=conditions_grad,
                    **{f"{self._result}_grad": outputs_grad},
                )
                scratch = kernels.Scratch(**addresses, lanes=0, fixed=fixed_grad[u, part].data_ptr())
                barrier = self._arrivals[u].data_ptr()
                kernels.backward(net, utterance, scratch, part, parts, barrier, yield_address())

        self._network._workers.run(work, workers)
        self._network._free = {len(self._memory): self._memory}
        total = grads.sum(dim=0) if workers > 1 else grads[0]
        weight_grads = [total[a:b].view(w.shape) for (a, b), w in zip(pairwise(offsets), weights.values(), strict=True)]
        fixed_grads = fixed_grad.sum(dim=1)
        if len(self._fixed) == 1:
            fixed_grads = fixed_grads.sum(dim=0, keepdim=True)
        return encoded_grad, conditions_grad, fixed_grads, *weight_grads

    def _net(self, forwards: dict[str, Tensor], backwards: dict[str, Tensor]) -> Any:
        self._packed = forwards, backwards  # keeps the memory behind the addresses
        addresses = {name: forwards[name].data_ptr() if name in forwards else 0 for name in Matrices._fields}
        addresses |= {
            f"{name}_back": backwards[name].data_ptr() if name in backwards else 0 for name in Matrices._fields
        }
        addresses |= {name: bias.data_ptr() for name, bias in self._biases._asdict().items()}
        return self._kernels.Network(**self._sizes, **addresses)

    def _utterance(self, u: int, **rows: Tensor) -> Any:
        """Return the addresses of utterance u."""
        starts = accumulate(self._stored.values(), initial=0)
        stored = {
            name: self._memory.data_ptr() + 4 * (start + size // self._batch * u)
            for (name, size), start in zip(self._stored.items(), starts, strict=False)
        }
        fields = dict.fromkeys(self._kernels.Utterance._fields, 0) | stored
        fields |= {name: x[u].data_ptr() for name, x in rows.items()}
        fields |= {
            "labels": 0 if self._labels is None else self._labels[u].data_ptr(),
            "steps": self._steps,
            "encoded": self._encoded[u, self._pad :].data_ptr(),
            "conditions": self._conditions[u].data_ptr(),
            "fixed": self._fixed[u if len(self._fixed) > 1 else 0].data_ptr(),
        }
        return self._kernels.Utterance(**fields)


def _panels(matrix: Tensor, panel: int) -> Tensor:
    """Convert (..., inputs, outputs) -> (..., panels, inputs, panel), in memory in this order."""
    return matrix.unflatten(-1, (-1, panel)).transpose(-3, -2).contiguous()
