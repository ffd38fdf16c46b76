"""The site: built without a network, whole, and read in a browser along the path it proposes."""
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from chrome import page

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site in a folder, made as `make site` makes it;
    where the system can, in a network name space without a network."""
    out = tmp_path_factory.mktemp("site")
    alone = ["unshare", "-rn"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True).returncode: alone = []
    done = subprocess.run([*alone, sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet",
                           "-f", "site/mkdocs.yml", "-d", str(out)], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"})
    assert done.returncode == 0, done.stderr[-3000:]
    return out


class Page(HTMLParser):
    "What a page links to, shows, and says outside of code and formulas."
    VOID = {"img", "link", "meta", "br", "hr", "input", "source", "area", "base", "col", "embed", "track", "wbr"}

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.images = set(), [], [], []
        self.text, self.formulas, self.quiet = [], 0, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ("id", "name") if a.get(k)}
        if tag == "a" and a.get("href"): self.links.append(a["href"])
        if tag in ("img", "script", "iframe", "source") and a.get("src"): self.loads.append(a["src"])
        if tag == "link" and a.get("rel") in ("stylesheet", "icon", "preload", "preconnect") and a.get("href"):
            self.loads.append(a["href"])
        if tag == "img": self.images.append((a.get("src"), a.get("alt")))
        self.formulas += tag == "math"
        if tag in ("code", "pre", "script", "style", "math", "title") and tag not in self.VOID: self.quiet.append(tag)

    def handle_endtag(self, tag):
        if self.quiet and self.quiet[-1] == tag: self.quiet.pop()

    def handle_data(self, data):
        if not self.quiet: self.text.append(data)


@pytest.fixture(scope="module")
def pages(site): return {p: Page(p) for p in sorted(site.rglob("*.html"))}


def test_every_notebook_module_and_figure_has_its_place(site, pages):
    folders = ("nbs", "paper", "tutorials", "study", "annotator", "teach", "benchmarks")
    for nb in (ROOT/"nbs").rglob("*.ipynb"):
        if ".ipynb_checkpoints" not in nb.parts and nb.parent.name in folders:
            assert (site/nb.relative_to(ROOT/"nbs").with_suffix(".html")) in pages, nb
    for module in (ROOT/"anchoral").rglob("[a-z]*.py"):
        name = ".".join(module.relative_to(ROOT/"anchoral").with_suffix("").parts)
        assert site/f"api/{name}.html" in pages, module
    shown = {Path(src).name for src, _ in pages[site/"figures.html"].images}
    assert {p.name for p in (ROOT/"figures").glob("*.png")} <= shown
    assert "AnchorAL's subpool (Algorithm 1, lines 3-9)." in "".join(pages[site/"api/filters.html"].text)
    assert "Neighbours per anchor" in "".join(pages[site/"api/filters.html"].text)


def test_no_broken_link_and_nothing_from_elsewhere(site, pages):
    for path, p in pages.items():
        if path.name == "404.html": continue
        for src in p.loads: assert not re.match(r"(https?:)?//", src), f"{path.name} loads {src}"
        for target in [*p.links, *p.loads]:
            if re.match(r"[a-z]+:", target): continue
            where, _, anchor = unquote(target).partition("#")
            there = (path.parent/where).resolve() if where else path
            assert there.is_file(), f"{path.relative_to(site)} links to {target}"
            if anchor and there in pages:
                known = anchor in pages[there].ids or anchor.startswith("__")
                assert known, f"{path.relative_to(site)} links to {target}"
        assert not [src for src, alt in p.images if not alt], f"{path.name} has a picture without words"


NOTEBOOKS = sorted(p for p in (ROOT/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def outputs(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for out in cell.get("outputs", []): yield out.get("data", {})


def article_of(page): return re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.S)[0]


def test_one_picture_on_the_page_for_every_picture_in_the_notebook(site):
    total = 0
    for path in NOTEBOOKS:
        held = sum("image/png" in data for data in outputs(path))
        prose = "".join("".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
                        if c["cell_type"] == "markdown")
        held += len(re.findall(r"!\[|<img ", prose))
        page = site/path.relative_to(ROOT/"nbs").with_suffix(".html")
        shown = re.findall(r"<img [^>]*>", article_of(page))
        assert len(shown) == held, f"{path.name} holds {held} pictures, its page shows {len(shown)}"
        for image in shown: assert (page.parent/unquote(re.search(r'src="([^"]+)"', image)[1])).is_file(), image
        total += held
    assert total > 70


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_saved_output_is_a_figure_without_its_picture(path):
    for data in outputs(path):
        said = "".join(data.get("text/plain", ""))
        assert not said.startswith("<Figure size") or "image/png" in data, f"%matplotlib inline is missing: {said}"


def test_paper_pages_are_sharp(site):
    "Where a figure is also in `figures`, the page shows that file, which has more dots."
    import struct
    for path in sorted((site/"paper").glob("*.html")):
        for image in re.findall(r"<img [^>]*>", article_of(path)):
            src, width = re.search(r'src="([^"]+)"', image)[1], int(re.search(r'width="(\d+)"', image)[1])
            dots = struct.unpack(">I", (path.parent/src).read_bytes()[16:20])[0]
            assert dots >= 2 * width, f"{path.name}: {src} has {dots} dots for {width}"
            words = re.search(r'alt="([^"]+)"', image)[1]
            assert "code above" not in words, f"{path.name}: {src} is not described"


def test_paper_pages_show_results_first(site):
    for path in sorted((site/"paper").glob("*.html")):
        article = article_of(path)
        unfolded = re.sub(r'<details class="code".*?</details>', "", article, flags=re.S)
        assert "The code of this result" not in unfolded and not re.search(r'<span class="kn">', unfolded), path.name
        if '<details class="code"' in article and '<div class="output"' in article:
            assert "The code of this result" in article, path.name


def test_figures_in_the_papers_order(site):
    names = re.findall(r'<a href="#([\w-]+)"><img', article_of(site/"figures.html"))
    assert len(names) == len(list((ROOT/"figures").glob("*.png")))
    numbered = [n[:4] for n in names if re.match(r"fig\d", n)]
    assert numbered == sorted(numbered) and names[:len(numbered)] == [n for n in names if re.match(r"fig\d", n)]
    below = re.findall(r'<h2 id="([\w-]+)"', article_of(site/"figures.html"))
    assert [n for n in below if not n.endswith("-table")] == names
    assert "how it is made" in article_of(site/"figures.html")


def test_every_chapter_names_its_lines_of_algorithm_1(site, pages):
    for path in sorted(site.glob("0*.html")):
        assert re.search(r'class="algorithm".*?href="algorithm\.html#([\w-]+)"', article_of(path), re.S), path.name
        assert path.name in {link.partition("#")[0] for link in pages[site/"algorithm.html"].links}, path.name


def test_repository_logo_card_and_next_page(site, pages):
    for name in ("index", "paper/fig2", "04_filters"):
        text = (site/f"{name}.html").read_text(encoding="utf-8")
        up = "../" * name.count("/")
        assert f'content="{up}social.png"' in text and f'href="{up}favicon.svg"' in text, name
        assert re.search(r'<a href="https://[^"]+" title="[^"]+" class="md-source">', text), name
        assert "md-footer__link--next" in text and (name == "index" or "md-footer__link--prev" in text), name
    assert f"{up}logo.svg" in text and "api.github.com" not in text
    assert (site/"social.png").read_bytes()[16:24] == (1200).to_bytes(4, "big") + (630).to_bytes(4, "big")


def test_the_repositorys_address(monkeypatch):
    code = "import sys; sys.path.insert(0, 'site'); import hooks; print(*hooks.repository(), sep='|')"
    ask = lambda **env: subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                                       env=os.environ | {"REPO_URL": "", "GITHUB_REPOSITORY": ""} | env).stdout.strip()
    assert ask(REPO_URL="https://example.org/a/b") == "https://example.org/a/b|Repository"
    assert ask(GITHUB_REPOSITORY="a/b") == "https://github.com/a/b|Repository"
    assert ask().startswith("https://")


def test_every_formula_is_rendered(pages):
    for path, p in pages.items():
        said = " ".join(p.text)
        left = re.findall(r"\$[^$\n]{1,80}\$|\\\(|\\\[|\\(?:mathcal|tilde|text|frac|sum|Gamma|Phi)\b", said)
        assert not left and "merror" not in path.read_text(encoding="utf-8"), f"{path.name}: {left[:3]}"
    assert sum(p.formulas for p in pages.values()) > 100


def whole(tab):
    "Are all pictures loaded and all formulas drawn?"
    tab.wait_for_function("[...document.images].every(i => i.complete)")
    return tab.evaluate("""() => [...document.images].filter(i => !i.naturalWidth).map(i => i.src)
        .concat([...document.querySelectorAll('.md-content math')]
            .filter(m => !m.closest('details:not([open])') && !m.getBoundingClientRect().width)
            .map(m => m.textContent))""")


def test_a_reader_follows_the_path(site):
    """From a folder, without a server: each page of the reading path, by clicking; then search;
    then the interactive figure."""
    with page(1280) as (tab, wrong):
        tab.goto(f"file://{site}/index.html")
        tab.locator(".md-tabs").get_by_role("link", name="Where to begin").click()
        tab.wait_for_url("**/start.html")
        path = tab.locator("article ol li a, article > p a").all()
        titles = [a.inner_text() for a in path]
        assert len(titles) >= 18
        for k in range(len(titles)):
            tab.locator("article ol li a, article > p a").nth(k).click()
            tab.wait_for_url(lambda url: "start.html" not in url)
            assert tab.locator("article h1").count() and whole(tab) == [], titles[k]
            tab.go_back()
            tab.wait_for_url("**/start.html")
        tab.get_by_role("textbox", name="Search").click()
        tab.keyboard.type("anchors")
        tab.locator(".md-search-result__link").first.wait_for()
        assert tab.locator(".md-search-result__link").count() > 2

        tab.goto(f"file://{site}/teach/figure1.html")
        slider = tab.get_by_role("slider", name="Iteration")
        says = tab.locator(".anchoral-figure1 .says")
        assert "No-Op, iteration 0" in says.nth(0).inner_text()
        assert "AnchorAL, iteration 0: 18 labelled" in says.nth(1).inner_text()
        slider.focus()
        for _ in range(3): tab.keyboard.press("ArrowRight")
        assert "iteration 3" in says.nth(1).inner_text() and "3 of 3 clusters" in says.nth(1).inner_text()
        assert "1 of 3" in says.nth(0).inner_text()
        tab.get_by_label("Filter on the left").select_option("seals")
        assert "SEALS, iteration 3" in says.nth(0).inner_text()
        assert tab.locator(".anchoral-figure1 svg.plane circle").count() > 2000
        assert not wrong


def walked(site):
    "Home, the pages of the three paths, every paper page and every tutorial."
    path = re.findall(r'href="([^":#]+\.html)', article_of(site/"start.html"))
    rooms = [str(p.relative_to(site)) for room in ("paper", "tutorials") for p in sorted((site/room).glob("*.html"))]
    return list(dict.fromkeys(["index.html", "start.html", "algorithm.html", *path, *rooms]))


# how far each thing reaches over the page's right edge, unless it is in a box that scrolls or is cut
BEYOND = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
        && !e.closest('.table, pre, math, .md-typeset__scrollwrap')).map(e => e.outerHTML.slice(0, 120))
    .concat(['the page is ' + document.documentElement.scrollWidth + ' wide']).slice(-3)"""


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_a_reader_walks(site, width):
    "No missing picture, no error, and nothing wider than the screen."
    with page(width, 844) as (tab, wrong):
        tab.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
        for name in walked(site):
            tab.goto(f"file://{site}/{name}")
            assert whole(tab) == [], name
            assert tab.evaluate(BEYOND) == [], name
            assert wrong == [], name


