"""Generation of many utterances: a row of a table for each, divided between processes, and completed after a stop."""

import csv
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from wavenet import stream
from wavenet.atomic_files import remove_partial_files, write_text
from wavenet.audio import as_int16, file_name_for, read, read_frames, write
from wavenet.cli.command import plain
from wavenet.cli.launched import Share, check_engine, chunks, digest_of_model, lines_of, lines_to, run_with_model
from wavenet.conditioning import CategoricalEmbedding
from wavenet.data.table import read_table
from wavenet.generation.sampler import SECONDS, SEED, check_room
from wavenet.model import WaveNet
from wavenet.names import normalise, one_line
from wavenet.progress import Bar

RESULT = "generated.csv"
_PARTS, _REQUEST = ".parts", "request.json"
_OWN = ("id", "seconds", "seed", "mel", "mel_from")  # the other columns are conditions
_OF_REQUEST = ("temperature", "top_k", "guidance", "backend", "weights", "seconds", "speaker", "conditions", "seed")
_RESULTS = ("id", "file", "seconds", "seed", "peak", "rms")
_AT_ONCE = 8  # batches of a task of Ray


@dataclass(frozen=True)
class Row:
    """An utterance to generate.

    Attributes:
        place: Where it stands, for messages.
        id: Its id, and its file's name without the suffix.
        seconds: Length; None for that of its features.
        seed: Its seed.
        features: A file for the model's features by name; or under "mel_from" a recording.
        conditions: Names by condition.
    """

    place: str
    id: str
    seconds: float | None
    seed: int
    features: dict[str, str]
    conditions: dict[str, str]


def generate_many(cfg: DictConfig, model: WaveNet, mine: Share) -> None:
    """Generate what a manifest lists, and write a file for each and a table of them.

    Args:
        cfg: The command's config.
        model: The model, on this process's device.
        mine: This process's share.

    Raises:
        ValueError: If a row cannot be generated, before any is; or the folder holds another request's utterances.
    """
    for name, default in (("prompt", None), ("mel", None), ("mel_from", None), ("num", 1)):
        if cfg[name] != default:
            raise ValueError(f"{name} is {cfg[name]!r:.80}; a manifest's rows give their own, so leave {name} out")
    for name in ("seconds", "speaker", "seed"):
        if OmegaConf.is_list(cfg[name]):
            raise ValueError(f"{name} is {cfg[name]!s:.80}; with a manifest it is one value, for rows that give none")
    began = time.time()
    check_engine(cfg.engine, mine)
    folder, path = Path(cfg.output), Path(cfg.manifest)
    if folder.suffix:
        raise ValueError(f"output is '{folder}'; with a manifest it is a folder, such as output=generated")
    rows = read_manifest(path, cfg, model)
    options = {name: cfg[name] for name in ("temperature", "top_k", "guidance", "backend", "threads", "weights")}
    parts = folder / _PARTS
    parts.mkdir(parents=True, exist_ok=True)
    _check_request(folder, parts / _REQUEST, _digest(cfg, model, rows))
    done = _done(parts)
    own = [
        batch
        for batch in _batches(rows, cfg.batch_size)[mine.rank :: mine.size]  # the same for any number of processes
        if any(row.id not in done for row in batch)
    ]
    generated = _by_engine(cfg.engine, model, folder, options, own)
    with (
        lines_to(parts / f"{mine.rank:05d}.jsonl") as lines,
        Bar(total=sum(map(len, own)), desc="generating", unit="utterance", disable=mine.rank > 0) as bar,
    ):
        for results in generated:
            lines.write("".join(json.dumps(each) + "\n" for each in results).encode())
            lines.flush()
            bar.update(len(results))
    print(f"{folder}: {sum(map(len, own))} utterance(s) generated, {len(done)} were there already")
    _merge(rows, folder, parts, began)


def read_manifest(path: Path, cfg: DictConfig, model: WaveNet) -> list[Row]:
    """Read a manifest, and check every row.

    Args:
        path: UTF-8 values separated by commas, with a header: id; and if wanted seconds, seed, mel (a .npy file) or
            mel_from (a recording), and any condition of the model, such as speaker. Paths are relative to its folder.
        cfg: The command's config, whose seconds, speaker and conditions are those of rows that give none. Row i of
            those without a seed has seed + i.
        model: The model.

    Raises:
        ValueError: If a row cannot be generated; names the line.
    """
    table = read_table(path, f"manifest={path}")
    _, names = next(table)
    header = [normalise(name) for name in names]
    _check_header(path, header, model)
    common = _common_conditions(cfg)
    rows, lines = [], {}
    for place, values in table:
        given = {name: value.strip() for name, value in zip(header, values, strict=True) if value.strip()}
        row = _row(place, path.parent, given, cfg.seconds, cfg.seed + len(rows), common, model)
        if row.id in lines:
            raise ValueError(f"{place}: the id '{row.id}' is on line {lines[row.id]}, too; give each its own")
        lines[row.id] = place.rpartition(" ")[2]
        rows.append(row)
    if not rows:
        raise ValueError(f"manifest={path}: has no rows; give one for each utterance")
    return rows


