"""Script of the command `wavenet push`; see configs/push.yaml for the settings."""

from launcher.wavenet_audio import run

if __name__ == "__main__":
    run("push")
