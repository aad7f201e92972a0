"""Callbacks of a training run: weight averaging, a monitor of divergence, generated samples."""

import copy
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from wavenet.audio import log_mel_spectrogram, unique_file_names, write
from wavenet.audio.spectrogram_image import spectrogram_image
from wavenet.bounds import MinDelta, Patience, checked
from wavenet.data import Corpus
from wavenet.generation import generate
from wavenet.optimizers.adjacent import merged, place_adjacent
from wavenet.training.module import WaveNetTraining
from wavenet.training.wandb_log import WandbLog

_HINTS = "Try a smaller optimizer.lr or a longer optimizer.warmup_steps"


_AVERAGED_ALONE, _AVERAGED_EVERY = 100, 4  # first steps whose weights all count; then those after every so many steps


class ExponentialMovingAverage(WeightAveraging):
    """Keeps a moving average of the weights, which is validated, sampled from and exported in their place.

    The decay starts small and grows to its final value, min(decay, (1 + n) / (10 + n)) after n steps, so that the
    average of a short run does not contain its random initial weights. After 100 steps only the weights after every
    fourth step count, each as much as four: averaging takes a tenth of a small network's step.

    Args:
        decay: Final decay for each step, such as 0.999.

    Raises:
        ValueError: If decay is out of range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay is {decay}; it must be at least 0 and below 1, such as 0.999")

        def average(averaged: Any, current: Any, num_averaged: Tensor | int) -> None:
            n = int(num_averaged)
            every = 1 if n < _AVERAGED_ALONE else _AVERAGED_EVERY
            n = min(n, _AVERAGED_ALONE) + _AVERAGED_EVERY * max(0, n - _AVERAGED_ALONE)  # steps
            weight = 1 - min(decay, (1 + n) / (10 + n)) ** every
            runs = merged(averaged, current)
            torch._foreach_lerp_([run[0] for run in runs], [run[1] for run in runs], weight)  # pyright: ignore[reportPrivateImportUsage]

        super().__init__(multi_avg_fn=average)
        self._is_in_model = False  # rather than the weights that are trained

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Return whether the weights after the step with this index, from 0, are averaged."""
        del epoch_idx
        return step_idx is not None and (step_idx < _AVERAGED_ALONE or (step_idx + 1) % _AVERAGED_EVERY == 0)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Copy the model, with parameters as adjacent in memory as its own."""
        super().setup(trainer, pl_module, stage)
        self._is_in_model = False
        if stage == "fit" and self._average_model is not None:
            pairs = zip(pl_module.parameters(), self._average_model.module.parameters(), strict=True)
            place_adjacent(averaged for _, averaged in sorted(pairs, key=lambda pair: pair[0].data_ptr()))

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the model the averaged weights."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._is_in_model = True

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the model the weights that are trained."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._is_in_model = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the model the averaged weights, unless it has them; also called for a run that was stopped."""
        if self._average_model is not None and not self._is_in_model:
            super().on_train_end(trainer, pl_module)
            self._is_in_model = True


