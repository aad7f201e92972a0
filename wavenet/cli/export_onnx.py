"""`wavenet export onnx`: a model for onnxruntime, with an example program that generates audio."""

import json
import shlex
from pathlib import Path

from omegaconf import DictConfig

from wavenet import load
from wavenet.cli.command import command, plain
from wavenet.exchange.onnx import EXAMPLE, export
from wavenet.names import one_line


@command("export_onnx")
def main(cfg: DictConfig) -> None:
    """Export the model, and list the files written."""
    folder = export(load(cfg.checkpoint, trust=plain(cfg.trust)), cfg.output)
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    settings = [_setting(name, condition) for name, condition in description["conditions"].items()]
    print(one_line(shlex.join(["python", str(folder / EXAMPLE), "seconds=2", "seed=0", *settings])))


def _setting(name: str, condition: dict[str, list[str]]) -> str:
    """Return the example program's argument for a condition."""
    if "categories" in condition:
        return f"{name}={condition['categories'][0]}"
    return f"{name}={Path(name).with_suffix('.npy')}"


if __name__ == "__main__":
    main()
