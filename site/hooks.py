"""Notebooks to pages: what a reader sees of a notebook, as Markdown; one page per module for the API; every figure;
formulas as MathML."""
import base64
import html
import inspect
import json
import os
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

from markdown.extensions.toc import slugify
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
NBS = ROOT/"nbs"
sys.path[:0] = [str(ROOT), str(ROOT/"site")]
from sanitise import sanitised  # noqa: E402

FIGURE_1 = "figure-1-with-its-slider"  # where our own script goes, once everything else is sanitised
AROUND = ("tasks", "files", "cli")  # beside the numbered chapters, in the order of the navigation
ROOMS = {"Study": "study", "Annotator": "annotator", "Teach": "teach"}
SECTIONS = {"Paper": "paper", "Tutorials": "tutorials", **ROOMS, "Benchmarks": "benchmarks"}
FIRST = {"Paper": ["fig1", "fig2", "fig3", "fig4", "wordnet", "table1", "table2", "table3", "table4", "table5"],
         "Tutorials": ["why-rare", "one-page", "bring-your-own-data", "your-own-filter", "exercises", "solutions",
                       "teaching-plan"],
         "Study": ["config", "runs", "run", "results", "measures", "profiles", "grid", "cluster", "gpu", "verify",
                   "replay", "looks", "figures", "evidence", "typeset", "tables", "statistics", "claims", "printed",
                   "first_rule", "second_rule", "forest", "answer"],
         "Annotator": ["log", "session", "deliver", "audit", "stopping", "exchange",
                       "widget"]}


@cache
def notebooks():
    "Page -> notebook, in reading order."
    own = [*sorted(NBS.glob("[0-9]*.ipynb")), *(NBS/f"{name}.ipynb" for name in AROUND)]
    rest = [p for folder in SECTIONS.values() for p in sorted((NBS/folder).glob("*.ipynb"))]
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


def output(out, name, files, alt):
    "One output of a cell. HTML is sanitised, by itself: what is not closed in it is closed at its end."
    data = out.get("data", {"text/plain": out.get("text", "")})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            file = f"{name}.{kind[6:]}"
            files[file] = base64.b64decode(text(data[kind]))
            return f"![{alt}]({Path(file).parent.name}/{Path(file).name})"
    if "text/markdown" in data: return text(data["text/markdown"])
    if "text/html" in data:
        body = sanitised(text(data["text/html"]))
        return "\n".join(line.strip() for line in body.replace(' border="1"', "").splitlines() if line.strip())
    return block(re.sub(r"\x1b\[[0-9;]*m", "", text(data.get("text/plain", ""))), "text")


def page(notebook, files):
    "A notebook as Markdown; its pictures go into `files`."
    out, where, heading = [], notebook.relative_to(NBS).with_suffix(""), ""
    for n, c in enumerate(cells(notebook)):
        source = text(c["source"])
        if c["cell_type"] == "markdown":
            heading = (re.findall(r"^#+\s+(.+)", source, re.M) or [heading])[-1]
            out.append(links(source, notebook))
        if c["cell_type"] != "code": continue
        shown = "\n".join(line for line in source.splitlines() if not re.match(r"#\||%", line)).strip()
        if shown and notebook.stem != "index" and not re.search(r"^#\|\s*hide", source, re.M):
            out.append(block(shown, "python"))
        alt = f"Output of the code above: {heading}".replace("[", "").replace("]", "")
        made = [output(o, f"{where}_files/{n}-{k}", files, alt)
                for k, o in enumerate(c["outputs"]) if o["output_type"] != "error"]
        made = [links(m, notebook) for m in made if m.strip() not in ("", "```text\n\n```")]
        if made and notebook.stem == "index": out += made
        elif made: out.append('<div class="output" markdown="1">\n\n' + "\n\n".join(made) + "\n\n</div>")
        if source.endswith("figure1()"): out.append(FIGURE_1) # in JupyterLab a widget
    return "\n\n".join(out)


def api(name):
    "A module's page: every public function with its parameters and what is written beside them."
    from fastcore.docments import docments
    module = import_module(f"anchoral.{name}")
    out = [f"# anchoral.{name}", f"> {(module.__doc__ or '').strip()}"]
    for thing in module.__all__:
        value = getattr(module, thing, None)
        if inspect.getmodule(value) is not module or not (inspect.isclass(value) or inspect.isfunction(value)): continue
        methods = [(f"{thing}.{k}", f) for k, f in vars(value).items()
                   if inspect.isclass(value) and inspect.isfunction(f) and not k.startswith("_")]
        for title_, f in [(thing, value), *methods]: out.append(entry(title_, f, docments, 2 if f is value else 3))
    return "\n\n".join(out)


