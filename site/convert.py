"""A notebook as Markdown: its prose, its code, and every output, each picture at the size at which it was drawn."""
import base64
import html
import json
import os
import re
import struct
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown.extensions.toc import slugify
from sanitise import sanitised

ROOT = Path(__file__).parents[1]
NBS = ROOT/"nbs"
AROUND = ("tasks", "files", "cli")  # beside the numbered chapters, in the order of the navigation
ROOMS = ("paper", "tutorials", "study", "annotator", "teach", "benchmarks")
FOLDED = ("paper", "benchmarks")  # rooms whose readers come for results: these first, and the code folded
INTERACTIVE = "interactive-figure-"  # where our own script goes, once everything else is sanitised
IN_WORDS = "**The figure in words.**"
ALGORITHM = {  # page -> lines of Algorithm 1 that it implements, and a part of algorithm.md
    "00_data": ("the input: pool, oracle and initial set", "input"),
    "01_embeddings": ("the input: the rows that the index compares", "input"),
    "02_index": ("the index of line 7", "line-7"),
    "03_anchors": ("lines 3 to 6: the anchors", "lines-3-to-6"),
    "04_filters": ("lines 3 to 9: from the pool to the subpool", "lines-3-to-6"),
    "05_strategies": ("line 10: the query", "line-10"),
    "06_head": ("line 2: training", "line-2"),
    "07_finetune": ("line 2: training", "line-2"),
    "08_contracts": ("what lines 3 to 10 must keep to", "line-10"),
    "09_loop": ("lines 1, 2 and 10 to 13: the loop", "lines-1-and-13"),
}


@cache
def notebooks():
    "Page -> notebook, in reading order."
    own = [*sorted(NBS.glob("[0-9]*.ipynb")), *(NBS/f"{name}.ipynb" for name in AROUND)]
    rest = [p for folder in ROOMS for p in sorted((NBS/folder).glob("*.ipynb"))]
    return {str(p.relative_to(NBS).with_suffix(".md")): p for p in [NBS/"index.ipynb", *own, *rest]}


def cells(path): return json.loads(path.read_text(encoding="utf-8"))["cells"]
def text(source): return source if isinstance(source, str) else "".join(source)
def title(path): return re.match(r"#\s+(.+)", text(cells(path)[0]["source"]))[1].strip()


def link(target, notebook):
    "A link in a notebook as one on the site; None where what it points to has no page."
    if re.match(r"[a-z]+:", target): return target
    path, _, anchor = target.partition("#")
    # Jupyter names a heading by its words, the site by its slug
    anchor = slugify(unquote(anchor).replace("-", " "), "-")
    if not path: return f"#{anchor}"
    there = (notebook.parent/path).resolve()
    page = str(Path(os.path.relpath(there, NBS)).with_suffix(".md"))
    here = notebook.relative_to(NBS).parent
    if there.suffix == ".ipynb" and page in notebooks():
        return os.path.relpath(page, here) + (f"#{anchor}" if anchor else "")
    drawn = there.parent in (ROOT/"figures", notebook.parent) and there.suffix in (".png", ".pdf", ".csv", ".tex")
    if drawn and there.exists():
        return os.path.relpath(Path("figures")/there.name if there.parent == ROOT/"figures" else here/there.name, here)
    return None


def links(markdown, notebook):
    "Links rewritten, outside of code; a link to a file that has no page becomes its text."
    def one(m):
        target = link(m[3], notebook)
        return f"{m[1]}[{m[2]}]({target})" if target else f"`{m[2]}`" if not m[1] else ""
    # two quotations stay two
    hidden, markdown = [], re.sub(r"^(>.*\n)\n(?=>)", r"\1\n<!-- -->\n\n", markdown, flags=re.M)
    def keep(m): hidden.append(m[0]); return f"\x01{len(hidden) - 1}\x02"
    out = re.sub(r"```.*?```|`[^`\n]*`", keep, markdown, flags=re.S)
    out = re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", one, out)
    out = re.sub(r'(src|href)="([^"]+)"', lambda m: f'{m[1]}="{link(m[2], notebook) or m[2]}"', out)
    # a list begins after an empty line
    out = re.sub(r"^(?!\s*(?:[-*+]|\d+\.)\s|[>#|<\s])(.+\n)(?=(?:[-*+]|\d+\.)\s)", r"\1\n", out, flags=re.M)
    return re.sub(r"\x01(\d+)\x02", lambda m: hidden[int(m[1])], out)


def block(body, kind=""):
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", body)), default=0))
    return f"{fence}{kind}\n{body.rstrip()}\n{fence}"


def size(png):
    "(width, height) in pixels of a PNG."
    return struct.unpack(">II", png[16:24])


def picture(src, png, alt, drawn=None):
    """A picture at the size at which it was drawn.
    `drawn` is the width that matplotlib names; a picture with twice as many pixels is shown sharp, not large."""
    width, height = size(png)
    dense = width / drawn if drawn and width > 1.5 * drawn else 1
    return (f'<img alt="{html.escape(alt)}" src="{src}" '
            f'width="{round(width / dense)}" height="{round(height / dense)}">')


def plain(words):
    "Words without Markdown, as they are compared and read aloud."
    return re.sub(r"[*`\[\]]", "", words).strip()


@cache
def in_print():
    "(file in `figures`, what it shows in words, its size in inches); a notebook has 90 dots an inch, a file 200."
    from PIL import Image
    inches = lambda image: tuple(round(side / 200, 2) for side in image.size)
    every = [(p, Image.open(p)) for p in sorted((ROOT/"figures").glob("*.png"))]
    return [(p, plain(image.text.get("Description", "")), inches(image)) for p, image in every]