CARDS = """() => [...document.querySelectorAll('table.cards')].map(t => {
    const cell = t.querySelector('tbody tr > :nth-child(2)');
    return [getComputedStyle(cell).display, getComputedStyle(cell, '::before').content.replaceAll('"', ''),
            cell.dataset.label, t.getBoundingClientRect().width <= innerWidth, cell.getAttribute('role')]; })"""


def test_wide_tables_are_cards_on_a_phone(site):
    "Each cell stands beside the name of its column, and a screen reader still hears a table."
    for width, display in ((390, "grid"), (1280, "table-cell")):
        with page(width, 844) as (tab, wrong):
            tab.goto(f"file://{site}/paper/claims.html")
            found = tab.evaluate(CARDS)
            assert len(found) >= 5 and not wrong
            for is_shown_as, before, name, fits, role in found:
                assert is_shown_as == display and role == "cell" and name
                assert (before == name) == (width == 390)
                assert fits or width == 1280


def test_home_has_the_answer_and_figure_2_above_the_fold(site):
    with page(1280, 900) as (tab, wrong):
        tab.goto(f"file://{site}/index.html")
        for what in (tab.get_by_role("heading", name="Did it replicate?"), tab.locator(".hero p").first,
                     tab.locator(".hero figure img")):
            box = what.bounding_box()
            assert box["height"] > 20 and box["y"] + box["height"] <= 900, (what, box)
        cards = tab.locator(".paths section")
        assert cards.count() == 3 and all(card.locator("ol a").count() >= 5 for card in cards.all())
        assert cards.first.bounding_box()["y"] < 1000 and not wrong


