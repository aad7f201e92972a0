"""Script of the command `wavenet evaluate`; see configs/evaluate.yaml for the settings."""

from launcher.wavenet_audio import run

if __name__ == "__main__":
    run("evaluate")
