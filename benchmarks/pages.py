"""Figures in documents: a command that measures them writes them where they are read."""

import re
from pathlib import Path

from colorjax import files
from colorjax.errors import UserError

ROOT = Path(__file__).parents[1]


def fill(page: Path, mark: str, text: str) -> None:
    """Puts text between `<!-- mark -->` and the next `<!-- end -->` of a document.

    Raises:
        UserError: the document has no such place, or several.
    """
    place = re.compile(rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end -->)", re.DOTALL)
    before = page.read_text()
    after, count = place.subn(lambda match: match[1] + text + match[2], before)
    if count != 1:
        raise UserError(f"'{page}' has {count} places marked <!-- {mark} -->; there must be one")
    files.write_text(page, after)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Markdown, all columns but the first on the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
