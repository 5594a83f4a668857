"""What the site adds to the files of docs/: the pages that lie beside it in the repository, with links that lead on.

On a code host README.md and its like link to docs/..., and pages of docs/ to ../CONTRIBUTING.md. Here they are pages of
one folder.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository, and the pages they are."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links between repository and docs/ into links between pages, and drop the marks for the tests."""
    markdown = re.sub(r"\]\((?:\.\./)?docs/", "](", markdown)
    for name, target in PAGES.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({target}", markdown)
    return re.sub(r"^<!-- (?:run|not run)[^\n]*-->\n", "", markdown, flags=re.MULTILINE)
