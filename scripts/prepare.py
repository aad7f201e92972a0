"""Script of the command `wavenet prepare`; see configs/prepare.yaml for the settings."""

from launcher.wavenet_audio import run

if __name__ == "__main__":
    run("prepare")
