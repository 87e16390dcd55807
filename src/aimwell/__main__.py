"""``python -m aimwell``."""

from aimwell.cli.app import main

if __name__ == "__main__":
    main()
