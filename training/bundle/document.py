"""A page of headings, tables and pictures, as Markdown and as one file of HTML that needs no other."""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

# What Markdown takes for more than itself, and HTML in it.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
_SPACES = re.compile(r"[\s\x00-\x1f\x7f\u2028\u2029]+")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: 0 } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #d0d7de }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid #eaeef2; vertical-align: top }
th { color: #57606a; font-weight: 600 } td { overflow-wrap: anywhere }
caption { text-align: left; color: #57606a; padding-bottom: .2rem }
figure { display: inline-block; margin: .5rem 1rem .5rem 0 } img { max-width: 100%; height: auto }
figcaption { color: #57606a; font-size: .85rem }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3 } th, caption, figcaption { color: #9198a1 }
  th, td, h2 { border-color: #30363d } img { background: #fff }
}
""".strip()  # noqa: E501


@dataclass(frozen=True)
class Heading:
    """A title, of level 1 or 2."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of text below a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A plot.

    Attributes:
        png: Its bytes.
        width: On the page, in pixels.
        told: What it shows, in words.
    """

    png: bytes
    width: int
    told: str


Block: TypeAlias = Heading | Paragraph | Items | Table | Picture


def as_markdown(blocks: Sequence[Block], page: str) -> str:
    """Return blocks as Markdown, where pictures are only told of.

    Args:
        page: The file that has the pictures.
    """
    return "\n\n".join(_markdown(block, page) for block in blocks) + "\n"


def as_html(blocks: Sequence[Block], title: str) -> str:
    """Return blocks as a page that has its style and pictures in itself, and asks for nothing elsewhere."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        "<body>",
    ]
    return "\n".join([*head, *map(_html, blocks), "</body>", "</html>", ""])


def _markdown(block: Block, page: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Paragraph(text):
            return _plain(text)
        case Items(texts):
            return "\n".join(f"- {_plain(text)}" for text in texts)
        case Table(head, rows, caption):
            body = [[_plain(cell) for cell in row] for row in rows]
            lines = [[_plain(cell) for cell in head], ["---"] * len(head), *body]
            table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            return f"{_plain(caption)}\n\n{table}" if caption else table
        case Picture(_, _, told):
            return f"{_plain(told)} (Drawn in [{page}]({page}).)"


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_text(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Items(texts):
            return "<ul>\n" + "\n".join(f"<li>{_text(text)}</li>" for text in texts) + "\n</ul>"
        case Table(head, rows, caption):
            return _html_table(head, rows, caption)
        case Picture(png, width, told):
            source = f"data:image/png;base64,{b64encode(png).decode()}"
            image = f'<img src="{source}" width="{width}" alt="{_text(told)}">'
            return f"<figure>{image}<figcaption>{_text(told)}</figcaption></figure>"


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    titles = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    told = f"<caption>{_text(caption)}</caption>" if caption else ""
    return f"<table>{told}\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _plain(text: str) -> str:
    """Text on one line of Markdown, that means nothing but itself."""
    return _SPECIAL.sub(r"\\\1", _SPACES.sub(" ", text).strip())


def _text(text: str) -> str:
    # A lone surrogate, of a name that was no UTF-8, could not be written.
    return escape(_SPACES.sub(" ", text).strip().encode(errors="replace").decode(), quote=True)
