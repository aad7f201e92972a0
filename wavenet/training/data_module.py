"""Loaders for training segments and whole validation utterances."""

from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from wavenet.bounds import BatchSize, Seed, SegmentLength, Workers, check_batch, checked
from wavenet.data import Corpus, SegmentStream, TrainingSegments, WholeUtterances


class SegmentData(L.LightningDataModule):
    """Provides training and validation data; a resumed run continues with the segment that would have come next.

    A checkpoint keeps the number of segments that all processes have used, so the stream continues at the next one
    also with another number of processes, batch size or accumulation.

    Args:
        train: Training utterances.
        validation: Held-out utterances; may be empty.
        segment_length: Samples predicted in a segment.
        context_length: Input samples before a segment: the model's receptive field.
        batch_size: Segments in a batch of each process.
        num_workers: Loader processes; 0 reads in the training process.
        seed: Seed of the stream.
        margin: Input samples after a segment; see `wavenet.data.TrainingSegments`.
        frame: The input begins at a multiple of this many samples.
        overfit_batches: If positive, the first batches of each process, this many, are repeated without end.

    Raises:
        ValueError: If a number is out of range, or a batch would be too large.
    """

    @checked
    def __init__(
        self,
        train: Corpus,
        validation: Corpus,
        segment_length: SegmentLength,
        context_length: int,
        batch_size: BatchSize,
        num_workers: Workers = 0,
        seed: Seed = 0,
        margin: int = 0,
        frame: int = 1,
        overfit_batches: int = 0,
    ) -> None:
        super().__init__()
        check_batch(batch_size, segment_length)
        self._segments = TrainingSegments(train, segment_length, context_length, seed, margin, frame)
        self._validation = validation
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._overfit_batches = overfit_batches
        self._used: int | None = None  # segments, by all processes

    def describe(self, segment: int) -> str:
        """Describe where a training segment is: recording and seconds."""
        return self._segments.describe(segment)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of segments that all processes have used."""
        return {} if self._used is None else {"segments": self._used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of segments that have been used."""
        self._used = state_dict["segments"]

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Count the segments of a training batch; every process takes one at the same time."""
        if self._trainer().training and self._used is not None:
            self._used += self._batch_size * self._trainer().world_size
        return batch

    def train_dataloader(self) -> DataLoader:
        """Return an endless stream of batches that starts at the first segment not yet used.

        A checkpoint without that number, from an earlier version, is continued as if it had been trained with the
        present batch size, accumulation and number of processes, unless `load_state_dict` was called.
        """
        trainer = self._trainer()
        if self._used is None:
            batches = trainer.global_step * trainer.accumulate_grad_batches
            self._used = batches * self._batch_size * trainer.world_size
        place = (trainer.global_rank, trainer.world_size, self._used)
        stream = SegmentStream(self._batch_size, *place, num_batches=self._overfit_batches)
        self._segments.stride = self._batch_size * trainer.world_size * max(1, self._num_workers)
        return self._loader(self._segments, batch_sampler=stream)

    def val_dataloader(self) -> DataLoader:
        """Return a loader of this process's share of the held-out utterances, one at a time.

        Raises:
            ValueError: If there are fewer utterances than processes.
        """
        trainer = self._trainer()
        if len(self._validation.utterances) < trainer.world_size:
            raise ValueError(
                f"{len(self._validation.utterances)} held-out utterances cannot be shared by {trainer.world_size} "
                "processes; raise validation_fraction or use fewer devices"
            )
        utterances = WholeUtterances(self._validation, trainer.global_rank, trainer.world_size)
        return self._loader(utterances, batch_size=None)

    def _loader(self, dataset: Any, **options: Any) -> DataLoader:
        workers = self._num_workers
        if workers and self._validation.is_remote:  # a store's connections do not survive a fork
            options["multiprocessing_context"] = "spawn"
        return DataLoader(
            dataset, num_workers=workers, persistent_workers=workers > 0, pin_memory=self._on_gpu(), **options
        )

    def _on_gpu(self) -> bool:
        return self._trainer().strategy.root_device.type == "cuda"

    def _trainer(self) -> L.Trainer:
        assert self.trainer is not None
        return self.trainer
