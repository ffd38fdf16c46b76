"""The site: built without a network, whole, and read in a browser along the path it proposes."""
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
    folders = ("nbs", "paper", "tutorials", "experiments", "benchmarks")
    for nb in (ROOT/"nbs").rglob("*.ipynb"):
        if ".ipynb_checkpoints" not in nb.parts and nb.parent.name in folders:
            assert (site/nb.relative_to(ROOT/"nbs").with_suffix(".html")) in pages, nb
    for module in (ROOT/"anchoral").glob("[a-z]*.py"): assert site/f"api/{module.stem}.html" in pages, module
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

        tab.goto(f"file://{site}/19_explore.html")
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
