"""Runs a supervisor over children described in JSON, so that tests can send it real signals.

``python tests/supervised.py '[{"name": "a", "argv": ["/bin/sleep", "9"], "stage": 0, "ready": "/a/file"}]'`` READY on
stdout when all are ready.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from foreman.cli.child import Child
from foreman.cli.console import Console
from foreman.cli.supervisor import Supervisor


def child(described: dict[str, Any]) -> Child:
    """The child that a JSON object describes; ``ready`` is a file that appears when it is."""
    ready = described.pop("ready", None)
    return Child(**described, ready=Path(ready).exists if ready else None)


def main() -> None:
    """Run it until it is stopped."""
    children = [child(each) for each in json.loads(sys.argv[1])]
    console = Console(sys.stderr, [each.name for each in children] + ["foreman"])
    sys.exit(Supervisor(children, console, lambda: print("READY", flush=True)).run())


if __name__ == "__main__":
    main()
