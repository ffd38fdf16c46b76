"""HTML of a page, once it is sanitised: boxes for wide tables, formulas as MathML, our own interactive figures."""
import html
import re

from bs4 import BeautifulSoup
from convert import INTERACTIVE

CARDS_FROM = 4  # columns; fewer fit a phone
MOST_CARDS = 30  # rows; more of them are read faster as a table that scrolls


def mathml(tex, display):
    from latex2mathml.converter import convert
    return convert(tex, display="block" if display else "inline")


def inline(text):
    return re.sub(r"\\\((.*?)\\\)", lambda m: mathml(html.unescape(m[1]), False), text, flags=re.S)


def formulas(content):
    "Formulas as MathML: every browser draws it, without a script or a font from elsewhere."
    content = re.sub(r'<span class="arithmatex">(.*?)</span>', lambda m: inline(m[1]), content, flags=re.S)
    shown = lambda m: mathml(html.unescape(m[1]).strip(), True)
    return re.sub(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', shown, content, flags=re.S)


def cards(table):
    """A wide table as cards on a narrow screen: each cell gets the name of its column, and roles keep it a table for
    a screen reader. A long table, or one with joined cells, stays as it is and scrolls."""
    parsed = BeautifulSoup(table, "html.parser").table
    header = [[cell.get_text(" ", strip=True) for cell in row("th")] for row in parsed.select("thead tr")]
    names = [" ".join(filter(None, parts)) for parts in zip(*header)]  # pandas names the index in a second row
    joined = parsed.find(lambda cell: cell.get("colspan", "1") != "1" or cell.get("rowspan", "1") != "1")
    too_long = len(parsed("tr")) - len(header) > MOST_CARDS
    if joined or too_long or len(names) < CARDS_FROM or len({len(row) for row in header}) != 1:
        return table
    parsed["class"] = [*parsed.get("class", []), "cards"]
    parsed["role"] = "table"
    for part in parsed(["thead", "tbody"]):
        part["role"] = "rowgroup"
    for row in parsed("tr"):
        row["role"] = "row"
        for cell, name in zip(row(["th", "td"]), names):
            in_head = row.parent is parsed.thead
            cell["role"] = "columnheader" if in_head else "rowheader" if cell.name == "th" else "cell"
            cell["data-label"] = name
    return str(parsed)


def boxes(content):
    """Each table in a box of its own that scrolls, by keyboard too, so that the page never does;
    the box is named after the section it belongs to."""
    heading, out = "", []
    for piece in re.split(r"(<h[1-6].*?</h[1-6]>|<table.*?</table>)", content, flags=re.S):
        if piece.startswith("<h"):
            heading = re.sub(r"<a class=\"headerlink.*?</a>|<[^>]+>", "", piece).strip()
        if piece.startswith("<table"):
            piece = cards(piece.replace("<table>", '<table class="data">', 1))
            piece = (f'<div class="table" tabindex="0" role="region" '
                     f'aria-label="Table: {html.escape(html.unescape(heading))}">{piece}</div>')
        out.append(piece)
    return "".join(out)


def interactive(content):
    "Our own scripts, where a notebook draws a widget."
    from anchoral.teach.figure1 import figure1_html
    return re.sub(rf"<p>{INTERACTIVE}([\w-]+)</p>",
                  lambda m: figure1_html(*([m[1]] if m[1] != "figure1" else [])), content)


def dressed(content):
    return formulas(interactive(boxes(content)))
