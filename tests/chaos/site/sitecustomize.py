"""Python loads this at every start when its directory is on ``PYTHONPATH``: that is how faults get into processes.

The commands that run are so the Procfile's own, through every exec and fork, and nothing in foreman knows of it.
"""

from __future__ import annotations

import os

from tests.chaos import injection

if injection.FOLDER in os.environ:
    injection.arm(os.environ[injection.FOLDER])
