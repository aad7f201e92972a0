"""Script of the command `wavenet demo`; see configs/demo.yaml for the settings."""

from wavenet.cli.demo import main

if __name__ == "__main__":
    main()
