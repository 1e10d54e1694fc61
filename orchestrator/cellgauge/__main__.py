"""`python -m cellgauge`."""

from cellgauge.cli import main

if __name__ == "__main__":
    main()
