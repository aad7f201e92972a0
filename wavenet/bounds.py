"""Bounds of arguments: stated in annotations, and checked when a function or constructor is called.

    class Echo(nn.Module):
        @checked
        def __init__(self, taps: Annotated[int, Integer(1, 1024)] = 2) -> None: ...

`checked` rejects other values before the constructor's body runs; `bounds_of(Echo)` is {"taps": Integer(1, 1024)}, from
which the command line, the readers of saved models and runs, and the demo's page get the bounds. So every model that
can be trained can be saved, loaded and resumed.

Limits on several arguments or parts together (such as the number of layers or the receptive field) are the constants in
capitals.
"""

import functools
import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from wavenet.types import (
    BOOLEAN,
    NULL,
    AnyOf,
    DictionaryOf,
    Integer,
    ListOf,
    OneOf,
    Real,
    Text,
    ValueType,
    format_value,
)

MAX_PARTS = 32  # of a model: itself, its distribution, its conditioners, its context stack
MAX_CATEGORIES = 2**14  # names of a condition; saved runs and models contain them all
MAX_LAYERS = 500  # in all stacks together
MAX_RECEPTIVE_FIELD = 2**24  # samples; generation keeps as many in memory
MAX_BATCH_SAMPLES = 2**28  # batch_size x segment_length
MAX_TOTALS = {"embedding_channels": 4096, "encoding_channels": 4096, "n_mels": 512}  # in all parts of a model

RATES = Integer(1000, 1_000_000)  # Hz; a recording's header with another rate is damaged
CHANNELS = Integer(1, 4096)
KERNELS = Integer(1, 1024)
SampleRate = Annotated[int, RATES]
Channels = Annotated[int, CHANNELS]
GateChannels = Annotated[int, Integer(2, 4096, step=2)]
KernelSize = Annotated[int, KERNELS]
DilationCycle = Annotated[int, Integer(1, 24)]  # layers; 2**24 samples are minutes
NumCycles = Annotated[int, Integer(1, MAX_LAYERS)]
Dilation = Annotated[int, Integer(1, MAX_RECEPTIVE_FIELD)]  # samples
Dilations = Annotated[Sequence[int], ListOf(Integer(1, MAX_RECEPTIVE_FIELD), 1, MAX_LAYERS, "[1,2,4]")]
Groups = Annotated[int, Integer(1, 2048)]  # each has a filter and a gate
ResidualScale = Annotated[float, Real(0, 1, exclusive_low=True, example=0.7071)]
HopLength = Annotated[int, Integer(1, 65536)]  # samples
Dropout = Annotated[float, Real(0, 1, exclusive_high=True, example=0.1)]
Names = Annotated[Any, ListOf(Text("a name", numbers=True), 1, MAX_CATEGORIES, "[allison,june]")]
Flag = Annotated[bool, BOOLEAN]
Seed = Annotated[int, Integer(0, 2**32 - 1)]
Workers = Annotated[int, Integer(0, 256)]  # each is a process
SegmentLength = Annotated[int, Integer(1, MAX_RECEPTIVE_FIELD)]  # samples
BatchSize = Annotated[int, Integer(1, 2**16)]  # segments

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # of torch.compile
ScheduleName = Annotated[str, OneOf(("cosine", "wsd", "constant"))]  # see wavenet.training.schedules
LearningRate = Annotated[float, Real(0, 1, exclusive_low=True, exclusive_high=True, example=0.001)]
Betas = Annotated[Sequence[float], ListOf(Real(0, 1, exclusive_high=True), 2, 2, "[0.9,0.99]")]
Momentum = Annotated[float, Real(0, 1, exclusive_high=True, example=0.95)]
Epsilon = Annotated[float, Real(0, 1, exclusive_low=True, example=1e-8)]
WeightDecay = Annotated[float, Real(0, 100, example=0.01)]
Steps = Annotated[int, Integer(0, 10**9)]  # more than any run needs
Patience = Annotated[int, Integer(1, 10**6)]  # validations
MinDelta = Annotated[float, Real(0, 100, example=0.01)]  # bits per sample
Share = Annotated[float, Real(0, 1, example=0.05)]
StoredSamples = Annotated[str, OneOf(("int16", "float32"))]
PreparationEngine = Annotated[str, OneOf(("processes", "ray"))]
CacheGigabytes = Annotated[float, Real(0, 10**6, exclusive_low=True, example=16)]
ShardMegabytes = Annotated[float, Real(0, 2000, exclusive_low=True, example=64)]
PartWeights = Annotated[
    Mapping[str, float], DictionaryOf(Real(0, 10**9, example=3), "{prompts: 1, folder: 3}")
]  # of a mix's parts
Compile = Annotated[bool | str, AnyOf((BOOLEAN, OneOf(COMPILE_MODES)))]

_Checked = TypeVar("_Checked", bound=Callable[..., Any])


