"""Draw the README's figures, and generate its sound: python scripts/figures.py RUN [FOLDER]."""

import subprocess
import sys
from pathlib import Path

import matplotlib

from wavenet.audio import read

matplotlib.use("Agg")

from wavenet.evaluation.figures import draw_spectrograms, draw_stack


def babble(path: Path) -> None:
    """Write what `wavenet generate` makes without arguments: two seconds of the model `babble`."""
    subprocess.run([sys.executable, Path(__file__).with_name("generate.py"), f"output={path}"], check=True)


def main() -> None:
    """Draw the dilated stack, and spectrograms of a run's last audio and of real recordings; generate the sound."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    run, folder = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/figures")
    steps = sorted((run / "audio").glob("step-*"))
    if not steps:
        sys.exit(f"{run}: no audio/step-* there; give the folder of a finished run")
    waveforms, rate = {}, 0
    for path in sorted(steps[-1].glob("*-generated.wav")):
        speaker = path.stem.removesuffix("-generated")
        for kind in ("real", "generated"):
            waveforms[f"{speaker}, {kind}"], rate = read(path.with_name(f"{speaker}-{kind}.wav"))
    draw_stack(folder / "stack.png")
    draw_spectrograms(folder / "generated.png", waveforms, rate)
    babble(folder / "babble.wav")
    print(f"{folder}/stack.png and {folder}/babble.wav; {folder}/generated.png, from {steps[-1]}")


if __name__ == "__main__":
    main()
