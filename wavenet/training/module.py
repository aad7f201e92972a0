"""The LightningModule: loss, optimizer and schedule around a WaveNet."""

import copy
import functools
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from wavenet.bounds import Betas, Compile, Flag, LearningRate, ScheduleName, Share, Steps, WeightDecay, checked
from wavenet.checkpoint import FORMAT_VERSION, check_metadata, check_reconstructs, describe, number_at
from wavenet.evaluation import Score, utterance_bits
from wavenet.model import WaveNet
from wavenet.native import UnknownNetworkError
from wavenet.nn import Condition, ResidualStack
from wavenet.optimizers.adjacent import merged
from wavenet.training.cpu import CPUNetwork
from wavenet.training.metadata import with_base
from wavenet.training.optimizer import OptimizerFactory, apply_settings, make_optimizer, place_parameters_adjacent
from wavenet.training.schedules import lr_factor

SPIKES_FROM = 200  # steps; before, a high loss is usual
SPIKE_BITS = 1.0  # bits per sample
MAX_SKIPPED = 3  # steps
_VALIDATED = ("bits_per_sample", "step", "samples")


class WaveNetTraining(L.LightningModule):
    """Trains a WaveNet by maximum likelihood with AdamW, or another optimizer.

    A step is skipped, leaving weights and moments unchanged, if its loss or gradient is not finite, or, from step 200
    (SPIKES_FROM) on, if its loss is more than a bit (SPIKE_BITS) above that of a uniform guess. Its segments are named
    in a warning. Three skipped steps (MAX_SKIPPED) in a row end the run.

    Args:
        model: The model.
        lr: Peak learning rate.
        betas: AdamW's decay rates of the moments.
        weight_decay: AdamW's weight decay, on matrices only.
        warmup_steps: Steps until the peak.
        final_lr_fraction: Share of the peak that is left at the last step.
        schedule: "cosine", "wsd" or "constant"; see `wavenet.training.schedules.lr_factor`.
        decay_fraction: Share of the steps in which "wsd" falls.
        compile: Whether to compile the network (`torch.compile`), or a mode of it, such as "max-autotune".
        gradient_checkpointing: Whether to trade time for memory; see `wavenet.nn.ResidualStack`.
        optimizer: Creates another optimizer from groups of parameters, with a peak learning rate and its other
            settings, such as `functools.partial(torch.optim.SGD, lr=0.01)`; see `make_optimizer`. None is AdamW
            with lr, betas and weight_decay.

    Raises:
        ValueError: If a number is out of range.
    """

    @checked
    def __init__(
        self,
        model: WaveNet,
        lr: LearningRate | None = None,
        betas: Betas = (0.9, 0.99),
        weight_decay: WeightDecay = 0.01,
        warmup_steps: Steps = 100,
        final_lr_fraction: Share = 0.05,
        schedule: ScheduleName = "cosine",
        decay_fraction: Share = 0.2,
        compile: Compile = False,
        gradient_checkpointing: Flag = False,
        optimizer: OptimizerFactory | None = None,
    ) -> None:
        super().__init__()
        if (lr is None) == (optimizer is None):
            raise ValueError("WaveNetTraining: give either lr, for AdamW, or your own optimizer with its lr")
        check_metadata(model.metadata)  # metadata that cannot be read back would make the checkpoints unreadable
        self.model = model
        place_parameters_adjacent(model)
        for module in model.modules():
            if isinstance(module, ResidualStack):
                module.gradient_checkpointing = gradient_checkpointing
        self._compile = compile
        self._log_prob: Callable[[Tensor, Condition | None], Tensor] = self._plain_log_prob
        self._native: CPUNetwork | None = None
        self._lr, self._betas, self._weight_decay = lr, (float(betas[0]), float(betas[1])), weight_decay
        self._optimizer = optimizer
        self._schedule: dict[str, Any] = {
            "schedule": schedule,
            "warmup_steps": warmup_steps,
            "final_fraction": final_lr_fraction,
            "decay_fraction": decay_fraction,
        }
        self._score = Score()
        self._seen: list[tuple[Tensor, Tensor]] = []  # in this step: segments' numbers, and their bits per sample
        self._skipped = 0  # steps in a row
        self.gradient_norm: Tensor | None = None  # of the last step, before clipping
        self._validated: dict[str, Any] | None = None  # result of the last validation

    def setup(self, stage: str) -> None:
        """Check before the first step that the model could be loaded again; see `check_reconstructs`.

        Raises:
            ValueError: Names what differs.
        """
        if stage == "fit" and self.trainer.checkpoint_callbacks:
            check_reconstructs(self.model)

    def on_fit_start(self) -> None:
        """Choose the fastest implementation of the network for training; all have the same outputs and gradients.

        Only the training path is compiled: in validation and generation every shape is new.
        """
        if self._compile:
            mode = self._compile if isinstance(self._compile, str) else None
            self._log_prob = torch.compile(self._plain_log_prob, mode=mode)
        elif self.device.type == "cpu" and self.trainer.precision == "32-true":
            self._use_native()

    def _use_native(self) -> None:
        """Train with native code, if it computes exactly this network."""
        reason = CPUNetwork.unsupported_reason(self.model)
        if reason is None:
            self._native = CPUNetwork(self.model)
            try:
                self._native.verify()
            except UnknownNetworkError as error:
                reason = str(error)
        if reason is None:
            self._log_prob = self._native_log_prob
        else:
            self._use_pytorch(reason)

    def _use_pytorch(self, reason: str) -> None:
        self._native, self._log_prob = None, self._plain_log_prob
        rank_zero_warn(f"training takes several times as long as it could: {reason}")

    def _native_log_prob(self, waveform: Tensor, condition: Condition | None) -> Tensor:
        assert self._native is not None
        try:
            self._native.check()
        except UnknownNetworkError as error:  # the model has been changed since
            self._use_pytorch(str(error))
            return self._plain_log_prob(waveform, condition)
        return self._native.log_prob(waveform, condition)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the random numbers of the network, such as dropout, so that a resumed run draws the same ones."""
        trainer = self.trainer
        number = self.global_step * trainer.accumulate_grad_batches + batch_idx % trainer.accumulate_grad_batches
        seed = number * trainer.world_size + trainer.global_rank
        if self.device.type == "cpu":  # torch.manual_seed also looks for devices of all other kinds, which takes longer
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _plain_log_prob(self, waveform: Tensor, condition: Condition | None) -> Tensor:
        return self.model.log_prob(waveform, condition)[0]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Compute the mean negative log-likelihood of the predicted samples in nats; log it in bits.

        Args:
            batch: "waveform" (B, T), "predicted" (B, T) bool, "conditions" by name, and optionally "dropout_uniform"
                (B,), a random number for each segment, which decides if conditions are dropped, and "segment"
                (B,), the segments' numbers.
            batch_idx: Not used.

        Returns:
            The loss; NaN if the step is to be skipped.
        """
        waveform, predicted = batch["waveform"], batch["predicted"]
        condition = self.model.condition(batch["conditions"], waveform.shape[0], batch.get("dropout_uniform"))
        log_prob = self._log_prob(waveform, condition) * predicted
        loss = -log_prob.sum() / predicted.sum()
        bits = loss.detach() / math.log(2)
        self.log("train/bits_per_sample", bits, logger=False)
        if "segment" in batch:
            self._seen.append((batch["segment"], -log_prob.detach().sum(dim=1) / predicted.sum(dim=1) / math.log(2)))
        # In every process the gradient becomes NaN, and all skip the step together.
        return loss * torch.where(bits < self._highest, 1.0, math.nan)

    @property
    def _highest(self) -> float:
        """Bits per sample above which a step is skipped."""
        return self.model.distribution.baseline_bits + SPIKE_BITS if self.global_step >= SPIKES_FROM else math.inf

    def on_validation_epoch_start(self) -> None:
        """Reset the score."""
        self._score = Score()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Score one whole utterance.

        Args:
            batch: "waveform" (T,), "conditions" by name.
            batch_idx: Not used.
        """
        self._score += utterance_bits(self.model, batch["waveform"], batch["conditions"])

    def on_validation_epoch_end(self) -> None:
        """Log bits per sample over all processes' utterances."""
        sums = torch.tensor([self._score.bits, self._score.samples], dtype=torch.float32, device=self.device)
        bits, samples = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        self.log("validation/bits_per_sample", bits / samples, sync_dist=True, logger=False)
        if math.isfinite(bits / samples):
            numbers = (bits / samples, self.global_step, round(samples))
            self._validated = dict(zip(_VALIDATED, numbers, strict=True))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer, with no weight decay on biases and embeddings, and its schedule."""
        optimizer = make_optimizer(self._maker(), self.model)

        def factor(step: int) -> float:  # a function, of which LambdaLR saves no state
            return self._lr_factor(step)

        scheduler = LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "learning_rate"},
        }

    def _maker(self) -> OptimizerFactory:
        if self._optimizer is not None:
            return self._optimizer
        settings: dict[str, Any] = {"lr": self._lr, "betas": self._betas, "weight_decay": self._weight_decay}
        return functools.partial(torch.optim.AdamW, **settings, fused=not self._scales_gradients)

    def _lr_factor(self, step: int) -> float:
        return lr_factor(step, total_steps=self.trainer.max_steps, **self._schedule)

    def on_train_start(self) -> None:
        """Let the run's settings replace those of the optimizer's state in the checkpoint that it resumed from."""
        if self.trainer.ckpt_path is None:
            return
        optimizer, scheduler = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, Optimizer) and isinstance(scheduler, LambdaLR)
        apply_settings(self._maker(), self.model, optimizer, scheduler, self._lr_factor(scheduler.last_epoch))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take a step, with the threads divided between native code and PyTorch."""
        with nullcontext() if self._native is None else self._native.owning_threads():
            super().optimizer_step(*args, **kwargs)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, or skip the step.

        Lightning's own clipping rejects a fused optimizer in mixed precision, though only float16 scales gradients.

        Raises:
            FloatingPointError: If too many steps in a row were skipped.
        """
        seen, self._seen = self._seen, []
        if self._scales_gradients:  # the scaler skips steps that are not finite, to find its scale
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        learnt = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [gradient for (gradient,) in merged([p.grad for p in learnt if p.grad is not None])]
        norm = self.gradient_norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(norm.isfinite()):
            self._skip(optimizer, seen)
            return
        self._skipped = 0
        if gradient_clip_val and gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(learnt, gradient_clip_val)
        elif gradient_clip_val:
            factor = (gradient_clip_val / (norm + 1e-6)).clamp(max=1)
            torch._foreach_mul_(gradients, factor)  # pyright: ignore[reportPrivateImportUsage]

    def _skip(self, optimizer: Optimizer, seen: list[tuple[Tensor, Tensor]]) -> None:
        """Skip the step: an optimizer does not change parameters without gradients."""
        optimizer.zero_grad(set_to_none=True)
        self._skipped += 1
        step, highest = self.global_step + 1, self._highest
        every = [pair for numbers, bits in seen for pair in zip(numbers.tolist(), bits.tolist(), strict=True)]
        bad = [(number, bits) for number, bits in every if not bits < highest]
        named = "; ".join(f"{self._place(number)}: {bits:.4g} bits per sample" for number, bits in bad or every)
        if self._skipped >= MAX_SKIPPED:
            raise FloatingPointError(
                f"steps {step - self._skipped + 1} to {step} have no usable loss or gradient, last {named}; earlier "
                "checkpoints are kept. Try a smaller optimizer.lr, a longer optimizer.warmup_steps, or "
                "trainer.precision=32-true if it is lower; then continue with resume=RUN"
            )
        if bad or self.global_rank == 0:  # else the loss of this process was good
            warnings.warn(f"step {step} is skipped, as its loss or gradient is not usable: {named}", stacklevel=1)

    def _place(self, segment: int) -> str:
        data = getattr(self.trainer, "datamodule", None)
        return data.describe(segment) if data is not None else f"segment {segment}"

    @property
    def _scales_gradients(self) -> bool:
        return self.trainer.precision == "16-mixed"

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's description to the checkpoint, so that the file can be loaded by itself.

        Raises:
            ValueError: If the model was changed and differs from its description; see `check_reconstructs`.
        """
        check_reconstructs(self.model)
        described = {"metadata": self.current_metadata(), "model": describe(self.model)}
        checkpoint["wavenet"] = {"format_version": FORMAT_VERSION, **described}

    def current_metadata(self) -> dict[str, Any]:
        """Return the model's metadata with the steps so far and the last validation."""
        metadata = copy.deepcopy(self.model.metadata) or {}
        metadata["training"] = {**metadata.get("training", {}), "steps": self.global_step}
        if self._validated is not None:
            metadata["validation"] = self._validated
        return metadata

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the last validation's result, and where the run's first weights were from."""
        if self.model.metadata is not None:
            self.model.metadata = with_base(self.model.metadata, checkpoint["wavenet"].get("metadata"))
        kept = {name: number_at(checkpoint, "wavenet", "metadata", "validation", name) for name in _VALIDATED}
        self._validated = kept if None not in kept.values() else None