def bounds_of(owner: Callable[..., Any]) -> Mapping[str, ValueType]:
    """Return the value types of the arguments of a function, or of a class's constructor.

    An argument without a bound in a class's own constructor has the bound that one of its base classes states for it.
    If the constructor takes `**kwargs`, the arguments of its base classes are included: `class Mine(WaveNet)` with
    `def __init__(self, gain: Annotated[float, Real(0, 10)], **kwargs)` has all bounds of WaveNet, and one more.

    Args:
        owner: A function or a class.

    Returns:
        The value types by argument name, for the arguments that have one.

    >>> def play(rate: SampleRate, gain: Annotated[float, Real(0, 10)] | None = None, name: str = ""): ...
    >>> {name: str(bound) for name, bound in bounds_of(play).items()}
    {'rate': 'a whole number from 1000 to 1000000', 'gain': 'a number of at least 0 and at most 10, or null'}
    """
    return _of_class(owner) if inspect.isclass(owner) else _of_function(owner)


def type_in_annotation(hint: Any) -> ValueType | None:
    """Return the value type that an annotation states, or None.

    >>> str(type_in_annotation(Channels | None))
    'a whole number from 1 to 4096, or null'
    """
    for extra in getattr(hint, "__metadata__", ()):
        if callable(getattr(extra, "accepts", None)):
            return extra
    if get_origin(hint) not in (Union, UnionType):
        return None
    types = [NULL if each is type(None) else type_in_annotation(each) for each in get_args(hint)]
    known = tuple(each for each in types if each is not None)
    return AnyOf(known) if len(known) == len(types) else None


def checked(function: _Checked) -> _Checked:
    """Decorate a function to check its arguments against the types in its annotations before its body runs.

    NumPy's numbers are passed on as Python numbers, which can be saved.

    Args:
        function: A function or a class's `__init__`; or a dataclass, whose constructor is checked.

    Returns:
        The function, its signature unchanged; or the class.

    Raises:
        ValueError: On a call, such as "CausalConv1d: kernel_size is 0; it must be a whole number from 1 to 1024".
    """
    return _checked(function)


def checked_as(owner: str) -> Callable[[_Checked], _Checked]:
    """Return `checked` with messages that begin with the given name instead of the class's or the function's."""
    return lambda function: _checked(function, owner)


def check_value(owner: str, name: str, value: Any, kind: ValueType) -> None:
    """Check that a value is of a type.

    Raises:
        ValueError: Names the owner, the argument, its value and the allowed values.

    >>> check_value("CausalConv1d", "dilation", 0, Integer(1, 9))
    Traceback (most recent call last):
    ValueError: CausalConv1d: dilation is 0; it must be a whole number from 1 to 9
    """
    if not kind.accepts(value):
        raise ValueError(f"{owner}: {name} is {format_value(value)}; it must be {kind}")


def check_batch(batch_size: int, segment_length: int) -> None:
    """Check that a batch does not have more samples than any machine can use.

    Raises:
        ValueError: Names both numbers.
    """
    if batch_size * segment_length > MAX_BATCH_SAMPLES:
        raise ValueError(
            f"batch_size x segment_length is {batch_size} x {segment_length}, more than {MAX_BATCH_SAMPLES} samples; "
            "make one of them smaller"
        )


def _checked(function: Any, owner: str | None = None) -> Any:
    if inspect.isclass(function):
        function.__init__ = _checked(function.__init__, owner)
        return function
    signature = inspect.signature(function)
    is_method = next(iter(signature.parameters), None) == "self"

    @functools.wraps(function)
    def check_and_call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own error names the missing or unknown argument
        name = owner or (type(args[0]).__name__ if is_method else function.__name__)
        for argument, value_type in bounds_of(function).items():
            if argument in bound.arguments:
                value = bound.arguments[argument]
                check_value(name, argument, value, value_type)
                bound.arguments[argument] = _plain(value)
        return function(*bound.args, **bound.kwargs)

    return check_and_call


@functools.cache
def _of_class(owner: type) -> dict[str, ValueType]:
    found: dict[str, ValueType] = {}
    names, open_ended = set(), True
    for base in owner.__mro__:
        constructor = base.__dict__.get("__init__")
        if not inspect.isfunction(constructor):
            continue
        parameters = inspect.signature(constructor).parameters
        if open_ended:  # subclasses pass their **kwargs on to it
            names |= parameters.keys()
            open_ended = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
        stated = _of_function(constructor)
        found = {name: bound for name, bound in stated.items() if name in names} | found
    return found


@functools.cache
def _of_function(function: Callable[..., Any]) -> dict[str, ValueType]:
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError:  # a name that is only imported for type checkers
        hints = getattr(function, "__annotations__", {})
    bounds = {name: type_in_annotation(hint) for name, hint in hints.items() if name != "return"}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _plain(value: Any) -> Any:
    """Convert NumPy numbers, also inside a list or a tuple, to Python numbers."""
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, numbers.Integral) and not isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, int | float) else value
