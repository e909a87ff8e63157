"""What the exit status of every command means; ``docs/cli.md`` has the same table."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    #: What was asked for was done.
    OK = 0
    #: It was not: the job failed, a check found a problem, or foreman refused the request.
    FAILED = 1
    #: The command line or a setting cannot be used.
    MISUSE = 2
    #: foreman, or for commands on this machine its database, cannot be reached now. Try again later.
    UNREACHABLE = 3
    #: The time given with --timeout is up; the job goes on.
    TIME_UP = 4
    #: Ctrl-C, as shells have it: 128 and the number of SIGINT.
    INTERRUPTED = 130
