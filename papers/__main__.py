"""``python -m papers`` is the command ``globopt``."""

import sys

from papers.cli import main

if __name__ == "__main__":
    sys.exit(main())
