"""Script of the command `wavenet evaluate`; see configs/evaluate.yaml for the settings."""

from wavenet.cli.evaluate import main

if __name__ == "__main__":
    main()