@pytest.mark.parametrize("word, wanted", [("replicate", ("index", "claims", "answer")), ("exercise", ("exercises",)),
                                          ("annotate", ("session", "widget", "bring-your-own-data"))])
def test_search_finds_the_page(site, word, wanted):
    "Among the first three results."
    with page(1280) as (tab, wrong):
        tab.goto(f"file://{site}/start.html")
        tab.get_by_role("textbox", name="Search").click()
        tab.keyboard.type(word)
        tab.locator(".md-search-result__link").first.wait_for()
        found = [a.get_attribute("href") for a in tab.locator("a.md-search-result__link:has(h1)").all()[:3]]
        assert [href for href in found if Path(href.partition("?")[0].partition("#")[0]).stem in wanted], found


# accessible: contrast, keyboard, motion

CONTRAST = (ROOT/"tests/contrast.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(site, scheme):
    "4.5 to 1 for text, 3 to 1 for large text (WCAG 2, AA), in the theme's own colours as the browser computes them."
    with page(1280) as (tab, _):
        tab.emulate_media(color_scheme=scheme)
        for name in ("index", "start", "figures", "paper/claims", "04_filters", "teach/figure1", "api/filters"):
            tab.goto(f"file://{site}/{name}.html")
            tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert tab.evaluate(CONTRAST) == [], f"{name}, {scheme}"


def focused(tab):
    "What the keyboard is on, as a screen reader names it."
    said = """() => { const e = document.activeElement;
        return e.getAttribute('aria-label') || e.textContent || e.closest('label')?.textContent || e.tagName }"""
    return tab.evaluate(said).strip()


def test_an_experiment_is_done_by_keyboard(site):
    "Question, choice, button; then the slider, whose state is said; then the two filters."
    with page(1280) as (tab, wrong):
        tab.goto(f"file://{site}/teach/figure1.html")
        box = tab.locator("#figure1-path-dependence")
        assert box.locator("svg").count() == 0, "the answer is not drawn before the prediction"
        box.get_by_role("group").get_by_role("radio").first.focus()
        assert box.get_by_role("button", name="Show what happens").is_disabled()
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("Tab")
        assert focused(tab) == "Show what happens"
        tab.keyboard.press("Enter")
        assert box.get_by_role("status").inner_text().startswith("You said: two. It is: one.")
        slider = box.get_by_role("slider", name="Iteration")
        assert focused(tab) == "Iteration"
        tab.keyboard.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "iteration 1 of 8"
        assert "iteration 1" in box.locator("figcaption[aria-live=polite]").first.inner_text()
        order = []
        for _ in range(2):
            tab.keyboard.press("Tab")
            order.append(focused(tab))
        assert order == ["Filter on the left", "Filter on the right"] and not wrong
        assert "No-Op, iteration 1" in box.get_by_role("img").first.get_attribute("aria-label")


def test_every_experiment_shows_what_it_promises(site):
    with page(390) as (tab, wrong):
        tab.goto(f"file://{site}/teach/figure1.html")
        for name, part in (("missed-clusters", "svg.worlds"), ("turnover", "svg.bars"),
                           ("anchors-and-neighbours", "svg.worlds")):
            box = tab.locator(f"#figure1-{name}")
            box.get_by_role("radio").last.check()
            box.get_by_role("button", name="Show what happens").click()
            assert re.match(r"Yes\.|You said", box.get_by_role("status").inner_text())
            assert box.locator(part).count() and box.locator(part).first.get_attribute("aria-label")
        assert tab.evaluate(BEYOND) == [] and not wrong


def test_who_wants_less_motion_steps(site):
    with page(1280) as (tab, _):
        tab.emulate_media(reduced_motion="reduce")
        tab.goto(f"file://{site}/teach/figure1.html")
        box = tab.locator("#figure1")
        step = box.get_by_role("button", name="Next")
        step.click()
        assert box.get_by_role("slider").get_attribute("aria-valuetext") == "iteration 1 of 8"
        assert tab.evaluate("getComputedStyle(document.querySelector('.md-header')).transitionDuration") == "0s"


# what an output may bring onto a page

def sanitised(text):
    spec = importlib.util.spec_from_file_location("sanitise", ROOT/"site/sanitise.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sanitised(text)


@pytest.mark.parametrize("evil", [
    "<script>EVIL</script>", "<SCRIPT>EVIL</SCRIPT>", "<ScRiPt >EVIL</sCrIpT >", "<script src=//EVIL></script>",
    "<script>EVIL", "<script>EVIL</scr", "<script\n>EVIL</script\n>", "<script>a</script><script>EVIL",
    "<scr<script>a</script>ipt>EVIL</script>", "<style>EVIL</STYLE>", "<STYLE>@import 'EVIL'",
    "<iframe src=EVIL></iframe>", "<IFRAME srcdoc='EVIL'>", "<object data=EVIL>EVIL</object>", "<embed src=EVIL>",
    "<svg><script>EVIL</script></svg>", "<svg onload=EVIL>", "<svg><animate href=EVIL>", "<math href=EVIL>EVIL</math>",
    "<link rel=stylesheet href=EVIL>", "<meta http-equiv=refresh content=EVIL>", "<base href=EVIL>",
    "<form action=EVIL><input name=EVIL></form>", "<template>EVIL</template>", "<noscript>EVIL</noscript>",
    "<img src=x onerror=EVIL>", "<IMG SRC=x OnErRoR=EVIL>", "<img src=x onerror='EVIL'", "<img src='x'/onerror=EVIL>",
    "<div onclick=EVIL>x</div>", "<p onmouseover = \"EVIL\">x</p>", "<details ontoggle=EVIL open>x</details>",
    "<a href=javascript:EVIL>x</a>", "<a href='JaVaScRiPt:EVIL'>x</a>", "<a href='java\nscript:EVIL'>x</a>",
    "<a href='&#106;avascript:EVIL'>x</a>", "<a href=' \x01javascript:EVIL'>x</a>",
    "<a href='data:text/html,EVIL'>x</a>",
    "<a href=vbscript:EVIL>x</a>", "<a href='javascript&colon;EVIL'>x</a>",
    "<img src='http://EVIL'>", "<img src='//EVIL'>", "<img src='\\\\EVIL'>", "<img src='data:image/svg+xml,EVIL'>",
    "<p style='background:url(EVIL)'>x</p>", "<p style='background:u\\72l(EVIL)'>x</p>",
    "<p style='position:fixed;content:EVIL'>x</p>", "<!-- EVIL -->", "<!--EVIL", "<![CDATA[EVIL]]>", "<?EVIL?>",
    "<textarea>EVIL</textarea>", "<title>EVIL</title>", "<xmp>EVIL</xmp>", "<plaintext>EVIL",
])
def test_what_could_act_is_stripped(evil):
    for text in (evil, f"<div>before {evil}</div>", f"<table><tr><td>{evil}"):
        out = sanitised(text)
        live = Live(out)
        assert not live.wrong, f"{text} became {out}"
        assert live.open == [], f"{out} leaves its box"


class Live(HTMLParser):
    "What would act, in the eyes of a browser: elements, attributes and addresses with EVIL in them."
    def __init__(self, text):
        super().__init__()
        self.wrong, self.open = [], []
        self.feed(text + "</div><b>the rest of the page</b>")
        self.close()
        self.open = [tag for tag in self.open if tag not in ("b",)]

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "style", "iframe", "svg", "math", "object", "embed", "link", "meta", "base", "form",
                   "input", "template", "noscript", "textarea", "title", "xmp", "plaintext"): self.wrong.append(tag)
        self.wrong += [(k, v) for k, v in attrs if k.startswith("on") or "EVIL" in (v or "")]
        if tag not in Page.VOID: self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag: self.open.pop()


@pytest.mark.parametrize("good", [
    '<table class="dataframe"><tr style="text-align: right;"><th scope="col" colspan="2">a &amp; b</th></tr></table>',
    '<p>1 &lt; 2 &#160; &para;</p>', '<a href="04_filters.html#seals" title="x">y</a><br>',
    '<img alt="A &quot;panel&quot;" src="04_files/1.png" width="860">', '<details open><summary>s</summary>t</details>',
    '<a href="https://aclanthology.org/2024.naacl-long.467">paper</a>', '<img src="data:image/png;base64,AAAA">',
    '<span class="arithmatex">\\(a &lt; b\\)</span>', '<pre><span></span><code>x\n\n  y</code></pre>',
])
def test_what_a_page_needs_stays_to_the_letter(good):
    assert sanitised(good) == good and sanitised(sanitised(good)) == good


def test_an_unclosed_output_stays_in_its_box():
    assert sanitised("</div></td>a<b><i>x</b>") == "a<b><i>x</i></b>"
    assert sanitised("a < b <c> d <img") == "a &lt; b  d &lt;img"


def test_outputs_of_a_notebook_are_sanitised():
    code = ("import sys; sys.path.insert(0, 'site'); import convert; "
            "o = {'data': {'text/html': ['<SCRIPT>EVIL</SCRIPT>', '<b onclick=EVIL>ok</b>', '<script>EVIL']}}; "
            "print(convert.output(o, 'a', {}, 'alt'))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "<b>ok</b>", done.stderr


def test_only_our_own_scripts_are_on_pages(site):
    "In the part of a page that a notebook fills, the slider of Figure 1 alone brings a script."
    for path in site.rglob("*.html"):
        article = re.search(r"<article.*?</article>", path.read_text(encoding="utf-8"), re.S)
        scripts = len(re.findall(r"<script", article[0], re.I)) if article else 0
        assert not scripts or "anchoral-figure1" in article[0], path
