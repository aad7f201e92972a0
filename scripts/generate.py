"""Script of the command `wavenet generate`; see configs/generate.yaml for the settings."""

from launcher.wavenet_audio import run

if __name__ == "__main__":
    run("generate")