def entry(title_, f, docments, level):
    try: s = inspect.signature(f)
    except (ValueError, TypeError): s = inspect.Signature()
    signature = str(s)
    if len(signature) > 80:
        back = "" if s.return_annotation is s.empty else f" -> {inspect.formatannotation(s.return_annotation)}"
        signature = "(\n" + "".join(f"    {p},\n" for p in s.parameters.values()) + ")" + back
    signature = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>|<function (\w+)[^>]*>", lambda m: m[1] or "...", signature)
    lines = [f"{'#' * level} {title_} {{ #{title_} }}", block(f"{title_}{signature}", "python"),
             inspect.cleandoc(f.__doc__ or "")]
    try: rows = {k: v for k, v in docments(f, full=True).items() if v.get("docment") and k not in ("self", "return")}
    except Exception: rows = {}
    cell = lambda v: str(v).replace("|", "\\|").replace("\n", " ")
    default = lambda v: "" if v["default"] is inspect.Parameter.empty else f"`{cell(repr(v['default']))}`"
    if rows:
        table = [f"| `{k}` | {default(v)} | {cell(v['docment'])} |" for k, v in rows.items()]
        lines.append("\n".join(["| parameter | default | |", "|---|---|---|", *table]))
    return "\n\n".join(line for line in lines if line)


def figures():
    "Every figure and table of the repository."
    from PIL import Image
    out = ["# Figures and tables",
           "> Everything in `figures`, drawn from the saved results by `make figures`; "
           "experiments never draw, and figures never train"]
    for png in sorted((ROOT/"figures").glob("*.png")):
        about = Image.open(png).text.get("Description", "")
        also = f" · [PDF](figures/{png.stem}.pdf)" if png.with_suffix(".pdf").exists() else ""
        out.append(f"## {png.stem}\n\n![{about or png.stem}](figures/{png.name})\n\n[PNG](figures/{png.name}){also}")
    for table in sorted((ROOT/"figures").glob("*.html")):
        body = re.search(r"<table.*</table>", table.read_text(encoding="utf-8"), re.S)
        also = " · ".join(f"[{kind.upper()}](figures/{table.stem}.{kind})" for kind in ("csv", "tex")
                          if table.with_suffix(f".{kind}").exists())
        if body:
            rows = "\n".join(line.strip() for line in body[0].splitlines() if line.strip())
            out.append(f'## {table.stem}, table\n\n<div class="output">\n{rows}\n</div>\n\n{also}')
    return "\n\n".join(out)


def modules():
    "The modules that notebooks export, the book first."
    found = [re.search(r"#\| default_exp ([\w.]+)", p.read_text(encoding="utf-8")) for p in notebooks().values()]
    return [m[1] for m in found if m]


def on_config(config):
    "The navigation, from the notebooks' titles."
    pages = notebooks()
    sections = {name: [(title(p), k) for k, p in pages.items() if Path(k).parent.name == folder]
                for name, folder in SECTIONS.items()}
    for name, first in FIRST.items():
        sections[name].sort(key=lambda e: first.index(Path(e[1]).stem) if Path(e[1]).stem in first else len(first))
    library = [{f"{Path(k).stem[:2]} {title(p)}": k} for k, p in pages.items() if k[0].isdigit()]
    library += [{title(pages[f"{name}.md"]): f"{name}.md"} for name in AROUND]
    reference = [{"Modules": "api/modules.md"}, *({f"anchoral.{m}": f"api/{m}.md"} for m in modules())]
    config.nav = [{"Home": "index.md"}, {"Where to begin": "start.md"}, {"Library": library},
                  *({name: [{t: k} for t, k in found]} for name, found in sections.items() if found),
                  {"Figures": "figures.md"}, {"API": reference}]
    return config


def on_files(files, config):
    "The pages and pictures, none of which is kept in the repository."
    made = {}
    for name, notebook in notebooks().items(): made[name] = page(notebook, made)
    for m in modules(): made[f"api/{m}.md"] = api(m)
    about = {m: (import_module(f"anchoral.{m}").__doc__ or "").strip() for m in modules()}
    made["api/modules.md"] = ("# Modules\n\n> One page per module, in reading order\n\n"
                              + "\n".join(f"- [anchoral.{m}]({m}.md): {says}" for m, says in about.items()))
    made["figures.md"] = figures()
    for f in sorted((ROOT/"figures").iterdir()):
        if f.suffix in (".png", ".pdf", ".csv", ".tex"): made[f"figures/{f.name}"] = f.read_bytes()
    for f in NBS.rglob("*.png"):
        if ".ipynb_checkpoints" not in f.parts: made[str(f.relative_to(NBS))] = f.read_bytes()
    for name, content in made.items(): files.append(File.generated(config, name, content=content))
    return files


def mathml(tex, display):
    from latex2mathml.converter import convert
    return convert(tex, display="block" if display else "inline")


def on_page_content(content, page, **kwargs):
    "Only HTML that may stay; formulas as MathML: every browser draws it, without a script or a font from elsewhere."
    from anchoral.teach.figure1 import figure1_html
    content = sanitised(content).replace(f"<p>{FIGURE_1}</p>", figure1_html())
    inline = lambda text: re.sub(r"\\\((.*?)\\\)", lambda m: mathml(html.unescape(m[1]), False), text, flags=re.S)
    def headings(items):
        for item in items:
            item.title = inline(item.title)
            headings(item.children)
    headings(page.toc.items)
    content = re.sub(r'<span class="arithmatex">(.*?)</span>', lambda m: inline(m[1]), content, flags=re.S)
    shown = lambda m: mathml(html.unescape(m[1]).strip(), True)
    return re.sub(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', shown, content, flags=re.S)


def on_post_page(output, page, config):
    "What the theme would fetch from elsewhere when a page is opened without a server is kept beside the pages."
    return output.replace("https://unpkg.com/iframe-worker/shim", "../" * page.url.count("/") + "iframe-worker.js")