class DivergenceMonitor(Callback):
    """Warns if the loss stays at chance level, and stops a run whose loss returns there.

    Args:
        baseline_bits: Bits per sample of a uniform guess.
        patience: Consecutive steps at the baseline before it warns or stops the run.
    """

    def __init__(self, baseline_bits: float, patience: int = 300) -> None:
        self._baseline, self._patience = baseline_bits, patience
        self._steps = 0  # consecutive, with a loss at the baseline
        self._learnt = False
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """Return the state, for a checkpoint."""
        return {"steps": self._steps, "learnt": self._learnt, "said": self._warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._steps, self._learnt, self._warned = (state_dict[name] for name in ("steps", "learnt", "said"))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the loss.

        Raises:
            FloatingPointError: If the loss has returned to the baseline.
        """
        if float(trainer.callback_metrics["train/bits_per_sample"]) <= 0.97 * self._baseline:
            self._steps, self._learnt = 0, True
            return
        self._steps += 1
        if self._steps < self._patience:
            return
        baseline = f"at chance level ({self._baseline:g} bits per sample)"
        if self._learnt:
            raise FloatingPointError(
                f"by step {trainer.global_step} the loss has been back {baseline} for {self._steps} steps; "
                f"checkpoints/best.ckpt is kept. {_HINTS}, or trainer.gradient_clip_val=0.5"
            )
        if not self._warned:
            self._warned = True
            rank_zero_warn(
                f"after {self._steps} steps the loss is still {baseline}. {_HINTS}; listen to the prepared audio in "
                "the cache; a larger optimizer.lr if the curve is flat but falling"
            )


class EarlyStopping(Callback):
    """Ends a run when its held-out bits no longer fall.

    Args:
        patience: Validations in a row without an improvement, after which it ends.
        min_delta: Bits per sample by which the best validation must be beaten.

    Attributes:
        reason: Why the run has ended; None if it has not.

    Raises:
        ValueError: If a number is out of range.
    """

    @checked
    def __init__(self, patience: Patience = 3, min_delta: MinDelta = 0.0) -> None:
        self._patience, self._min_delta = patience, min_delta
        self._best, self._waited = math.inf, 0

    @property
    def reason(self) -> str | None:
        """See the class."""
        if self._waited < self._patience:
            return None
        return f"the best held-out {self._best:.4f} bits per sample were not beaten in {self._waited} validations"

    def state_dict(self) -> dict[str, Any]:
        """Return the best validation, and how many have followed it."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint; the run's patience may be another one than before."""
        self._best, self._waited = float(state_dict["best"]), int(state_dict["waited"])

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check that the run has validations.

        Raises:
            ValueError: If not.
        """
        if trainer.limit_val_batches == 0:
            raise ValueError("callbacks.early_stopping needs held-out utterances; raise validation_fraction")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do not go on with a run that has ended."""
        trainer.should_stop = trainer.should_stop or self.reason is not None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare the validation, whose bits are the same in all processes, with the best one."""
        bits = float(trainer.callback_metrics["validation/bits_per_sample"])
        better = bits < self._best - self._min_delta
        self._best, self._waited = (bits, 0) if better else (self._best, self._waited + 1)
        trainer.should_stop = trainer.should_stop or self.reason is not None


class AudioSamples(Callback):
    """Generates audio at validation, always with the same seeds, and shows it beside real recordings.

    For each of the first few speakers there is one sample, and a held-out recording of the same speaker. If the model
    is conditioned on features, they are those of that recording. Both go to the run's folder as WAVs, and to
    TensorBoard or Weights & Biases as audio and mel spectrograms.

    Args:
        folder: Folder for the WAVs, which get a subfolder for each step.
        validation: Held-out utterances.
        seconds: Length of each sample; 0 generates at the end of the run only.
        final_seconds: Length at the end of the run.
        max_num: Maximum number of speakers.
        seed: Seed of the generated audio.
    """

    def __init__(
        self,
        folder: Path,
        validation: Corpus,
        seconds: float = 1.0,
        final_seconds: float = 2.0,
        max_num: int = 4,
        seed: int = 0,
    ) -> None:
        self._folder, self._corpus = folder, validation
        self._seconds, self._final_seconds, self._seed = seconds, final_seconds, seed
        speakers = validation.columns.by("speaker")
        codes, places = np.unique(speakers.codes, return_index=True)  # the first utterance of each
        names = [speakers.value(code, "audio") for code in codes]
        self._chosen = dict(sorted(zip(names, places.tolist(), strict=True))[:max_num])
        self._files = unique_file_names(self._chosen)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Generate, on the first process, while the averaged weights are in place."""
        assert isinstance(pl_module, WaveNetTraining)
        final = trainer.should_stop
        seconds = self._final_seconds if final else self._seconds
        if trainer.sanity_checking or not trainer.is_global_zero or not self._chosen or seconds <= 0:
            return
        model, rate = pl_module.model, pl_module.model.sample_rate
        if pl_module.device.type != "cpu":
            model = copy.deepcopy(model).cpu()  # generating sample by sample is faster on a CPU
        lengths = [round(seconds * rate)] * len(self._chosen)
        if model.features:  # of a held-out recording, which is resynthesised
            lengths = [
                min(n, self._corpus.utterances[i].num_samples)
                for n, i in zip(lengths, self._chosen.values(), strict=True)
            ]
        recorded = [self._corpus.conditions(i, 0, max(lengths)) for i in self._chosen.values()]
        conditions: dict[str, Any] = {name: [each.get(name) for each in recorded] for name in model.conditioners}
        for features in model.features:
            conditions[features.name] = torch.stack(conditions[features.name])
        seconds_of = [n / rate for n in lengths]
        generated = generate(model, seconds_of, len(self._chosen), conditions=conditions, seed=self._seed)
        for waveform, (speaker, index) in zip(generated, self._chosen.items(), strict=True):
            real = self._corpus.read(index, 0, round(seconds * rate))
            if model.features:
                waveform = waveform[: len(real)]  # noqa: PLW2901
            self._show(trainer, speaker, {"generated": waveform, "real": real}, rate)

    def _show(self, trainer: L.Trainer, speaker: str, waveforms: dict[str, Tensor], rate: int) -> None:
        step = trainer.global_step
        name = self._files[speaker]
        pictures = []
        for kind, waveform in waveforms.items():
            write(self._folder / f"step-{step:07d}" / f"{name}-{kind}.wav", waveform, rate)
            pictures.append(spectrogram_image(log_mel_spectrogram(waveform, rate)))
        for logger in trainer.loggers:
            for (kind, waveform), picture in zip(waveforms.items(), pictures, strict=True):
                if isinstance(logger, TensorBoardLogger):
                    # TensorBoard shows only the first of two entries with the same name
                    logger.experiment.add_audio(f"{name}/{kind}/audio", waveform, step, sample_rate=rate)
                    logger.experiment.add_image(f"{name}/{kind}/spectrogram", picture, step)
                elif isinstance(logger, WandbLog):
                    logger.show(f"{name}/{kind}", waveform, rate, picture, step)
