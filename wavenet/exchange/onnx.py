"""Export for onnxruntime: graphs of one step with explicit states, and their description.

            NAME (a number, or frames)      -> condition_NAME.onnx -> condition of all samples, or of each
            the last `pool` samples, states -> context.onnx        -> condition of the next `pool`, states
                                                                            |  added up
    sample, uniforms, temperature, states   ----------------------> step.onnx -> sample, parameters, states

The graphs are the model's own modules, traced. `model.json` describes the inputs, and `generate.py` is a complete
program that generates a WAV. To continue a recording, feed its samples to steps, and discard what those generate.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wavenet.atomic_files import atomic_folder
from wavenet.conditioning import CategoricalEmbedding, Conditioner, FrameConditioner
from wavenet.exchange.decompositions import DECOMPOSITIONS
from wavenet.extras import install_command
from wavenet.model import WaveNet
from wavenet.native import unsupported_reason, without_parametrizations
from wavenet.native.layout import changed
from wavenet.nn import Condition, ContextStack
from wavenet.version import __version__

FORMAT_VERSION = 1
EXAMPLE = "generate.py"
_DYNAMIC = torch.export.Dim.DYNAMIC


class Step(nn.Module):
    """One step of generation, with everything that it depends on as an input: `WaveNet.forward` and one draw.

    Args:
        model: Without a context stack, whose output is a part of the condition.
    """

    def __init__(self, model: WaveNet) -> None:
        super().__init__()
        self.model = model
        self.shapes = model.state_shapes

    def forward(
        self, sample: Tensor, uniforms: Tensor, temperature: Tensor, condition: Tensor | None, states: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Take a sample, and draw the next.

        Args:
            sample: The last one, (B, 1); zeros at the beginning.
            uniforms: (B, distribution.num_uniforms) in [0, 1).
            temperature: (), above 0.
            condition: (B, condition_channels, 1), or None for a model without conditions.
            states: Past inputs of the convolutions with taps in the past, (B, channels, samples) each; zeros at first.

        Returns:
            The sample (B, 1), its distribution's parameters (B, parameter_channels), and the states after it.
        """
        constant = None if condition is None else Condition(condition)
        parameters, new_states = self.model(sample, constant, _complete(states, self.shapes, sample))
        next_sample = self.model.distribution.sample(parameters, uniforms.unsqueeze(-1), temperature)
        return next_sample, parameters.squeeze(-1), [state for state in new_states if state.shape[-1]]


class _Names(nn.Module):
    """Embeddings of names, given as indices: (B,) -> (B, condition_channels, 1)."""

    def __init__(self, conditioner: CategoricalEmbedding) -> None:
        super().__init__()
        self.embedding = conditioner.embedding

    def forward(self, indices: Tensor) -> Tensor:
        return self.embedding(indices).unsqueeze(-1)


class _Frames(nn.Module):
    """The condition of each sample, from frames: (1, num_channels, F) -> (1, condition_channels, F * hop_length)."""

    def __init__(self, conditioner: FrameConditioner) -> None:
        super().__init__()
        self.conditioner = conditioner

    def forward(self, frames: Tensor) -> Tensor:
        values = self.conditioner.read({self.conditioner.name: frames}, 1).values
        return values.repeat_interleave(self.conditioner.upsampling.hold, dim=-1)


