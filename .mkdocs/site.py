"""What mkdocs cannot know of these documents: every decision is listed, and the source tree is not part of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put all decisions into the navigation, in their order."""
    docs = Path(config.docs_dir)
    decisions = sorted(path.relative_to(docs).as_posix() for path in docs.glob("decisions/*.md"))
    config.nav = [*(config.nav or []), {"Decisions": decisions}]
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs names them
    """Leave only the text of a link that leads out of the documents: a test sees that it leads somewhere."""
    folder = posixpath.dirname(page.file.src_uri)

    def target(link: re.Match[str]) -> str:
        text, address = link.groups()
        leads_out = "://" not in address and posixpath.normpath(posixpath.join(folder, address)).startswith("..")
        return text if leads_out else link.group()

    return _LINK.sub(target, markdown)
