"""What `make docs` adds to the files of `docs/`: the pages of the root, and the RPCs by name."""

from __future__ import annotations

import re
from pathlib import Path

import rpc_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

# These are read at the root as well as here: `](docs/x.md)` there is `](x.md)` here.
_AT_THE_ROOT = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
_RPCS = "<!-- the reference, made from proto/ -->"

_ELSEWHERE = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision into the navigation."""
    decisions = sorted(f"adr/{path.name}" for path in (ROOT / "docs" / "adr").glob("*.md"))
    next(part for part in config.nav if "Decisions" in part)["Decisions"] = decisions
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the root's pages in."""
    for name in _AT_THE_ROOT:
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the reference, and let a link to the root lead to the page that we made of it."""
    if _RPCS in markdown:
        markdown = markdown.replace(_RPCS, rpc_reference.page())
    return re.sub(rf"\]\(\.\./({'|'.join(_AT_THE_ROOT)})", r"](\1", markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """A host that serves models may have no way out: nothing is loaded from elsewhere."""
    if found := _ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output
