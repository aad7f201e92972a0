"""Script of the command `wavenet demo`; see configs/demo.yaml for the settings."""

from launcher.wavenet_audio import run

if __name__ == "__main__":
    run("demo")
