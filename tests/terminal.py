"""Types the commands of a document at a terminal of its own, one fenced block after the other, as a reader would.

Only what a document cannot know is changed on the way: the ports, which may be taken, and the ids of jobs.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.acceptance.foreman_up import DEADLINE_S, ROOT, environment, processes, until
from tests.addresses import free_port

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ID = re.compile(r"\b01[0-9A-HJKMNP-TV-Z]{24}\b")

#: A command that goes on until it is interrupted.
_UP = "foreman up"
_LASTS = re.compile(r"(?:^|\s)foreman up(?:\s|$)")

#: Lets the shell find what was installed; a reader who is not told so has no ``foreman``.
_ACTIVATE = ". .venv/bin/activate"

#: A command at which a reader looks for a while.
_LOOKS = re.compile(r"--watch\b")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: ``sh`` is commands, ``console`` those after ``$`` and what they print, ``python`` a program."""

    language: str
    text: str

    def commands(self) -> Iterator[tuple[str, str]]:
        """Each command, and what the document says that it prints: empty where it shows nothing."""
        if self.language == "python":
            yield f"python - <<'END'\n{self.text}END", ""
            return
        if self.language == "sh":
            for command in _joined(self.text.splitlines()):
                yield command, ""
            return
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            command = next(_joined(lines))
            yield command, "\n".join(lines[len(command.splitlines()) :])


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    return [Block(language, text) for language, text in _BLOCK.findall(path.read_text(encoding="utf-8"))]


def _joined(lines: list[str]) -> Iterator[str]:
    """Commands, each with the lines over which its quotes go."""
    command: list[str] = []
    for line in lines:
        command.append(line)
        text = "\n".join(command)
        if text.count("'") % 2 == 0:
            if text.strip():
                yield text
            command = []


def _stranger() -> str:
    """The search path of somebody who has activated nothing."""
    ours = Path(sys.executable).parent
    return os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if Path(each) != ours)


@dataclass
class Terminal:
    """A reader's machine: a home, variables that were exported, a foreman that may be running in another window."""

    directory: Path
    #: What a reader has instead of the ports of the document.
    ports: dict[str, int] = field(default_factory=lambda: {"8420": free_port(), "9000": free_port()})
    environ: dict[str, str] = field(default_factory=dict)
    #: The job that was submitted last.
    job_id: str = ""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(self.directory), "TMPDIR": str(self.directory), "XDG_STATE_HOME": "", "PATH": _stranger()}
        self.environ = own | {"FOREMAN_WEB_BIND": f"127.0.0.1:{self.ports['8420']}"}
        self._windows: dict[str, subprocess.Popen[bytes]] = {}

    def enter(self, command: str) -> str:
        """Run a command and wait for its end, or for ``foreman up`` to be ready; what it has printed by then.

        ``foreman up`` ends the one that is running.
        """
        command = self._here(command)
        if command.startswith(_ACTIVATE):
            self.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), _stranger()])
            return ""
        if command.startswith("export "):
            self.environ |= dict(each.split("=", 1) for each in command.split()[1:])
            return ""
        if _LASTS.search(command):
            return self._last(command)
        if _LOOKS.search(command):
            return self._look(command)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=ROOT,
            env=self._env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=4 * DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        found = _ID.findall(done.stdout)
        self.job_id = found[0] if found else self.job_id
        return done.stdout

    def open(self, name: str, *argv: str) -> Path:
        """Run a program in another window; the file with what it prints."""
        out = self.directory / f"{len(self._windows)} {name.partition(' ')[0]}.out"
        heard = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with out.open("wb") as printed:
                self._windows[name] = subprocess.Popen(
                    [self._here(each) for each in argv],
                    cwd=ROOT,
                    env=self._env() | {"PYTHONUNBUFFERED": "1"},
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                )
        finally:
            signal.signal(signal.SIGINT, heard)
        return out

    def interrupt(self, name: str) -> None:
        """Ctrl-C in a window; what runs there must end well."""
        window = self._windows.pop(name)
        window.send_signal(signal.SIGINT)
        assert window.wait(DEADLINE_S) == 0, name

    def like_the_document(self, printed: str) -> str:
        """What was printed, with the document's ports."""
        for told, ours in self.ports.items():
            printed = printed.replace(f":{ours}", f":{told}")
        return printed

    def _here(self, command: str) -> str:
        """A command with this machine's ports, and the id of the job that there is."""
        for told, ours in self.ports.items():
            command = re.sub(rf"\b{told}\b", str(ours), command)
        return _ID.sub(self.job_id, command) if self.job_id else command

    def _last(self, command: str) -> str:
        if _UP in self._windows:
            self.interrupt(_UP)
        out = self.open(_UP, "/bin/sh", "-c", f"exec env {command.partition('#')[0]}")
        window = self._windows[_UP]
        until(lambda: "Ctrl-C stops it" in out.read_text() or window.poll() is not None)
        assert window.poll() is None, out.read_text()
        return out.read_text()

    def _look(self, command: str) -> str:
        out = self.open(command, "/bin/sh", "-c", f"exec {command}")
        until(out.read_text)
        self.interrupt(command)
        return out.read_text()

    def _env(self) -> dict[str, str]:
        return environment(str(self.directory), self.environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pid in processes(str(self.directory)):
            os.kill(pid, signal.SIGKILL)
        for window in self._windows.values():
            window.wait(DEADLINE_S)
