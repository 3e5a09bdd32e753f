"""``python -m experiments`` is ``nlhf``."""

import sys

from experiments.cli import main

sys.exit(main())
