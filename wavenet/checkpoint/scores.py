"""What `wavenet evaluate` found out about a run's checkpoint, from the file that it left there."""

from pathlib import Path
from typing import Any

from wavenet.checkpoint.metadata import entry_at, number_at, text_at
from wavenet.checkpoint.plain_data import read_json

EVALUATION = "evaluation.json"
_LONGEST = 100  # letters of one
_MOST = 200  # names


def scores_of(checkpoint: Path) -> dict[str, Any] | None:
    """The scores of a training checkpoint, for `WaveNet.metadata`.

    Args:
        checkpoint: In a run's folder, in which evaluation.json may lie.

    Returns:
        "dataset", and "scores": for each name, the speakers and all together, "bits_per_sample", "as_16_bit",
        "samples" and "utterances". None if there are none, or of another or an earlier checkpoint or rounded weights;
        whatever is wrong with the file is no reason not to load the model.
    """
    path = checkpoint.parent.parent / EVALUATION
    try:
        if path.stat().st_mtime < checkpoint.stat().st_mtime:
            return None
        found = read_json(path)
    except (OSError, ValueError):
        return None
    scores, dataset = entry_at(found, "bits_per_sample"), text_at(found, "dataset")
    of_this = (
        Path(text_at(found, "checkpoint") or "").name == checkpoint.name and text_at(found, "weights") == "float32"
    )
    if not of_this or dataset is None or not isinstance(scores, dict):
        return None
    names = {"value": "bits_per_sample", "as_16_bit": "as_16_bit", "samples": "samples", "utterances": "utterances"}
    numbers = {
        speaker: {ours: number_at(score, theirs) for theirs, ours in names.items()}
        for speaker, score in list(scores.items())[-_MOST:]  # all together come last
        if speaker.isprintable() and len(speaker) <= _LONGEST
    }
    whole = {speaker: score for speaker, score in numbers.items() if None not in score.values()}
    return {"dataset": dataset, "scores": whole} if whole else None
