"""``python -m sklinvariant``: the methods at work on real images."""

import sys

from sklinvariant._command_line import main

sys.exit(main())
