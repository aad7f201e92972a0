"""Script of the command `wavenet prepare`; see configs/prepare.yaml for the settings."""

from wavenet.cli.prepare import main

if __name__ == "__main__":
    main()
