"""The same as `wavenet train`; see configs/train.yaml for the settings."""

from wavenet.cli.train import main

if __name__ == "__main__":
    main()
