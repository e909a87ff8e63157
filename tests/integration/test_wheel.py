"""What is shipped: the wheel has all that the page is made of, and nothing of it is left behind."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel."""
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", target],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_every_template_and_asset(shipped: set[str]) -> None:
    """Each file below ``foreman/web``, by its path."""
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "foreman/web").rglob("*") if path.is_file()}
    assert {"foreman/web/templates/base.html", "foreman/web/assets/ui/htmx.min.js"} <= wanted
    assert wanted <= shipped


def test_the_licences_of_what_others_wrote_are_in_the_wheel(shipped: set[str]) -> None:
    """Beside their files, and named in NOTICE."""
    assert "foreman/web/assets/ui/LICENSE.htmx.txt" in shipped
    assert any(name.endswith("licenses/NOTICE") for name in shipped)
