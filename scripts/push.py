"""Script of the command `wavenet push`; see configs/push.yaml for the settings."""

from wavenet.cli.push import main

if __name__ == "__main__":
    main()
