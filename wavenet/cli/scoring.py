"""Scoring of a corpus in parts, by the processes of torchrun or srun or by Ray, completed after a stop."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from wavenet.cli.launched import Share, check_engine, chunks, digest_of_model, lines_of, lines_to, run_with_model
from wavenet.data import Corpus, IndexedUtterances
from wavenet.evaluation import Score, batches_by_length, score_batches, score_each
from wavenet.model import WaveNet

_AT_ONCE = 16  # utterances of a task of Ray, at least
_SENT_AT_ONCE = 20_000  # scores, 1.5 MB at most
_FIELDS = ("bits", "samples", "utterances", "log2_levels")


class PartialScores:
    """Scores of utterances, kept in a folder as soon as each is known.

    Args:
        folder: The folder; it is made when the first score is kept.
        mine: This process's share.
        engine: "processes", or "ray".
        batch_size: Utterances that are scored together.

    Raises:
        ValueError: If Ray would be started by each of several processes.
    """

    def __init__(self, folder: Path, mine: Share, engine: str, batch_size: int) -> None:
        check_engine(engine, mine)
        self._folder, self._mine, self._engine, self._batch_size = folder, mine, engine, batch_size

    def score_each(
        self, model: WaveNet, corpus: Corpus, on_progress: Callable[[], object] = lambda: None
    ) -> list[Score]:
        """Score each utterance of a corpus, as `wavenet.evaluation.score_each` does; this process its share of them.

        The batches are the same for any number of processes, and so are the scores.

        Returns:
            In the first process, all scores in the corpus's order; in the others nothing.
        """
        mine = self._mine
        if not mine.launched and self._engine == "processes":
            return score_each(model, corpus, on_progress, self._batch_size)
        batches = batches_by_length(corpus, self._batch_size)
        digest = _digest(model, corpus, self._batch_size)
        kept = {
            index: values for part in self._folder.glob(f"{digest[:16]}-*.jsonl") for index, *values in lines_of(part)
        }
        own = batches[mine.rank :: mine.size]
        scores = {index: kept[index] for batch in own for index in batch.tolist() if index in kept}
        for _ in scores:
            on_progress()
        missing = [batch for batch in own if not scores.keys() >= set(batch.tolist())]
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{digest[:16]}-{mine.rank:05d}.jsonl"
        with lines_to(path) as lines:
            for batch, found in zip(missing, self._scored(model, corpus, missing), strict=True):
                for index, score in zip(batch.tolist(), found, strict=True):
                    if index not in scores:
                        on_progress()
                    scores[index] = [getattr(score, name) for name in _FIELDS]
                    lines.write(_line(index, scores[index]))
                lines.flush()
            for start in range(0, len(corpus.utterances), _SENT_AT_ONCE):
                part = [(index, values) for index, values in scores.items() if 0 <= index - start < _SENT_AT_ONCE]
                for others in mine.to_first(f"scores-{digest}-{start}", part)[1:]:
                    scores.update(others)
                    lines.writelines(_line(index, values) for index, values in others)
                    lines.flush()
        if mine.rank:  # the first process has kept them
            path.unlink(missing_ok=True)
            with suppress(OSError):
                self._folder.rmdir()
            return []
        return [Score(*scores[index]) for index in range(len(corpus.utterances))]

    def _scored(self, model: WaveNet, corpus: Corpus, batches: Sequence[np.ndarray]) -> Iterator[list[Score]]:
        if self._engine == "processes":
            yield from score_batches(model, corpus, batches)
            return
        together = max(1, _AT_ONCE // self._batch_size)
        jobs = [
            (corpus.select(np.concatenate(group)), [len(batch) for batch in group])
            for group in chunks(batches, together)
        ]
        for scores in run_with_model(model, _score, jobs, "scoring"):
            yield from scores

    def remove(self) -> None:
        """Remove what was kept: the report has it all."""
        for path in self._folder.glob("*.jsonl"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()


def _line(index: int, values: Sequence[float]) -> bytes:
    return json.dumps([index, *values]).encode() + b"\n"


def _score(model: WaveNet, job: tuple[Corpus, list[int]]) -> list[list[Score]]:
    corpus, sizes = job
    batches = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    return list(score_batches(model, corpus, batches))


def _digest(model: WaveNet, corpus: Corpus, batch_size: int) -> str:
    digest = digest_of_model(model)
    digest.update(str(batch_size).encode())
    if isinstance(corpus.utterances, IndexedUtterances):
        digest.update(corpus.utterances.digest.encode() + corpus.columns.hashes.tobytes())
    else:
        for utterance in corpus.utterances:
            digest.update(repr((utterance.id, utterance.num_samples, utterance.conditions)).encode())
    return digest.hexdigest()
