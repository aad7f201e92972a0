"""Script of the command `wavenet train`; see configs/train.yaml for the settings."""

from wavenet.cli.train import main

if __name__ == "__main__":
    main()