def _check_header(path: Path, header: list[str], model: WaveNet) -> None:
    known = [*_OWN, *model.conditioners]
    for name in header:
        if name not in known or header.count(name) > 1:
            raise ValueError(
                f"{path}, line 1: the column '{name}' is unknown, or there twice; the columns of this model are "
                f"{', '.join(dict.fromkeys(known))}"
            )
    if "id" not in header:
        raise ValueError(f"{path}, line 1: one column must be 'id', the name of each utterance's file")


def _common_conditions(cfg: DictConfig) -> dict[str, str]:
    """Return the conditions of rows that give none."""
    common = {**(plain(cfg)["conditions"] or {}), **({} if cfg.speaker is None else {"speaker": cfg.speaker})}
    return {key: str(value) for key, value in common.items()}


def _row(
    place: str,
    folder: Path,
    given: dict[str, str],
    common_seconds: float | None,
    own_seed: int,
    common: dict[str, str],
    model: WaveNet,
) -> Row:
    """Return a row with what it gives, or else what is common to rows, or its own."""
    name = given.get("id", "")
    if not name or file_name_for(name) != name or name.startswith("."):
        raise ValueError(f"{place}: the id is '{name}'; give letters, digits, '-', '_' and '.', as it names a file")
    seconds: Any = given.get("seconds", common_seconds)
    seed: Any = given.get("seed", own_seed)
    try:
        seconds, seed = None if seconds is None else float(seconds), int(seed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: seconds is {seconds}, and seed {seed}; give a number and a whole number") from error
    if not SEED.accepts(seed) or not (seconds is None or SECONDS.accepts(seconds)):
        raise ValueError(f"{place}: seconds must be {SECONDS}, and seed {SEED}")
    names = {each.name for each in model.features}
    files = {key: str(folder / given[key]) for key in ("mel_from", *names) if key in given}
    for file in files.values():
        if not Path(file).is_file():
            raise ValueError(f"{place}: {file}: no such file")
    conditions = dict(common)
    conditions |= {key: normalise(value) for key, value in given.items() if key not in (*_OWN, *names)}
    for key, conditioner in model.conditioners.items():
        if not isinstance(conditioner, CategoricalEmbedding):
            continue
        known = conditioner.categories
        if key not in conditions and conditioner.absent is None:
            raise ValueError(f"{place}: {key} is missing; the model has {', '.join(known)}")
        if key in conditions and conditions[key] not in known:
            raise ValueError(f"{place}: {key} is '{conditions[key]}'; the model has {', '.join(known)}")
    if seconds is None and not files:
        raise ValueError(f"{place}: seconds is missing; give it there, or seconds=2 for all")
    return Row(one_line(place), name, seconds, seed, files, conditions)


def _digest(cfg: DictConfig, model: WaveNet, rows: Sequence[Row]) -> str:
    """Return a digest of everything that the samples depend on."""
    settings = plain(cfg)
    digest = digest_of_model(model)
    digest.update(json.dumps([settings[name] for name in _OF_REQUEST]).encode())
    for row in rows:
        digest.update(repr((row.id, row.seconds, row.seed, sorted(row.features.items()), row.conditions)).encode())
    return digest.hexdigest()


def _check_request(folder: Path, path: Path, digest: str) -> None:
    # listed before the request is read: another process of this command may be writing both
    others = sorted(each.name for each in folder.iterdir() if each.name != _PARTS)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if others:
            raise ValueError(
                f"output is '{folder}', which holds other files, such as {others[0]}; choose a new folder"
            ) from None
        write_text(path, json.dumps({"digest": digest}))
        return
    if json.loads(text).get("digest") != digest:
        raise ValueError(
            f"output is '{folder}', which holds utterances of another model, manifest or setting; choose another folder"
        )


def _done(parts: Path) -> dict[str, dict[str, Any]]:
    """Return the results of utterances that are complete, by id."""
    return {each["id"]: each for path in sorted(parts.glob("*.jsonl")) for each in lines_of(path)}


def _batches(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """Divide rows into batches of similar lengths, which have the same kinds of conditions, the longest first."""
    kinds: dict[Any, list[Row]] = {}
    for row in sorted(rows, key=lambda each: (-(each.seconds or 0), each.id)):
        kinds.setdefault((frozenset(row.conditions), bool(row.features)), []).append(row)
    return [
        each
        for (_, from_files), members in kinds.items()
        for each in chunks(members, 1 if from_files else size)  # those of features have lengths of their own
    ]


def _by_engine(
    engine: str, model: WaveNet, folder: Path, options: dict[str, Any], batches: Sequence[Sequence[Row]]
) -> Iterable[list[dict[str, Any]]]:
    if engine == "processes":
        return (_generate_batch(model, folder, options, batch) for batch in batches)
    work = partial(_generate_batches, folder=folder, options=options)
    return run_with_model(model, work, chunks(batches, _AT_ONCE), "generating")


def _generate_batches(
    model: WaveNet, batches: Sequence[Sequence[Row]], folder: Path, options: dict[str, Any]
) -> list[dict[str, Any]]:
    return [result for batch in batches for result in _generate_batch(model, folder, options, batch)]


def _generate_batch(model: WaveNet, folder: Path, options: dict[str, Any], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Generate a batch, write its files, and return what the table says of them."""
    threads = torch.get_num_threads()
    if options["threads"] is None and len(rows) > 1:
        options = options | {"threads": threads}  # of the generation itself, as without a manifest
    torch.set_num_threads(1)  # the last bits of features and conditions, which PyTorch computes, depend on it
    try:
        waveforms, lengths = _generated(model, rows, options)
    except (ValueError, FloatingPointError) as error:
        raise type(error)(f"{rows[0].place}{' and others' * (len(rows) > 1)}: {error}") from error
    finally:
        torch.set_num_threads(threads)
    results = []
    for row, waveform, length in zip(rows, waveforms, lengths, strict=True):
        name = f"{row.id}.wav"
        write(folder / name, waveform[:length], model.sample_rate)
        levels = as_int16(waveform[:length].numpy()).astype(np.int64)  # sums of integers do not depend on their order
        results.append(
            {
                "id": row.id,
                "file": name,
                "seconds": length / model.sample_rate,
                "seed": row.seed,
                "peak": round(int(np.abs(levels).max()) / 32768, 6),
                "rms": round((int((levels * levels).sum()) / length) ** 0.5 / 32768, 6),
            }
        )
    return results


def _generated(model: WaveNet, rows: Sequence[Row], options: dict[str, Any]) -> tuple[torch.Tensor, list[int]]:
    conditions: dict[str, Any] = {name: [row.conditions[name] for row in rows] for name in rows[0].conditions}
    seconds: Any = [row.seconds for row in rows]
    if rows[0].features:  # alone in its batch
        features, seconds = _features(model, rows[0])
        conditions |= features
    audio = stream(model, seconds, len(rows), conditions=conditions, seed=[row.seed for row in rows], **options)
    lengths = audio.lengths  # those that are left
    assert lengths is not None
    check_room(lengths)
    return torch.cat(list(audio), dim=1), lengths


def _features(model: WaveNet, row: Row) -> tuple[dict[str, Any], float | None]:
    """Return the features of a row, and the seconds to generate: without its own, those of its recording."""
    recording, seconds, source = None, row.seconds, row.features.get("mel_from")
    if source is not None:
        recording = read(source, model.sample_rate)[0]
        seconds = len(recording) / model.sample_rate if seconds is None else seconds
    return features_from(model, {name: Path(file) for name, file in row.features.items()}, recording, source), seconds


def features_from(
    model: WaveNet, files: Mapping[str, Path], recording: torch.Tensor | None, source: str | None
) -> dict[str, torch.Tensor]:
    """Return a model's features: from their .npy files, or else from a recording.

    Args:
        model: The model.
        files: Files by the features' names.
        recording: (T,) at the model's rate; None if there is none.
        source: The recording's file.
    """
    found = {}
    for features in model.features:
        if features.name in files:
            found[features.name] = read_frames(files[features.name], features.num_channels)
        elif recording is not None:
            found[features.name] = features.extract(recording, None if source is None else Path(source))
    return found


def _merge(rows: Sequence[Row], folder: Path, parts: Path, began: float) -> None:
    """Write the table, if no other process has rows left; the bytes are the same whoever writes it."""
    done = _done(parts)
    missing = [row for row in rows if row.id not in done or not (folder / f"{row.id}.wav").is_file()]
    if missing:
        print(f"{len(missing)} utterance(s) are still to be generated, by other processes or by this command again")
        return
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_RESULTS)
    table.writerows([done[row.id][name] for name in _RESULTS] for row in rows)
    remove_partial_files(folder, before=began)  # of earlier commands: another process may be writing the table, too
    write_text(folder / RESULT, text.getvalue())
    print(f"written to {folder / RESULT}: {len(rows)} utterances")
