"""`python -m mobileip`: the same as the console script."""

import sys

from mobileip.cli import main

sys.exit(main())
