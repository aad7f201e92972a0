"""Script of the command `wavenet generate`; see configs/generate.yaml for the settings."""

from wavenet.cli.generate import main

if __name__ == "__main__":
    main()