def sharp(name, alt, width, height):
    "(file, words) of the same picture in `figures`: the same words, or the page's only file of this size."
    page_ = Path(name).parent.name.removesuffix("_files")
    same = [(p, words) for p, words, _ in in_print() if words and words == alt]
    sized = [(p, words) for p, words, inches in in_print()
             if p.stem.split("-")[0] == page_ and inches == (round(width / 90, 2), round(height / 90, 2))]
    return same[0] if same else sized[0] if len(sized) == 1 else None


def drawing(data, name, files, alt):
    "A picture among the outputs; where `figures` holds the same one with more dots, that one."
    png = base64.b64decode(text(data["image/png"]))
    said = re.match(r"<Figure size ([\d.]+)x([\d.]+)", text(data.get("text/plain", "")))
    drawn = tuple(map(float, said.groups())) if said else None
    if drawn and (found := sharp(name, alt, *drawn)):
        here = os.path.relpath(f"figures/{found[0].name}", Path(name).parent.parent)
        return picture(here, found[0].read_bytes(), found[1], drawn[0])
    file = f"{name}.png"
    files[file] = png
    return picture(f"{Path(file).parent.name}/{Path(file).name}", png, alt, drawn and drawn[0])


def output(out, name, files, alt):
    "One output of a cell. HTML is sanitised, by itself: what is not closed in it is closed at its end."
    data = out.get("data", {"text/plain": out.get("text", "")})
    if "image/png" in data: return drawing(data, name, files, alt)
    if "text/markdown" in data: return text(data["text/markdown"])
    if "text/html" in data:
        body = sanitised(text(data["text/html"]))
        return "\n".join(line.strip() for line in body.replace(' border="1"', "").splitlines() if line.strip())
    return block(re.sub(r"\x1b\[[0-9;]*m", "", text(data.get("text/plain", ""))), "text")


def in_words(later, heading):
    "The text alternative of a picture: what the page says of it below, else the code and the section it belongs to."
    for c in later[:2]:
        for o in c.get("outputs", []):
            said = text(o.get("data", {}).get("text/markdown", ""))
            if said.startswith(IN_WORDS):
                return plain(said.removeprefix(IN_WORDS).split("\n\n")[0])
    return f"Figure drawn by the code above, in the section “{heading}”".replace("[", "").replace("]", "")


def shown(source):
    "A cell's code as a reader sees it: without directives and magics."
    return "\n".join(line for line in source.splitlines() if not re.match(r"#\||%", line)).strip()


FOLD, UNFOLD = '<details class="code" markdown="1"><summary>', "\n\n</details>"


def code(source, folded, made):
    "A cell's code, in the open or folded."
    if not folded: return block(source, "python")
    says = "The code of this result" if made else "The code before it"
    return f"{FOLD}{says}</summary>\n\n{block(source, 'python')}{UNFOLD}"


def joined(parts):
    "A page of its parts; folded code that nothing comes between is one fold."
    out = "\n\n".join(parts)
    return re.sub(rf"{UNFOLD}\s+{re.escape(FOLD)}The code before it</summary>", "", out)


def headed(said, notebook):
    "The title with its subtitle as a line of its own, and the lines of Algorithm 1 that a chapter implements."
    return re.sub(r"\A(#.+)\n+> *(.+)\n?",
                  lambda m: f"{m[1]}\n\n{m[2]}\n{{ .subtitle }}\n\n{algorithm(notebook)}\n\n", said)


def algorithm(notebook):
    "The lines of Algorithm 1 that a chapter implements, as a line under its title."
    says, part = ALGORITHM.get(notebook.stem, ("", ""))
    return f"**Algorithm 1**, [{says}](algorithm.md#{part})\n{{ .algorithm }}" if says else ""


def page(notebook, files):
    "A notebook as Markdown; its pictures go into `files`."
    out, where, heading = [], notebook.relative_to(NBS).with_suffix(""), ""
    folded, front = notebook.parent.name in FOLDED, notebook.stem == "index"
    every = cells(notebook)
    for n, c in enumerate(every):
        source = text(c["source"])
        if c["cell_type"] == "markdown":
            heading = (re.findall(r"^#+\s+(.+)", source, re.M) or [heading])[-1]
            said = links(source, notebook)
            if not n: said = headed(said, notebook)
            out.append(said)
        if c["cell_type"] != "code": continue
        alt = in_words(every[n + 1:], heading)
        made = [output(o, f"{where}_files/{n}-{k}", files, alt)
                for k, o in enumerate(c["outputs"]) if o["output_type"] != "error"]
        made = [m if m.startswith("<img") else links(m, notebook)
                for m in made if m.strip() not in ("", "```text\n\n```")]
        results = [] if not made else made if front else [
            '<div class="output" markdown="1">\n\n' + "\n\n".join(made) + "\n\n</div>"]
        source_shown = shown(source)
        hidden = front or not source_shown or re.search(r"^#\|\s*hide", source, re.M)
        own = [] if hidden else [code(source_shown, folded, bool(made))]
        out += [*results, *own] if folded else [*own, *results]
        # in JupyterLab a widget
        if drawn := re.search(r"^figure1\((?:\"([\w-]+)\")?\)\Z", source, re.M):
            out.append(INTERACTIVE + (drawn[1] or "figure1"))
    return joined(out)
