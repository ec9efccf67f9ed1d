"""``python -m drills`` in the root of the repository; ``--list`` says what there is."""

from __future__ import annotations

import sys

from drills import disks, kills, surroundings, together
from drills.runner import main

if __name__ == "__main__":
    sys.exit(main([drill for subject in (kills, disks, together, surroundings) for drill in subject.DRILLS]))
