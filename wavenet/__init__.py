"""Train WaveNet on raw audio and generate audio with it.

A few functions are enough to use a model trained with `wavenet train`:

```python
import soundfile
import wavenet

model = wavenet.load("runs/NAME")  # a run's folder, a checkpoint or a saved model; "babble" comes with the package
audio = wavenet.generate(model, seconds=2, speaker="june", seed=1)  # (1, 16000)
soundfile.write("june.wav", audio[0], model.sample_rate)

for chunk in wavenet.stream(model, seconds=10, speaker="june", chunk=4000):
    ...  # (1, 4000): can be played while the next chunk is generated

wavenet.save(model, "june")  # config.json, model.safetensors and a model card
```

A waveform is a float tensor (B, T) in [-1, 1] everywhere. A custom `WaveNet` is built from an output
distribution and plain numbers, and its loss is the negative log-probability of the next sample:

```python
from wavenet.distributions import MuLawCategorical

model = wavenet.WaveNet(MuLawCategorical(), sample_rate=16000, num_cycles=2)
loss = -model.log_prob(waveform)[0].mean()  # in nats; divided by ln(2), bits per sample
```

It is trained, or a trained one is adapted, with a call that does what `wavenet train` does:

```python
model = wavenet.WaveNet(MuLawCategorical(), sample_rate=8000, residual_channels=32, dilation_cycle=8, num_cycles=2)
run = wavenet.train(model, "recordings/", steps=3000)  # a dataset, or a folder of recordings
audio = wavenet.generate(model, seconds=2)
```

- `wavenet.tutorial`, which is `data/tutorial/from-conv1d-to-wavenet.md`, starts from a single `torch.nn.Conv1d` and
  ends with a model that has learnt a tone. `wavenet.architecture` shows how the parts work together.
- `wavenet.generation` generates audio, `wavenet.checkpoint` reads and writes models, `wavenet.model` is the network.
- `wavenet.distributions` has the output distributions, `wavenet.conditioning` the conditioners, and `wavenet.nn` the
  causal layers.
- `wavenet.audio` has waveforms and their features, `wavenet.data` the datasets, `wavenet.training` the training with
  Lightning, `wavenet.evaluation` the metrics, and `wavenet.report` the page that shows them.
- `wavenet.native` has the parts shared by native code on a CPU, and checks which networks it supports;
  `wavenet.bounds` has the range of every number.
- `wavenet.exchange` exports models to other programs and imports models from them; `wavenet.demo` is a web page to
  try out a model.

User errors raise a ValueError (or a subclass, such as `wavenet.checkpoint.CheckpointError`) with a message of one
line, which names the value, the place and the fix.

The command line does the same without Python: `wavenet train`, `wavenet generate`, `wavenet evaluate`, `wavenet demo`,
`wavenet push`, `wavenet export onnx`, `wavenet import`. Their settings are in `configs/`, each with a comment, and
`wavenet COMMAND --help` lists them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wavenet.version import __version__ as __version__

if TYPE_CHECKING:
    from wavenet.checkpoint import load, push_to_hub, save
    from wavenet.cli.from_python import TrainedRun, train
    from wavenet.generation import generate, stream
    from wavenet.model import WaveNet

__all__ = ["load", "generate", "stream", "save", "push_to_hub", "train", "TrainedRun", "WaveNet"]  # noqa: RUF022 (in the order of use)

_HOME = {
    "TrainedRun": "wavenet.cli.from_python",
    "WaveNet": "wavenet.model",
    "generate": "wavenet.generation",
    "load": "wavenet.checkpoint",
    "push_to_hub": "wavenet.checkpoint",
    "save": "wavenet.checkpoint",
    "stream": "wavenet.generation",
    "train": "wavenet.cli.from_python",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562), so that `import wavenet` is instant."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'wavenet' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names, too, before they are imported."""
    return sorted(globals().keys() | set(__all__))
