"""What `wavenet evaluate` found out about a run's checkpoint, from the file that it left there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavenet.checkpoint.metadata import entry_at, number_at, printable, text_at
from wavenet.checkpoint.plain_data import read_json

EVALUATION = "evaluation.json"
_LONGEST = 100  # letters of one
_MOST = 200  # names


def scores_of(checkpoint: Path) -> dict[str, Any] | None:
    """The scores of a training checkpoint, for `WaveNet.metadata`.

    Args:
        checkpoint: In a run's folder, in which evaluation.json may lie.

    Returns:
        What `summary_of` returns. None if there are no scores, or of another or an earlier checkpoint or rounded
        weights; whatever is wrong with the file is no reason not to load the model.
    """
    path = checkpoint.parent.parent / EVALUATION
    try:
        if path.stat().st_mtime < checkpoint.stat().st_mtime:
            return None
        found = read_json(path)
    except (OSError, ValueError):
        return None
    of_this = Path(text_at(found, "checkpoint") or "").name == checkpoint.name
    return summary_of(found) if of_this and text_at(found, "weights") == "float32" else None


def summary_of(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The scores in a report on one model, for `WaveNet.metadata`.

    Args:
        found: The report, as `wavenet evaluate` writes it.

    Returns:
        "dataset"; "scores": for each name, the speakers and all together, "bits_per_sample", "as_16_bit", "samples" and
        "utterances"; "machine" in words, with the date, if it is stated; and for vocoders "resynthesis": "utterances",
        "seconds", "temperature" if it is stated, and "measures", their means by name, as far as they are numbers. None
        if there are no scores.
    """
    scores, dataset = entry_at(found, "bits_per_sample"), text_at(found, "dataset")
    if dataset is None or not isinstance(scores, dict):
        return None
    names = {"value": "bits_per_sample", "as_16_bit": "as_16_bit", "samples": "samples", "utterances": "utterances"}
    numbers = {
        speaker: {ours: number_at(score, theirs) for theirs, ours in names.items()}
        for speaker, score in list(scores.items())[-_MOST:]  # all together come last
        if speaker.isprintable() and len(speaker) <= _LONGEST
    }
    whole = {speaker: score for speaker, score in numbers.items() if None not in score.values()}
    if not whole:
        return None
    machine, resynthesis = text_at(found, "machine"), _resynthesis(found)
    return (
        {"dataset": dataset, "scores": whole}
        | ({"machine": printable(machine)} if machine is not None else {})
        | ({"resynthesis": resynthesis} if resynthesis is not None else {})
    )


def _resynthesis(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The means of the measures of resynthesis over all speakers; None if there are none."""
    means = entry_at(found, "resynthesis", "by_speaker", "all")
    names = [name for name in means if name.isidentifier() and len(name) <= _LONGEST] if isinstance(means, dict) else []
    measures = {name: number_at(means, name, "value") for name in names[:_MOST]}
    numbers = {name: number_at(found, "resynthesis", name) for name in ("utterances", "seconds")}
    if not measures or None in numbers.values():
        return None
    temperature = number_at(found, "resynthesis", "temperature")
    numbers |= {} if temperature is None else {"temperature": temperature}
    return numbers | {"measures": {name: value for name, value in measures.items() if value is not None}}
