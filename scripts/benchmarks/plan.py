"""A plan for training on a large corpus: what is measured here, times factors that are stated, beside limits."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import soundfile
from torch.utils.data import DataLoader

from scripts.benchmarks.data import batches_per_second
from scripts.benchmarks.opening import first_segment, private_megabytes, write_index
from scripts.benchmarks.table import header, line_of
from wavenet.data import SegmentStream, TrainingSegments, prepare
from wavenet.data.prompts import Prompts
from wavenet.data.shards import Shards, prepare_shards
from wavenet.data.shards.block_cache import BLOCK, THREADS
from wavenet.data.shards.layout import INDEX

_BYTES = 2  # of a 16-bit sample
_BATCH = 16  # segments
_ROWS = 1_000_000  # of the index that is measured


@dataclass(frozen=True)
class Plan:
    """What is planned; nothing of it is measured here.

    Attributes:
        hours: Length of the corpus.
        sample_rate: Hz, of the recordings and of the model.
        utterance_seconds: Mean length of an utterance.
        gpus: GPUs that train.
        gpus_per_machine: Those of a machine.
        gpu_rate: Predicted samples per second of each: an assumption.
        segment: Predicted samples per segment.
        context: Context samples before each segment.
        cores_per_gpu: Processor cores beside each GPU.
        store_requests: Requests per second that the store answers.
        network: Bytes per second that a machine receives.
    """

    hours: float = 60_000
    sample_rate: int = 16_000
    utterance_seconds: float = 12.0
    gpus: int = 64
    gpus_per_machine: int = 8
    gpu_rate: float = 5e6
    segment: int = 16_000
    context: int = 3069
    cores_per_gpu: int = 8
    store_requests: float = 5500
    network: float = 25e9 / 8


@dataclass
class Row:
    """One line of the table.

    Attributes:
        what: The quantity.
        value: Its amount, in words.
        how: The measurement or assumption, and the factors.
        load: What is used of the limit that is stated, if one is.
    """

    what: str
    value: str
    how: str
    load: float | None = None


@dataclass(frozen=True)
class Measured:
    """What was measured here, each on one core.

    Attributes:
        prepare: Samples of FLAC recordings that are prepared into shards per core and second.
        store_bytes: Bytes of the shards per sample.
        read: Segments per second that one worker brings from shards on this machine, in batches of 16.
        index_bytes: Bytes of the index per utterance.
        open_seconds: Time to open the index, per utterance.
        open_bytes: Memory of a process's own to open it, per utterance.
    """

    prepare: float
    store_bytes: float
    read: float
    index_bytes: float
    open_seconds: float
    open_bytes: float


def measure(plan: Plan, seconds: float) -> Measured:
    """Measure preparation, reading and opening, with the package's recordings and an index of a million rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = Prompts()
        infos = [soundfile.info(utterance.path) for utterance in dataset.scan().utterances]
        began = time.process_time()
        prepare_shards(dataset, infos[0].samplerate, folder / "corpus", num_processes=1, progress=False)
        samples = sum(info.frames for info in infos)
        prepared = samples / (time.process_time() - began)
        corpus = prepare(Shards(str(folder / "corpus")), infos[0].samplerate, folder / "cache", progress=False)
        size = sum(path.stat().st_size for path in (folder / "corpus").glob("shard-*.arrow"))
        segments = TrainingSegments(corpus, plan.segment, plan.context, seed=0)
        loader = DataLoader(segments, batch_sampler=SegmentStream(_BATCH), num_workers=1)
        read = _BATCH * batches_per_second(loader, seconds)
        write_index(folder / "shards", _ROWS)
        before, began = private_megabytes() or math.nan, time.perf_counter()
        opened = first_segment("shards", folder)
        open_seconds, after = time.perf_counter() - began, private_megabytes() or math.nan
        del opened
        index_bytes = (folder / "shards" / INDEX).stat().st_size / _ROWS
        return Measured(
            prepared, size / samples, read, index_bytes, open_seconds / _ROWS, 1e6 * (after - before) / _ROWS
        )