class _Context(nn.Module):
    """Maps a frame of samples (B, pool) and the stack's states to the next frame's condition and the new states."""

    def __init__(self, context: ContextStack) -> None:
        super().__init__()
        self.context = context
        self.shapes = context.stack.state_shapes

    def forward(self, samples: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        frame = self.context.beginning(samples)[:3]
        states = _complete(states, self.shapes, samples)
        _, (_, _, condition, *new_states) = self.context.run(samples, [*frame, *states], phase=0)
        return condition, [state for state in new_states if state.shape[-1]]


class _Graph(NamedTuple):
    """A module to be traced.

    Attributes:
        file: Its name in the folder.
        module: The module.
        arguments: Example arguments of its `forward`.
        dynamic: Their dimensions that may have any size.
        inputs: Their names.
        outputs: Names of its outputs.
    """

    file: str
    module: nn.Module
    arguments: tuple[Any, ...]
    dynamic: tuple[Any, ...]
    inputs: list[str]
    outputs: list[str]


def export(model: WaveNet, folder: str | Path) -> Path:
    """Write a model as ONNX graphs with a program that uses them; the folder is written completely or not at all.

    Args:
        model: The model; it is not changed.
        folder: Created; one that already holds an exported model is replaced.

    Returns:
        The folder, with step.onnx, model.json, generate.py, and a graph for each condition and the context stack.

    Raises:
        ValueError: If the model has a condition or weights that cannot be exported.
        FileExistsError: If the folder holds something else.
        ModuleNotFoundError: If an extra is missing.
        OSError: If the folder cannot be written.
    """
    onnx = _onnx()
    model = _copy(model)
    about = describe(model)
    with atomic_folder(Path(folder), sign="step.onnx") as beside:
        for graph in _graphs(model):
            path = beside / graph.file
            _trace(graph, {"wavenet": json.dumps(about), **_flat(about)}, path)
            onnx.checker.check_model(path, full_check=True)
        (beside / "model.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        (beside / EXAMPLE).write_bytes(Path(__file__).with_name("standalone_generate.py").read_bytes())
    return Path(folder)


def describe(model: WaveNet) -> dict[str, Any]:
    """Describe the graphs of a model for a program that uses them: the content of model.json.

    Raises:
        ValueError: If a condition has a type that cannot be exported.
    """
    return {
        "format_version": FORMAT_VERSION,
        "wavenet": __version__,
        "sample_rate": model.sample_rate,
        "receptive_field": model.receptive_field,
        "distribution": type(model.distribution).__name__,
        "num_uniforms": model.distribution.num_uniforms,
        "condition_channels": model.stack.condition_channels,
        "conditions": {name: _describe(conditioner) for name, conditioner in model.conditioners.items()},
        "pool": 0 if model.context is None else model.context.pool,
    }


def _describe(conditioner: nn.Module) -> dict[str, Any]:
    """Describe a condition; `absent` is its replacement where it is not given, or null."""
    assert isinstance(conditioner, Conditioner)
    absent = None if conditioner.absent is None else conditioner.absent.flatten().tolist()
    about = {"file": f"condition_{conditioner.name}.onnx", "absent": absent}
    if isinstance(conditioner, CategoricalEmbedding):
        return {**about, "categories": conditioner.categories}
    if isinstance(conditioner, FrameConditioner):
        return {**about, "num_channels": conditioner.num_features, "hop_length": conditioner.upsampling.hop_length}
    raise ValueError(
        f"export: the condition '{conditioner.name}' is a {type(conditioner).__name__}; only names "
        "(CategoricalEmbedding) and frames (FrameConditioner) can be exported"
    )


def _copy(model: WaveNet) -> WaveNet:
    """Return a copy of the model in float32 on the CPU."""
    unknown = unsupported_reason(model, any_precision=True) or _unknown_part(model)
    if unknown is not None:
        raise ValueError(f"export: only the plain network can be exported, and {unknown}")
    model = deepcopy(model).cpu().float().eval()
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ValueError(f"export: the model's {name} holds infinity or nan; use an older checkpoint")
    return without_parametrizations(model)


def _unknown_part(model: WaveNet) -> str | None:
    """Return which part around the network the graphs do not support; None if they support all."""
    parts: dict[str, nn.Module] = {f"conditioners.{name}": part for name, part in model.conditioners.items()}
    parts |= {"distribution": model.distribution} | ({} if model.context is None else {"context": model.context})
    for place, part in parts.items():
        if isinstance(part, CategoricalEmbedding):
            unknown = changed(place, part, CategoricalEmbedding) or changed(
                f"{place}.embedding", part.embedding, nn.Embedding
            )
        else:
            unknown = changed(place, part, ContextStack if place == "context" else type(part))
        if unknown is not None:
            return unknown
    return None


def _graphs(model: WaveNet) -> Iterator[_Graph]:
    """Export all graphs of a model; the step's graph has the context stack's output as an input."""
    for conditioner in model.conditioners.values():
        assert isinstance(conditioner, CategoricalEmbedding | FrameConditioner)
        file, name = f"condition_{conditioner.name}.onnx", conditioner.name
        if isinstance(conditioner, CategoricalEmbedding):
            yield _Graph(file, _Names(conditioner), (torch.tensor([0, 0]),), ({0: _DYNAMIC},), [name], ["values"])
        else:
            frames = torch.ones(1, conditioner.num_features, 7)
            yield _Graph(file, _Frames(conditioner), (frames,), ({2: _DYNAMIC},), [name], ["values"])
    if model.context is not None:
        yield _with_states(
            "context.onnx", _Context(model.context), model.context.stack.state_shapes,
            {"samples": torch.zeros(2, model.context.pool)}, ["context"],
        )  # fmt: skip
        model.context = None
    channels, uniforms = model.stack.condition_channels, model.distribution.num_uniforms
    condition = {"condition": torch.zeros(2, channels, 1)} if channels else {"": None}
    yield _with_states(
        "step.onnx", Step(model), model.state_shapes,
        {"sample": torch.zeros(2, 1), "uniforms": torch.full((2, uniforms), 0.5), "temperature": torch.tensor(1.0)}
        | condition,
        ["next_sample", "parameters"],
    )  # fmt: skip


def _with_states(
    file: str, module: nn.Module, shapes: list[tuple[int, int]], first: dict[str, Any], outputs: list[str]
) -> _Graph:
    """Export a graph for any batch size whose last input and output are lists of states."""
    states = [torch.zeros(2, *shape) for shape in shapes if shape[1]]
    dynamic = tuple({0: _DYNAMIC} if value is not None and value.dim() else None for value in first.values())
    names = [f"state_{number:03d}" for number in range(len(states))]
    return _Graph(
        file,
        module,
        (*first.values(), states),
        (*dynamic, [{0: _DYNAMIC} for _ in states]),
        [name for name in first if name] + names,
        outputs + [f"new_{name}" for name in names],
    )


def _complete(states: list[Tensor], shapes: list[tuple[int, int]], like: Tensor) -> list[Tensor]:
    """Add the empty states of layers without a past, which are not inputs of a graph."""
    remaining = iter(states)
    return [next(remaining) if shape[1] else like.new_zeros(like.shape[0], *shape) for shape in shapes]


@torch.no_grad()
def _trace(graph: _Graph, about: dict[str, str], path: Path) -> None:
    """Trace a module and write its graph, in one file."""
    graph.module(*graph.arguments)  # fills the caches of tables, which would otherwise keep the placeholders of tracing
    with _quiet():
        program = torch.export.export(graph.module, graph.arguments, dynamic_shapes=graph.dynamic)
        if any(node.target in DECOMPOSITIONS for node in program.graph.nodes):
            program = program.run_decompositions(DECOMPOSITIONS)
        traced = torch.onnx.export(
            program, input_names=graph.inputs, output_names=graph.outputs, dynamo=True, verbose=False
        )
    assert traced is not None
    traced.model.metadata_props.update(about)
    traced.model.producer_name, traced.model.producer_version = "wavenet", __version__
    traced.save(path, external_data=False)


def _flat(about: dict[str, Any]) -> dict[str, str]:
    """Return the scalar values as strings, for a graph's metadata."""
    return {name: str(value) for name, value in about.items() if isinstance(value, int | str) and name != "wavenet"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages about its internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _onnx() -> Any:
    """Return the library, if everything that an export needs is installed."""
    try:
        import onnx  # noqa: PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"an export to ONNX needs {error.name}; install it with {install_command('onnx')}", name=error.name
        ) from error
    return onnx
