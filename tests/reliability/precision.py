"""The same training in float32 and in bfloat16: how far the losses are apart.

    python -m tests.reliability.precision [--steps 200] [--segment 2000] [--accelerator cpu]

The same model learns from the same segments again and again, each time computed otherwise, and every loss is compared
with that of plain PyTorch in float32. In the first quarter of the steps losses differ by what rounding does to them.
After that two runs part however little was changed, as those of any chaotic system; what must agree then is how much
they have learnt: the mean of the last quarter's losses, and the score on held-out utterances. Beside it stands what is
not rounding: the same run after its first weights were changed by a millionth, and a run from other first weights.
"""

import argparse
import logging
import math
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback

from tests.configured import composed
from tests.reliability.models import KINDS
from wavenet import WaveNet
from wavenet.benchmark.table import header, line_of, machine_in_words
from wavenet.data import Corpus, prepare, split
from wavenet.evaluation.bits import Score, utterance_bits
from wavenet.training import SegmentData, WaveNetTraining

HELD_OUT = 8  # utterances that are scored at the end
_COLUMNS = {
    "model": 16, "run": 24, "ms/step": 8, "first losses apart": 18, "bound": 7, "last losses": 11, "apart": 8,
    "bound ": 7, "held out": 8, "apart ": 8, "bound  ": 7, "": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        precision: Lightning's name.
        native: Whether the native network may be taken.
        change: Of the first weights, relative: standard deviation.
        seed: Of the first weights.
        first: Bits that a loss of the first quarter may differ; None if that is only looked at.
        last: Bits that the mean loss of the last quarter may differ.
        held_out: Bits that the held-out score may differ.
    """

    precision: str = "32-true"
    native: bool = False
    change: float = 0.0
    seed: int = 0
    first: float | None = None
    last: float | None = None
    held_out: float | None = None


WAYS = {
    "float32, PyTorch": Way(),
    "float32, native": Way(native=True, first=0.001, last=0.01, held_out=0.01),
    "bf16-mixed": Way("bf16-mixed", first=0.02, last=0.02, held_out=0.02),
    "weights changed by 1e-6": Way(change=1e-6),
    "other first weights": Way(seed=1),
}


@dataclass
class Run:
    """What a run learnt.

    Attributes:
        losses: Of each step, bits per sample.
        held_out: Bits per sample of held-out utterances at the end, scored in float32.
        seconds: It took.
    """

    losses: list[float]
    held_out: float
    seconds: float

    def first(self, other: "Run") -> float:
        """How far a loss of the first quarter is from the other's, at most."""
        pairs = list(zip(self.losses, other.losses, strict=True))
        return max(abs(a - b) for a, b in pairs[: max(1, len(pairs) // 4)])

    def last(self) -> float:
        """The mean loss of the last quarter."""
        losses = self.losses[-max(1, len(self.losses) // 4) :]
        return sum(losses) / len(losses)

    def apart(self, other: "Run") -> dict[str, float]:
        """What is bounded, by the bound's name."""
        return {
            "first": self.first(other),
            "last": abs(self.last() - other.last()),
            "held_out": abs(self.held_out - other.held_out),
        }


class _Losses(Callback):
    """Keeps every loss; takes the native network away where it is not wanted."""

    def __init__(self, native: bool) -> None:
        self._native = native
        self.bits: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, WaveNetTraining)
        if not self._native:
            pl_module._log_prob = pl_module._plain_log_prob

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.bits.append(float(trainer.callback_metrics["train/bits_per_sample"]))


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
        self._cfg = composed(*overrides)
        self._steps, self._segment, self._cache, self._accelerator = steps, segment, cache, accelerator
        corpus = prepare(instantiate(self._cfg.dataset), self._cfg.model.sample_rate, cache, progress=False)
        for conditioner in (self._cfg.model.get("conditioners") or {}).values():
            if "categories" in conditioner:
                conditioner.categories = corpus.values(conditioner.name)
        self._train, self._held_out = split(corpus, self._cfg.validation_fraction)

    def run(self, way: Way) -> Run:
        """Train in that way."""
        torch.manual_seed(way.seed)
        model: WaveNet = instantiate(self._cfg.model, _convert_="all")
        with torch.no_grad():
            for parameter in model.parameters() if way.change else []:
                parameter.mul_(1 + way.change * torch.randn_like(parameter))
        losses = _Losses(way.native)
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
        return Run(losses.bits, _score(model.cpu().eval(), self._held_out), seconds)


def _score(model: WaveNet, corpus: Corpus) -> float:
    """Bits per sample of some held-out utterances, from all over the corpus."""
    score = Score()
    for index in range(0, len(corpus.utterances), max(1, len(corpus.utterances) // HELD_OUT)):
        length = corpus.utterances[index].num_samples
        score += utterance_bits(model, corpus.read(index, 0, length), corpus.conditions(index, 0, length))
    return score.bits_per_sample


def failures(way: Way, run: Run, plain: Run) -> list[str]:
    """What does not hold, in words."""
    found = []
    if not all(map(math.isfinite, run.losses)):
        found.append("a loss is no number")
    for name, apart in run.apart(plain).items():
        bound = getattr(way, name)
        if bound is not None and not apart <= bound:
            found.append(f"{name.replace('_', ' ')}: {apart:.4f} bits apart, more than {bound}")
    return found


def quiet() -> None:
    """Keep to ourselves what Lightning says to those who program with it."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--segment", type=int, default=2000, help="samples of a segment; two are a batch")
    parser.add_argument("--accelerator", default="cpu", help="cpu or gpu")
    parser.add_argument("--models", nargs="+", choices=KINDS, default=["mu-law", "logistic mixture"])
    given = parser.parse_args()
    quiet()
    print(machine_in_words())
    print(header(_COLUMNS))
    failed = []
    with tempfile.TemporaryDirectory() as cache:
        for kind in given.models:
            experiment = Experiment(given.steps, given.segment, Path(cache), KINDS[kind], given.accelerator)
            plain = None
            for name, way in WAYS.items():
                run = experiment.run(way)
                plain = plain or run
                found = failures(way, run, plain)
                apart = run.apart(plain)
                bounds = {name: "" if (bound := getattr(way, name)) is None else str(bound) for name in apart}
                cells = [
                    kind, name, f"{1000 * run.seconds / given.steps:.0f}", f"{apart['first']:.5f}", bounds["first"],
                    f"{run.last():.4f}", f"{apart['last']:.5f}", bounds["last"],
                    f"{run.held_out:.4f}", f"{apart['held_out']:.5f}", bounds["held_out"],
                    "FAILED" if found else "ok",
                ]  # fmt: skip
                print(line_of(cells, _COLUMNS), flush=True)
                failed += [f"{kind}, {name}: {failure}" for failure in found]
    print("\n".join(failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
