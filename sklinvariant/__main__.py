"""``python -m sklinvariant``: the methods at work on real images."""

import sys

from sklinvariant._demo import main

sys.exit(main())
