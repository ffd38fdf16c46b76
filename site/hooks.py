"""What mkdocs calls: the navigation from the notebooks' titles, the pages, and one page per module for the API."""
import html
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from mkdocs.structure.files import File

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from convert import AROUND, NBS, ROOT, block, notebooks, page, title  # noqa: E402
from dress import dressed, inline  # noqa: E402
from home import card, gallery, home  # noqa: E402
from sanitise import sanitised  # noqa: E402

SECTIONS = {"Paper": "paper", "Tutorials": "tutorials", "Study": "study", "Annotator": "annotator", "Teach": "teach",
            "Benchmarks": "benchmarks"}
FIRST = {"Paper": ["fig1", "fig2", "fig3", "fig4", "wordnet", "table1", "table2", "table3", "table4", "table5"],
         "Tutorials": ["why-rare", "one-page", "bring-your-own-data", "your-own-filter", "exercises", "solutions",
                       "homework", "teaching-plan", "lecture-1", "lecture-2"],
         "Study": ["config", "runs", "run", "results", "measures", "profiles", "grid", "cluster", "gpu", "verify",
                   "replay", "looks", "figures", "evidence", "typeset", "tables", "statistics", "claims", "printed",
                   "first_rule", "second_rule", "forest", "answer"],
         "Annotator": ["log", "growth", "session", "deliver", "audit", "stopping", "exchange", "formats", "team",
                       "desk", "widget"]}
GLOSSARY = "paper/glossary.md"


def api(name):
    "A module's page: every public function with its parameters and what is written beside them."
    from fastcore.docments import docments
    module = import_module(f"anchoral.{name}")
    out = [f"# anchoral.{name}", f"{(module.__doc__ or '').strip()}\n{{ .subtitle }}"]
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


def modules():
    "The modules that notebooks export, the book first."
    found = [re.search(r"#\| default_exp ([\w.]+)", p.read_text(encoding="utf-8")) for p in notebooks().values()]
    return [m[1] for m in found if m]


def repository():
    """(address, name) of the repository: `$REPO_URL`, or what GitHub's runners say, or where this clone came from;
    a clone of a folder has only the authors' code to name."""
    here = os.environ.get("GITHUB_REPOSITORY", "")
    url = os.environ.get("REPO_URL") or (f"https://github.com/{here}" if here else "")
    if not url:
        asked = subprocess.run(["git", "-C", ROOT, "remote", "get-url", "origin"], capture_output=True, text=True)
        url = asked.stdout.strip().removesuffix(".git")
    if url.startswith("https://"): return url, "Repository"
    metadata = (ROOT/"settings.ini").read_text(encoding="utf-8")
    return re.search(r"^authors_code = (\S+)", metadata, re.M)[1], "The authors' code"


def on_config(config):
    "The navigation, from the notebooks' titles."
    pages = notebooks()
    sections = {name: [(title(p), k) for k, p in pages.items() if Path(k).parent.name == folder]
                for name, folder in SECTIONS.items()}
    for name, first in FIRST.items():
        sections[name].sort(key=lambda e: first.index(Path(e[1]).stem) if Path(e[1]).stem in first else len(first))
    library = [{f"{Path(k).stem[:2]} {title(p)}": k} for k, p in pages.items() if k[0].isdigit()]
    library += [{"Algorithm 1": "algorithm.md"}, *({title(pages[f"{name}.md"]): f"{name}.md"} for name in AROUND)]
    sections["Paper"].insert(0, ("Figures and tables", "figures.md"))
    sections["Paper"] = [entry for entry in sections["Paper"] if entry[1] != GLOSSARY]
    reference = [{"Modules": "api/modules.md"}, *({f"anchoral.{m}": f"api/{m}.md"} for m in modules())]
    config.nav = [{"Home": "index.md"}, {"Where to begin": "start.md"}, {"Library": library},
                  *({name: [{t: k} for t, k in found]} for name, found in sections.items() if found),
                  {"Glossary": GLOSSARY}, {"API": reference}]
    config.repo_url, config.repo_name = repository()
    return config


def on_files(files, config):
    "The pages and pictures, none of which is kept in the repository."
    made = {}
    for name, notebook in notebooks().items():
        made[name] = page(notebook, made) if notebook.stem != "index" else home(made)
    for m in modules(): made[f"api/{m}.md"] = "---\nsearch: {boost: 0.5}\n---\n\n" + api(m)
    about = {m: (import_module(f"anchoral.{m}").__doc__ or "").strip() for m in modules()}
    made["api/modules.md"] = ("# Modules\n\nOne page per module, in reading order\n{ .subtitle }\n\n"
                              + "\n".join(f"- [anchoral.{m}]({m}.md): {says}" for m, says in about.items()))
    made["figures.md"] = gallery()
    made["social.png"] = card()
    for f in sorted((ROOT/"figures").iterdir()):
        if f.suffix in (".png", ".pdf", ".csv", ".tex"): made[f"figures/{f.name}"] = f.read_bytes()
    for f in NBS.rglob("*.png"):
        if ".ipynb_checkpoints" not in f.parts: made[str(f.relative_to(NBS))] = f.read_bytes()
    for name, content in made.items(): files.append(File.generated(config, name, content=content))
    return files


def on_page_content(content, page, **kwargs):
    "Only HTML that may stay; then what we add ourselves."
    def headings(items):
        for item in items:
            item.title = inline(item.title)
            headings(item.children)
    headings(page.toc.items)
    return dressed(sanitised(content))


def on_post_page(output, page, config):
    """What the theme would fetch from elsewhere when a page is opened without a server is kept beside the pages;
    and what other sites read when somebody links to this one."""
    up = "../" * page.url.count("/")
    at = config.site_url or up  # a card needs a whole address, which only the site's owner knows
    say = lambda name, value: f'<meta property="og:{name}" content="{html.escape(value)}">'
    about = [say("title", f"{page.title} · {config.site_name}"), say("type", "article"),
             say("description", config.site_description), say("image", f"{at}social.png"),
             say("image:alt", "anchoral, and Figure 2 as it was run here"),
             '<meta name="twitter:card" content="summary_large_image">']
    output = output.replace("</head>", "\n".join([*about, "</head>"]), 1)
    return output.replace("https://unpkg.com/iframe-worker/shim", f"{up}iframe-worker.js")
