"""``python -m sklinvariant``: demonstrations on real images, and retrieval of photographs."""

import sys

from sklinvariant.cli._command_line import run

if __name__ == "__main__":
    sys.exit(run())
