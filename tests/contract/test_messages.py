from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from foreman.queue.messages import ADDRESSES

#: Importing the actors sets the broker of a process for good, so it is done in one of its own. Nothing is connected to.
DECLARED = """
import json, actors
broker = actors.broker
print(json.dumps({name: broker.get_actor(name).queue_name for name in broker.get_declared_actors()}))
"""


def test_messages_and_actors_name_each_other() -> None:
    """The API sends by name and imports no actor: nothing else would notice a misspelt one before production."""
    environ = {"PATH": os.environ["PATH"], "FOREMAN_REDIS_URL": "redis://127.0.0.1:1/0"}
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", DECLARED], cwd=root, env=environ, check=True, capture_output=True)
    assert json.loads(ran.stdout) == {address.actor: address.queue for address in ADDRESSES}
