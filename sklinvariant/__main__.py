"""``python -m sklinvariant``: the methods at work on real images."""

import sys

from sklinvariant.cli import run

if __name__ == "__main__":
    sys.exit(run())
