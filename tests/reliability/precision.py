"""The same training in float32 and in bfloat16: how far losses, gradients and what is learnt are apart.

    python -m tests.reliability.precision [--steps 200] [--segment 8000] [--accelerator cpu]

The same model learns from the same segments again and again, each time computed otherwise, and is compared with plain
PyTorch in float32. First, along the plain run, losses and gradients of the others at the very same weights: that is
rounding and nothing else. Then the runs by themselves: two of them part however little was changed, as those of any
chaotic system, so what must agree is how much they have learnt, as the mean of the last quarter's losses and as the
score on held-out utterances. Beside it stands how far runs part that are not computed otherwise: after the first
weights were changed by a millionth, and from other first weights.
"""

import argparse
import logging
import math
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback

from scripts.benchmarks.learning import RECIPES
from scripts.benchmarks.table import header, line_of
from tests.configured import composed
from tests.reliability.models import KINDS
from wavenet import WaveNet
from wavenet.cli.built import fill_categories
from wavenet.data import Corpus, prepare, split
from wavenet.evaluation import bits_per_sample
from wavenet.machine import machine_in_words
from wavenet.training import SegmentData, WaveNetTraining
from wavenet.training.cpu import CPUNetwork

EVERY = 4  # steps between those at which losses and gradients are compared at the same weights
HELD_OUT = 8  # utterances that are scored at the end
_COLUMNS = {
    "model": 16, "run": 23, "ms/step": 7, "same weights: loss": 18, "gradient": 8, "last losses": 11, "apart": 8,
    "held out": 8, "apart ": 8, "": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        precision: Lightning's name.
        native: Whether the native network may be taken.
        change: Of the first weights, relative: standard deviation.
        seed: Of the first weights.
        loss: Bits that a loss may differ at the same weights; None where it is not looked at.
        gradient: What the gradient may differ there, relative to its length.
    """

    precision: str = "32-true"
    native: bool = False
    change: float = 0.0
    seed: int = 0
    loss: float | None = None
    gradient: float | None = None

    @property
    def is_rounding(self) -> bool:
        """Whether it differs from the plain one only in how it is computed."""
        return self.loss is not None


PLAIN = "float32, PyTorch"
WAYS = {
    PLAIN: Way(),
    "float32, native": Way(native=True, loss=1e-5, gradient=1e-3),
    "bf16-mixed": Way("bf16-mixed", loss=0.01, gradient=0.1),
    "weights changed by 1e-6": Way(change=1e-6),
    "other first weights": Way(seed=1),
}


LEARNT = {"mu-law": 0.01, "logistic mixture": 0.1}  # bits that what is learnt may differ, where it is only rounding


@dataclass
class Run:
    """What a run learnt.

    Attributes:
        losses: Of each step, bits per sample.
        held_out: Bits per sample of held-out utterances at the end, scored in float32.
        seconds: It took.
        apart: Of ways that were followed along this run, the largest differences at the same weights: of the loss in
            bits, and of the gradient.
    """

    losses: list[float]
    held_out: float
    seconds: float
    apart: dict[str, tuple[float, float]] = field(default_factory=dict)

    def last(self) -> float:
        """The mean loss of the last quarter."""
        losses = self.losses[-max(1, len(self.losses) // 4) :]
        return sum(losses) / len(losses)


class _Losses(Callback):
    """Keeps every loss; takes the native network away where it is not wanted; follows other ways at some steps."""

    def __init__(self, native: bool, followed: dict[str, Way]) -> None:
        self._native, self._followed = native, followed
        self.bits: list[float] = []
        self.apart = dict.fromkeys(followed, (0.0, 0.0))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, WaveNetTraining)
        if not self._native:
            pl_module._log_prob = pl_module._plain_log_prob

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._followed or batch_idx % EVERY:
            return
        loss, gradient = loss_and_gradient(pl_module, batch, Way())
        for name, way in self._followed.items():
            other, its = loss_and_gradient(pl_module, batch, way)
            apart = abs(other - loss), float((its - gradient).norm() / gradient.norm())
            self.apart[name] = max(apart[0], self.apart[name][0]), max(apart[1], self.apart[name][1])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.bits.append(float(trainer.callback_metrics["train/bits_per_sample"]))


def loss_and_gradient(module: Any, batch: dict[str, Any], way: Way) -> tuple[float, torch.Tensor]:
    """Of a batch at the weights of this moment: bits per sample, and the gradient as one vector."""
    model, waveform, predicted = module.model, batch["waveform"], batch["predicted"]
    compute = CPUNetwork(model).log_prob if way.native else module._plain_log_prob
    with torch.autocast(waveform.device.type, torch.bfloat16, enabled=way.precision == "bf16-mixed"):
        condition = model.condition(batch["conditions"], waveform.shape[0], batch.get("dropout_uniform"))
        log_prob = compute(waveform, condition)
    bits = -(log_prob * predicted).sum() / predicted.sum() / math.log(2)
    gradients = torch.autograd.grad(bits, list(model.parameters()))
    return float(bits), torch.cat([gradient.flatten() for gradient in gradients])


class Experiment:
    """One model, its data, and the ways to train it.

    Args:
        steps: Of each run.
        segment: Samples predicted in each of a batch's two segments.
        cache: Folder for the prepared audio.
        overrides: Of the config, as on the command line.
        accelerator: Lightning's name of the device.
    """

    def __init__(self, steps: int, segment: int, cache: Path, overrides: list[str], accelerator: str = "cpu") -> None:
        self._cfg = composed(*RECIPES["AdamW"].settings, *overrides)
        self._steps, self._segment, self._cache, self._accelerator = steps, segment, cache, accelerator
        corpus = prepare(instantiate(self._cfg.dataset), self._cfg.model.sample_rate, cache, progress=False)
        fill_categories(self._cfg, corpus)
        self._train, self._held_out = split(corpus, self._cfg.validation_fraction)

    def run(self, way: Way, followed: dict[str, Way] | None = None) -> Run:
        """Train in that way; compare others with it along the run, which then takes longer."""
        torch.manual_seed(way.seed)
        model: WaveNet = instantiate(self._cfg.model, _convert_="all")
        with torch.no_grad():
            for parameter in model.parameters() if way.change else []:
                parameter.mul_(1 + way.change * torch.randn_like(parameter))
        losses = _Losses(way.native, followed or {})
        data = SegmentData(
            self._train, self._held_out, self._segment, model.receptive_field + model.margin, self._cfg.batch_size
        )
        trainer = L.Trainer(
            accelerator=self._accelerator,
            devices=1,
            precision=way.precision,  # pyright: ignore[reportArgumentType]
            max_steps=self._steps,
            max_epochs=-1,
            gradient_clip_val=self._cfg.trainer.gradient_clip_val,
            limit_val_batches=0,
            logger=False,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self._cache,
            callbacks=[losses],
        )
        begun = time.perf_counter()
        trainer.fit(WaveNetTraining(model, **self._cfg.optimizer), data)
        seconds = time.perf_counter() - begun
        return Run(losses.bits, _score(model.cpu().eval(), self._held_out), seconds, losses.apart)


def _score(model: WaveNet, corpus: Corpus) -> float:
    """Bits per sample of some held-out utterances, from all over the corpus."""
    some = replace(corpus, utterances=corpus.utterances[:: max(1, len(corpus.utterances) // HELD_OUT)])
    return bits_per_sample(model, some)["all"].bits_per_sample


def failures(way: Way, name: str, run: Run, plain: Run, learnt: float) -> list[str]:
    """What does not hold, in words."""
    found = []
    if not all(map(math.isfinite, run.losses)):
        found.append("a loss is no number")
    if way.is_rounding:
        loss, gradient = plain.apart[name]
        for what, apart, bound in (
            ("at the same weights the loss", loss, way.loss),
            ("at the same weights the gradient", gradient, way.gradient),
            ("the mean of the last losses", abs(run.last() - plain.last()), learnt),
            ("the held-out score", abs(run.held_out - plain.held_out), learnt),
        ):
            if not apart <= bound:
                found.append(f"{what} is {apart:.2g} apart, more than {bound}")
    return found


def quiet() -> None:
    """Keep to ourselves what Lightning says to those who program with it."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--segment", type=int, default=8000, help="samples of a segment; two are a batch")
    parser.add_argument("--accelerator", default="cpu", help="cpu or gpu")
    parser.add_argument("--models", nargs="+", choices=LEARNT, default=list(LEARNT))
    given = parser.parse_args()
    quiet()
    print(machine_in_words())
    print(header(_COLUMNS))
    failed = []
    followed = {name: way for name, way in WAYS.items() if way.is_rounding}
    with tempfile.TemporaryDirectory() as cache:
        for kind in given.models:
            experiment = Experiment(given.steps, given.segment, Path(cache), KINDS[kind], given.accelerator)
            plain = experiment.run(WAYS[PLAIN], followed)
            for name, way in WAYS.items():
                run = plain if name == PLAIN else experiment.run(way)
                found = failures(way, name, run, plain, LEARNT[kind])
                same = [f"{apart:.1e}" for apart in plain.apart.get(name, ())]
                cells = [
                    kind, name, "" if name == PLAIN else f"{1000 * run.seconds / given.steps:.0f}", *(same or ["", ""]),
                    f"{run.last():.4f}", f"{abs(run.last() - plain.last()):.5f}",
                    f"{run.held_out:.4f}", f"{abs(run.held_out - plain.held_out):.5f}", "FAILED" if found else "ok",
                ]  # fmt: skip
                print(line_of(cells, _COLUMNS), flush=True)
                failed += [f"{kind}, {name}: {failure}" for failure in found]
    bounds = [f"{name}: loss {way.loss}, gradient {way.gradient}" for name, way in followed.items()]
    print(f"bounds at the same weights: {'; '.join(bounds)}; of what is learnt: {LEARNT}")
    print("\n".join(failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
