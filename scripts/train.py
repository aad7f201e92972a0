"""Script of the command `wavenet train`; see configs/train.yaml for the settings."""

from launcher.wavenet_audio import run

if __name__ == "__main__":
    run("train")
