"""`wavenet export onnx`: a model for onnxruntime, with a program that makes audio of it."""

import json
from pathlib import Path

from omegaconf import DictConfig

from wavenet import load
from wavenet.cli.command import command, plain
from wavenet.exchange.onnx import EXAMPLE, export


@command("export_onnx")
def main(cfg: DictConfig) -> None:
    """Export, and say what is in the folder."""
    folder = export(load(cfg.checkpoint, trust=plain(cfg.trust)), cfg.output)
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    settings = " ".join(_setting(name, one) for name, one in about["conditions"].items())
    print(f"python {folder / EXAMPLE} seconds=2 seed=0 {settings}".rstrip())


def _setting(name: str, about: dict[str, list[str]]) -> str:
    """How the program is told a condition."""
    return f"{name}={about['categories'][0]}" if "categories" in about else f"{name}={Path(name).with_suffix('.npy')}"


if __name__ == "__main__":
    main()
