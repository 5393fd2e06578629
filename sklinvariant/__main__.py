"""``python -m sklinvariant``: demonstrations on real images, and retrieval of photographs."""

import sys

from sklinvariant.cli import run

if __name__ == "__main__":
    sys.exit(run())
