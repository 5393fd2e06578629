"""``python -m sklinvariant``, the same as the command ``sklinvariant``."""

import sys

from sklinvariant.cli import run

if __name__ == "__main__":
    sys.exit(run())
