"""The front page of the site is README.md; links from a page to the source tree point to the repository's files."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?!https?:|#|mailto:)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
SOURCE_URL = os.environ.get("XMCGAN_SOURCE_URL", "").rstrip("/")  # such as https://github.com/OWNER/NAME/blob/main


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the front page, which is README.md."""
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites links that are relative to a file of the repository into links of the site."""
    at = ROOT if page.file.src_uri == "index.md" else (ROOT / "docs" / page.file.src_uri).parent

    def rewritten(match: re.Match[str]) -> str:
        target = (at / match["path"]).resolve()
        if not target.exists():
            return match[0]  # left for the strict build to report
        if target.is_relative_to(ROOT / "docs"):
            here = (ROOT / "docs" / page.file.src_uri).parent
            return f"{match['text']}({os.path.relpath(target, here)}{match['anchor'] or ''})"
        if SOURCE_URL:
            return f"{match['text']}({SOURCE_URL}/{target.relative_to(ROOT).as_posix()})"
        return match["text"][1:-1]  # a file outside the site, whose address is not known

    return LINK.sub(rewritten, markdown)
