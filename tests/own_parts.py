"""A folder of somebody's own parts: a module with a class of each kind, and configs that name them."""

from pathlib import Path

MODULE = '''
"""Somebody's own parts."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from wavenet import WaveNet
from wavenet.conditioning import CategoricalEmbedding
from wavenet.data import Scan, Utterance
from wavenet.distributions import MuLawCategorical
from wavenet.nn import ContextStack, GatedResidualLayer, ResidualStack

(Path(__file__).parent / "imported").touch()  # so that a test can see it


class Scaled(WaveNet):
    """The parameters grow by a gain, which makes an untrained network very sure of itself."""

    def __init__(self, gain: float, **kwargs):
        super().__init__(**kwargs)
        self.gain = gain
        self.register_buffer("table", torch.full((1, 1, 1), gain), persistent=False)  # is not among the weights

    def forward(self, waveform, condition=None, state=None):
        parameters, state = super().forward(waveform, condition, state)
        return parameters * self.table, state


class Fewer(MuLawCategorical):
    """Mu-law with a temperature of its own."""

    def __init__(self, sharpness: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.sharpness = sharpness

    def log_prob(self, parameters, waveform):
        return super().log_prob(parameters * self.sharpness, waveform)


class Loud(CategoricalEmbedding):
    """A categorical embedding with a setting of its own."""

    def __init__(self, loudness: float, **kwargs):
        super().__init__(**kwargs)
        self.loudness = loudness


class Layer(GatedResidualLayer):
    """A layer whose gates say more, or less."""

    def __init__(self, slope: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        self.slope = slope

    def forward(self, x, condition=None, state=None):
        x, gated, state = super().forward(x, condition, state)
        return x, self.slope * gated, state


class Stack(ResidualStack):
    """The mean of the skips in the place of their sum."""

    def forward(self, x, condition=None, state=None):
        skips, states = super().forward(x, condition, state)
        return skips / self.num_layers, states


class Context(ContextStack):
    """Says half as much."""

    def run(self, waveform, state, phase):
        condition, state = super().run(waveform, state, phase)
        return replace(condition, values=condition.values / 2), state


class SignSGD(torch.optim.Optimizer):
    """Steps of one length, along the sign of a running mean."""

    def __init__(self, params, lr: float, momentum: float = 0.9):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}")
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                mean = state.setdefault("mean", torch.zeros_like(p))
                state["count"] = state.get("count", 0) + 1
                mean.lerp_(p.grad, 1 - group["momentum"])
                p.sub_(mean.sign(), alpha=group["lr"])
        return loss


class Mine:
    """The recordings in a folder."""

    name = "mine"

    def __init__(self, root: str, ending: str = ".flac"):
        self.root, self.ending = Path(root), ending

    def scan(self) -> Scan:
        files = sorted(self.root.rglob(f"*{self.ending}"))
        return Scan([Utterance(f.stem, f, {"speaker": f.parent.name}) for f in files])


class Nameless:
    """No dataset: it has no name."""

    def __init__(self, root: str):
        pass

    def scan(self):
        return Scan([])


def make_model(**kwargs):
    """No class."""
    (Path(__file__).parent / "called").touch()
'''

SIZES = "residual_channels: 8\ngate_channels: 8\nskip_channels: 8\ncondition_channels: 4\nkernel_size: 2\n"
SIZES += "dilation_cycle: 3\nnum_cycles: 1\nsample_rate: 8000\n"
CONFIGS = {
    "model/scaled.yaml": f"""
_target_: mymodel.Scaled
gain: 20.0
{SIZES}
make_layer:
  _target_: mymodel.Layer
  _partial_: true
  slope: 2.0
distribution:
  _target_: mymodel.Fewer
  num_classes: 256
  embedding_channels: 16
  sharpness: 1.0
conditioners:
  speaker:
    _target_: mymodel.Loud
    name: speaker
    categories: null
    condition_channels: 4
    loudness: 2.0
""",
    "dataset/mine.yaml": "_target_: mymodel.Mine\nroot: speech\n",
    "optimizer/mine.yaml": "_target_: mymodel.SignSGD\nlr: 1.0e-4\nmomentum: 0.8\nwarmup_steps: 1\n",
    "optimizer/sgd.yaml": "_target_: torch.optim.SGD\nlr: 0.01\nmomentum: 0.9\nwarmup_steps: 1\n",
}


def write_own_parts(folder: Path, speech: Path) -> Path:
    """Put the module, the configs and recordings into a folder."""
    (folder / "mymodel.py").write_text(MODULE)
    for name, text in CONFIGS.items():
        path = folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "speech").symlink_to(speech)
    return folder