def planned(plan: Plan, found: Measured) -> list[Row]:
    """Return the plan's quantities, each from a measurement or an assumption times factors."""
    seconds = 3600 * plan.hours
    samples, utterances = seconds * plan.sample_rate, seconds / plan.utterance_seconds
    stored = samples * found.store_bytes
    machines = plan.gpus / plan.gpus_per_machine
    per_rank = plan.gpu_rate / plan.segment
    read_bytes = _BYTES * (plan.segment + plan.context)
    blocks = 1 + (read_bytes - 1) / BLOCK  # a range that begins anywhere touches so many on average
    requests, received = per_rank * plan.gpus, per_rank * blocks * BLOCK
    workers = per_rank / found.read
    core_hours = samples / found.prepare / 3600
    rate = f"{plan.gpu_rate:.3g} samples/s assumed"
    machine_bytes = received * plan.gpus_per_machine
    return [
        Row("shards", f"{stored / 1e12:.2f} TB", f"{found.store_bytes:.3f} bytes/sample x {samples:.3g} samples"),
        Row("files of shards", f"{stored / 64e6:,.0f}", "/ 64 MB"),
        Row(
            "index",
            f"{utterances * found.index_bytes / 1e9:.2f} GB",
            f"{found.index_bytes:.0f} bytes/utterance x {utterances:.3g} utterances",
        ),
        Row(
            "opening, each process",
            f"{utterances * found.open_seconds:.1f} s, {utterances * found.open_bytes / 1e6:.0f} MB of its own",
            f"{1e6 * found.open_seconds:.2f} s and {found.open_bytes:.0f} MB per million utterances",
        ),
        Row(
            "preparation",
            f"{core_hours:,.0f} core-hours",
            f"{samples:.3g} samples / {found.prepare / 1e6:.1f} M samples/s and core",
        ),
        Row("segments of a rank", f"{per_rank:.0f} per second", f"{rate} / {plan.segment} samples"),
        Row(
            "cores that read, each rank",
            f"{workers:.2f}",
            f"{per_rank:.0f} / {found.read:.0f} segments/s and worker; of {plan.cores_per_gpu} cores per GPU",
            workers / plan.cores_per_gpu,
        ),
        Row(
            "reads of a machine from a store",
            f"{machine_bytes / 1e6:.0f} MB/s",
            f"{blocks:.2f} blocks of {BLOCK // 1024} KiB x {per_rank:.0f} segments/s x {plan.gpus_per_machine} ranks; "
            f"of {8 * plan.network / 1e9:.0f} Gbit/s",
            machine_bytes / plan.network,
        ),
        Row(
            "requests to the store",
            f"{requests:,.0f} per second",
            f"1 x {per_rank:.0f} segments/s x {plan.gpus} ranks; of {plan.store_requests:.0f} per second",
            requests / plan.store_requests,
        ),
        Row(
            "time of a request, at most",
            f"{1e3 * THREADS / per_rank:.0f} ms",
            f"{THREADS} threads that read ahead / {per_rank:.0f} segments/s; two workers hide twice as much",
        ),
        Row(
            "each sample once",
            f"{samples / (plan.gpus * plan.gpu_rate) / 3600:.1f} h",
            f"{samples:.3g} samples / ({plan.gpus} x {rate})",
        ),
        Row(
            "a copy on every machine",
            f"{stored / plan.network / 60:.0f} min",
            f"{stored / 1e12:.2f} TB / {8 * plan.network / 1e9:.0f} Gbit/s, on {machines:.0f} machines at once",
        ),
    ]


def benchmark_plan(plan: Plan, seconds: float = 3.0, on_row: Callable[[Row], object] = print) -> list[Row]:
    """Measure what a plan needs, and compute it.

    Args:
        plan: The plan.
        seconds: Length of the measurement of reading.
        on_row: Called with each row.

    Returns:
        The rows.
    """
    rows = planned(plan, measure(plan, seconds))
    for row in rows:
        on_row(row)
    return rows


def bottleneck(rows: list[Row]) -> str:
    """Return a sentence on the row that is nearest to its limit, or farthest beyond it."""
    most = max((row for row in rows if row.load is not None), key=lambda row: row.load or 0)
    return f"nearest to its limit, or beyond: {most.what}, at {100 * (most.load or 0):.0f} %"


_COLUMNS = {"what": 31, "amount": 29, "from": 86, "of its limit": 12}
HEADER = header(_COLUMNS)


def line(row: Row) -> str:
    """Format a row as a line of the Markdown table that `HEADER` begins."""
    return line_of([row.what, row.value, row.how, "" if row.load is None else f"{100 * row.load:.0f} %"], _COLUMNS)
