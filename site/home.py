"""The pages that no notebook makes: the home, from README's own cells, and every figure in the paper's order."""
import html
import io
import re
from pathlib import Path

from convert import NBS, ROOT, page, picture

FIGURES = ROOT/"figures"
HIDE = "---\nhide: [navigation, toc]\n---\n\n"
ORDER = ["fig1", "fig2", "fig3", "fig4", "table1", "table2", "table3", "table4", "table5", "wordnet", "replication",
         "claims", "missed-cluster", "open", "benchmark"]  # the paper's, then what the paper has not
PROFILES = ["wordnet", "finetune", "offline", "quick"]  # of one figure, first the one at the paper's size
WHERE = {"replication": "claims", "benchmark": "../benchmarks/speed"}  # the page, where its name is another


def part(found, what):
    "What was looked for in README's notebook; the home says which part of it is gone."
    assert found, f"the home takes {what} from nbs/index.ipynb, and it is not there any more: see site/home.py"
    return found


def paths():
    "The three readers of start.md, each a card with the pages of the path."
    said = (Path(__file__).parent/"pages/start.md").read_text(encoding="utf-8")
    cards = []
    for name, about, steps in re.findall(r"^## (.+)\n\n(.+)\n\n((?:\d+\. .+\n)+)", said, re.M):
        slug = re.sub(r"[^a-z]+", "-", name.lower())
        pages = "".join(f"{m}\n" for m in re.findall(r"^\d+\. \[.+?\]\(.+?\)", steps, re.M))
        cards.append(f'<section markdown="1">\n\n## [{name}](start.md#{slug})\n\n{about}\n\n{pages}\n</section>')
    return '<div class="paths" markdown="1">\n\n' + "\n\n".join(cards) + "\n\n</div>"


def home(files):
    "The answer and Figure 2, then three paths, then the rest of README."
    intro, *rest = re.split(r"^(?=## )", page(NBS/"index.ipynb", files), flags=re.M)
    sections = {re.match(r"## (.+)", s)[1]: s for s in rest}
    answered = part(sections.pop("Did it replicate?", ""), "the section “Did it replicate?”")
    sections.pop("Three ways in", None)
    answer = part(re.search(r"^(?![#|<]).{80,}$", answered, re.M), "the answer")[0]
    figure = part(re.search(r"(<img [^>]+>)\s+\*(.+?)\*\s*$", answered, re.M), "Figure 2 and its caption")
    headed = re.match(r"(#[^\n]+\n+[^\n]+\n\{ \.subtitle \}\n)(.+)", intro, re.S)
    title, about = part(headed, "title and introduction").groups()
    more = answered.replace(answer, "").replace(figure[0], "").replace("## Did it replicate?", "## The claims", 1)
    alt = re.search(r'alt="([^"]*)"', figure[1])[1]
    src = re.search(r'src="([^"]*)"', figure[1])[1]
    image = picture(src, (FIGURES/Path(src).name).read_bytes(), html.unescape(alt), 700)
    hero = (f'<div class="hero" markdown="1">\n<div markdown="1">\n\n## Did it replicate?\n\n{answer}\n\n'
            "[Every claim and verdict](paper/claims.md){ .md-button }\n\n</div>\n"
            f"<figure>\n{image}\n<figcaption>{figure[2]}</figcaption>\n</figure>\n</div>")
    return HIDE + "\n\n".join([title.strip(), hero, paths(), about.strip(), more, *sections.values()])


def rank(name):
    "Where a file comes: by the paper's order, then by profile, then by name."
    own = [k for k, start in enumerate(ORDER) if name.startswith(start)]
    profile = [k for k, p in enumerate(PROFILES) if f"-{p}" in name]
    return (own[0] if own else len(ORDER), profile[0] if profile else len(PROFILES), name)


def named(name):
    "A file's name in words: `fig2-quick-gaps` is “Figure 2: quick gaps”."
    start, *more = name.split("-")
    start = re.sub(r"^fig(?=\d)", "Figure ", start)
    start = re.sub(r"^table(?=\d)", "Table ", start)
    if not re.search(r"\d", start): return name.replace("-", " ").capitalize()
    return start + (f": {' '.join(more)}" if more else "")


def made_by(name):
    "The page that makes a file, as a link."
    start = ORDER[rank(name)[0]] if rank(name)[0] < len(ORDER) else ""
    page_ = f"paper/{WHERE.get(start, start)}.md".replace("paper/../", "")
    return f"[how it is made]({page_})" if (NBS/page_).with_suffix(".ipynb").exists() else ""


def also(name, kinds):
    "Links to the other forms of a figure or table."
    there = [f"[{kind.upper()}](figures/{name}.{kind})" for kind in kinds if (FIGURES/f"{name}.{kind}").exists()]
    return " · ".join(filter(None, [made_by(name), *there]))


def drawn(name):
    "One figure at its own size: 200 dots an inch, shown at 90."
    from PIL import Image
    png = (FIGURES/f"{name}.png").read_bytes()
    about = Image.open(io.BytesIO(png)).text.get("Description", "") or named(name)
    image = picture(f"figures/{name}.png", png, about, int.from_bytes(png[16:20], "big") / 2)
    return f"## {named(name)} {{ #{name} }}\n\n{image}\n\n{also(name, ['png', 'pdf'])}"


def tabulated(name):
    "One table."
    body = re.search(r"<table.*</table>", (FIGURES/f"{name}.html").read_text(encoding="utf-8"), re.S)
    rows = "\n".join(line.strip() for line in body[0].splitlines() if line.strip())
    return (f'## {named(name)}, table {{ #{name}-table }}\n\n<div class="output">\n{rows}\n</div>\n\n'
            f"{also(name, ['csv', 'tex'])}")


def gallery():
    "Every figure and table of the repository, in the paper's order, behind small pictures."
    pictures = sorted((p.stem for p in FIGURES.glob("*.png")), key=rank)
    tables = sorted((p.stem for p in FIGURES.glob("*.html")), key=rank)
    small = "\n".join(f'<a href="#{name}"><img alt="Preview of" src="figures/{name}.png" width="160">{named(name)}</a>'
                      for name in pictures)
    names = " · ".join(f"[{named(name)}](#{name}-table)" for name in tables)
    parts = sorted([*((rank(n), 0, drawn(n)) for n in pictures), *((rank(n), 1, tabulated(n)) for n in tables)])
    return "\n\n".join(["# Figures and tables",
                        "Everything in `figures`, in the order of the paper, drawn from the saved results by "
                        "`make figures`; experiments never draw, and figures never train\n{ .subtitle }",
                        f'<div class="thumbnails">\n{small}\n</div>', f"Tables: {names}.", *(p[2] for p in parts)])


def card():
    "The picture that other sites show beside a link to this one, 1200 by 630."
    import matplotlib.image
    from matplotlib.figure import Figure
    fig = Figure(figsize=(12, 6.3), dpi=100, facecolor="white")
    fig.text(.04, .86, "anchoral", fontsize=46, weight="bold", color="#303f9f")
    fig.text(.04, .78, "Find a rare class in a large pool of texts: AnchorAL beside its code, tested claim by claim",
             fontsize=18, color="#333333")
    axes = fig.add_axes((.04, .02, .92, .72))
    axes.imshow(matplotlib.image.imread(FIGURES/"fig2-wordnet.png"))
    axes.set_axis_off()
    out = io.BytesIO()
    fig.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
