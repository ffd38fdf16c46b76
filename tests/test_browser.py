"""The annotator in a browser: its module against a stand-in for the kernel, and the whole of it in JupyterLab."""
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from chrome import page

import anchoral
from anchoral.annotator.log import Book, read_log
from anchoral.annotator.session import keys_of

STATIC = Path(anchoral.__file__).with_name("static")
VIEW = dict(seq=0, id=7, text="<b>not bold</b>", kind="model", iteration=2, place=[1, 4], classes=["other", "rare"],
            minority=[1], labels=[], known=0, pool=99, waited=0.0, waiting=False, message="")

STAND_IN = """
import annotate from "/annotate.js";
const heard = {}, sent = window.sent = [];
let view = %s;
window.model = { get: () => view, on: (name, f) => (heard[name] = f), off: () => {}, send: m => sent.push(m) };
window.set = v => { view = { ...view, ...v }; heard["change:view"](); };
window.tell = m => heard["msg:custom"](m);
window.leaked = 0;
document.addEventListener("keydown", () => window.leaked++);
window.again = () => { annotate.render({ model: window.model, el: document.getElementById("here") }); };
window.again();
"""


@pytest.fixture(scope="class")
def blank():
    "One browser for the tests of the module."
    with page() as (tab, wrong):
        files = {"/": ("text/html", '<!doctype html><link rel="icon" href="data:,"><div id="here"></div>'
                                    '<script type="module" src="/test.js"></script>'),
                 "/test.js": ("text/javascript", STAND_IN % json.dumps(VIEW)),
                 "/annotate.js": ("text/javascript", (STATIC/"annotate.js").read_text())}
        def serve(route):
            kind, body = files[re.sub("^https?://[^/]+", "", route.request.url)]
            route.fulfill(content_type=kind, body=body)
        tab.route("**/*", serve)
        yield tab, wrong


@pytest.fixture
def tab(blank):
    "The module on a blank page; `sent` is what it sends to the kernel."
    tab, wrong = blank
    tab.goto("http://127.0.0.1/")
    tab.get_by_role("group", name="Annotator").wait_for()
    yield tab
    assert not wrong


def sent(tab): return tab.evaluate("window.sent")


def redraw(tab, view):
    "The annotator anew, with another view."
    tab.evaluate(f"""document.getElementById("here").replaceChildren();
        window.set({json.dumps(VIEW | view)}); window.again()""")
    tab.wait_for_function("document.activeElement.className === 'anchoral-annotate'")


def boxes(tab):
    "Where the buttons of the classes are."
    return [b.bounding_box() for b in tab.locator(".keys button").all()[:5]]


class TestWidget:
    def test_sends_what_was_seen(self, tab):
        """Texts are text, a key and a button say the same, fast keys and repeats are dropped,
        keys do not leak into JupyterLab."""
        assert tab.locator(".text").inner_text() == "<b>not bold</b>" and tab.locator(".text b").count() == 0
        tab.get_by_role("button", name="rare").click()
        assert sent(tab) == [dict(do="answer", label=1, id=7, seq=0)]
        for key in ("2", "1", "d", "d"): tab.keyboard.press(key)  # the kernel has not answered yet
        assert len(sent(tab)) == 1
        tab.evaluate("set({seq: 1, id: 8, text: 'next', labels: [1]}); tell({do: 'heard', seq: 1})")
        assert "rare: 1 found" in tab.locator(".foot").inner_text()
        assert "next text after" in tab.locator(".waited").inner_text()
        tab.evaluate("document.querySelector('.anchoral-annotate').dispatchEvent("
                     "new KeyboardEvent('keydown', {key: '1', repeat: true, bubbles: true}))")
        assert len(sent(tab)) == 1
        tab.keyboard.press("1")
        assert sent(tab)[1] == dict(do="answer", label=0, id=8, seq=1) and tab.evaluate("window.leaked") == 0
        tab.evaluate("tell({do: 'heard', seq: 1})")
        tab.keyboard.press("s")
        assert sent(tab)[2] == dict(do="answer", label=None, id=8, seq=1)

    def test_a_screen_reader_meets_things_in_their_order(self, tab):
        """What the tree of accessibility holds stands in the order of the eye: where you are, the text, its columns,
        the answers, the comment, the rules, the search, the last answers; everything to press has a name."""
        recent = [dict(id=3, text="before", label=1, comment="sure")]
        redraw(tab, dict(guidelines="Ask yourself.", beside=dict(customer="ACME"), recent=recent, labels=[1]))
        tab.evaluate("tell({do: 'found', words: 'next', rows: [{id: 9, text: 'next one'}]})")
        read = tab.locator(".anchoral-annotate").aria_snapshot()
        wanted = ["text 7 · 1 of 4", 'region "The text to label"', "customer", 'group "Answers"', 'button "other"',
                  'button "rare"', 'button "Skip"', 'textbox "A comment on this text', "Guidelines",
                  'textbox "Find texts by their words"', 'button "Find"', 'region "Texts that were found"',
                  'button "Label it next: text 9"', 'img "Found so far in 1 answers', "Your last answers",
                  'combobox "Answer to text 3"', 'textbox "Comment on text 3"']
        places = [read.find(one) for one in wanted]
        assert -1 not in places and places == sorted(places), read

        focusable = "button, input, select, summary, [tabindex='0']"
        tops = tab.evaluate(f"""() => [...document.querySelectorAll(".anchoral-annotate :is({focusable})")]
            .filter(e => e.getClientRects().length).map(e => e.getBoundingClientRect().bottom)""")
        assert len(tops) > 12 and all(after >= before - 30 for before, after in zip(tops, tops[1:]))  # 30: one line
        assert tab.evaluate("[...document.querySelectorAll('[tabindex]')].every(e => e.tabIndex <= 0)")
        live = tab.locator("[aria-live=polite], [role=status], [role=alert]")
        assert live.count() == 5  # the text, what was found, what the model thinks, the hint, the error

    @pytest.mark.parametrize("classes", [
        ["0", "1"], ["2", "1"], ["other", "1"], ["s", "u"], ["m", "1", "s"], [" ", "  "], ["🙂", "🙃"],
        ["\u05d0\u05d1", "\u05d2\u05d3"], ["x" * 500, "<b>y</b>"], ["toString", "__proto__"],
        [f"class {c}" for c in range(12)]])
    def test_a_shown_key_does_what_it_shows(self, tab, classes):
        "Whatever the classes are called: the key on a button and the button send that class, s, u and m what they say."
        view = json.dumps(VIEW | dict(classes=classes, keys=keys_of(classes)))
        tab.evaluate(f"""document.getElementById("here").replaceChildren();
            window.set({view}); window.again()""")
        root = tab.locator(".anchoral-annotate")
        done = 0
        def heard():
            tab.evaluate("tell({do: 'heard', seq: 0})")
            return sent(tab)[-1], len(sent(tab))
        for button in root.locator(".keys button").all()[:len(classes)]:
            name, key = button.locator("bdi").text_content(), button.locator("kbd")
            button.click()
            done += 1
            assert heard() == (dict(do="answer", label=classes.index(name), id=7, seq=0), done)
            if key.count():
                root.press(key.text_content())
                done += 1
                assert heard() == (dict(do="answer", label=classes.index(name), id=7, seq=0), done)
        root.press("s")
        assert heard() == (dict(do="answer", label=None, id=7, seq=0), done + 1)
        tab.evaluate("set({labels: [0]})")
        root.press("u")
        assert heard() == (dict(do="undo", id=7, seq=0), done + 2)
        root.press("m")
        assert heard() == (dict(do="peek", id=7, seq=0), done + 3)

    def test_says_which_class_is_missing_and_what_failed(self, tab):
        assert not tab.locator(".note").is_visible()
        tab.evaluate("set({note: \"No text is labelled 'rare' yet\"})")
        assert tab.locator(".note").inner_text() == "No text is labelled 'rare' yet"
        tab.evaluate("set({note: '', message: 'Choosing the next batch failed; what you answered is saved. Full.'})")
        assert tab.locator(".text").inner_text() == "<b>not bold</b>"  # this batch goes on
        assert "Choosing the next batch failed" in tab.locator(".error").inner_text()
        tab.get_by_role("button", name="Try again").click()
        assert sent(tab) == [dict(do="retry", id=7, seq=0)]

    def test_shows_the_model_only_when_asked(self, tab):
        assert tab.locator(".thinks").inner_text() == ""
        tab.keyboard.press("Tab")
        tab.keyboard.press("m")
        assert sent(tab) == [dict(do="peek", id=7, seq=0)]
        tab.evaluate("tell({do: 'peek', id: 7, probs: {other: .25, rare: .75}, why: 'Chosen.', "
                     "anchor: 3, anchor_text: 'an anchor', similarity: .5}); tell({do: 'heard', seq: 0})")
        assert "rare 75 %" in tab.locator(".thinks").inner_text()
        assert "anchor 3, similarity 0.50: “an anchor”" in tab.locator(".thinks").inner_text()
        tab.evaluate("set({seq: 1, id: 8})")
        assert tab.locator(".thinks").inner_text() == ""

    def test_waits_and_says_so(self, tab):
        tab.evaluate("set({seq: 1, id: null, waiting: true, text: ''})")
        assert "choosing the next batch" in tab.locator(".text").inner_text()
        assert "waiting for the model" in tab.locator(".waited").inner_text()
        tab.keyboard.press("1")
        tab.get_by_role("button", name="rare").click(force=True)
        assert sent(tab) == []
        tab.evaluate("set({waiting: false, message: 'Nothing left to ask: every text has an answer.'})")
        assert "Nothing left" in tab.locator(".text").inner_text()

    def test_buttons_stay_where_they_are(self, tab):
        "Whatever the text, the columns beside it, a note, an error or the model's opinion."
        view = dict(beside={"customer": "x", "date": ""}, note="", text="short")
        redraw(tab, view)
        places = boxes(tab)
        changes = [dict(text="a long text " * 500), dict(text="one\n" * 80), dict(text="x" * 3000),
                   dict(note="A note. " * 30), dict(message="Choosing failed. " * 20),
                   dict(beside={"customer": "a name " * 100, "date": "d" * 500}), dict(kind="a kind " * 30),
                   dict(id=None, text="", waiting=True), dict(labels=[0, 1] * 4000)]
        for seq, change in enumerate(changes, 1):
            tab.evaluate(f"set({json.dumps(view | change | dict(seq=seq, id=change.get('id', seq)))})")
            assert boxes(tab) == places, change
        tab.evaluate("set({id: 99}); tell({do: 'peek', id: 99, probs: {other: .25, rare: .75}, "
                     "why: 'Chosen. '.repeat(99)})")
        assert boxes(tab) == places

    def test_keys_beyond_nine_classes(self, tab):
        classes = [f"class {c}" for c in range(14)]
        redraw(tab, dict(classes=classes, keys=keys_of(classes), minority=list(range(1, 14)), labels=[3, 0, 5]))
        for n, key in enumerate("0abde"):
            tab.keyboard.press(key)
            assert sent(tab)[n] == dict(do="answer", label=9 + n, id=7, seq=0)
            tab.evaluate("tell({do: 'heard', seq: 0})")
        assert tab.locator("svg polyline").count() == 1 and "13 rare classes 2" in tab.locator("svg").text_content()

    def test_finds_texts_and_marks_the_words(self, tab):
        redraw(tab, dict(text="The POWER is out; powerful <b>power</b>."))
        tab.keyboard.press("/")
        tab.keyboard.type("power 1")
        tab.keyboard.press("Enter")
        assert sent(tab) == [dict(do="find", words="power 1", id=7, seq=0)]
        rows = [dict(id=3, score=1.5, text="<img src=x onerror=alert(2)> power"), dict(id=5, score=.5, text="no 1 10")]
        tab.evaluate(f"tell({json.dumps(dict(do='found', words='power 1', rows=rows))}); tell({{do: 'heard', seq: 0}})")
        results = tab.locator(".found-texts")
        assert results.locator("mark").all_inner_texts() == ["power", "1"] and results.locator("img").count() == 0
        assert tab.locator(".text mark").all_inner_texts() == ["POWER", "power"] and tab.locator(".text b").count() == 0
        assert tab.locator(".text").inner_text() == "The POWER is out; powerful <b>power</b>."
        results.get_by_role("button", name="Label it next").nth(1).click()
        assert sent(tab)[1] == dict(do="look", ids=[5], id=7, seq=0)
        tab.evaluate("tell({do: 'heard', seq: 0})")
        tab.get_by_role("button", name="Find more like this text").click()
        assert sent(tab)[2] == dict(do="find", like=7, id=7, seq=0)
        tab.evaluate("tell({do: 'found', words: '', rows: []}); tell({do: 'heard', seq: 0})")
        assert "No text without an answer matches" in results.inner_text()
        tab.get_by_role("button", name="Most likely ones").click()
        assert sent(tab)[3] == dict(do="review", id=7, seq=0) and results.inner_text() == "Training …"
        tab.evaluate("tell({do: 'error', message: 'label one first'}); tell({do: 'heard', seq: 0})")
        assert results.inner_text() == "" and tab.locator(".error").inner_text() == "label one first"

    def test_rules_and_own_columns_are_text(self, tab):
        evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
        assert not tab.locator("details.guide").is_visible()
        redraw(tab, dict(guidelines=f"Rule 1.\n{evil}", beside={evil: evil}, text=evil, classes=[evil, "rare"],
                         note=evil, recent=[dict(id=1, text=evil, label=1, comment=evil)]))
        tab.keyboard.press("?")
        assert tab.locator(".rules").inner_text() == f"Rule 1.\n{evil}"
        assert tab.locator(".own dd").inner_text() == evil and tab.locator(".own dt").inner_text() == evil
        assert tab.locator(".anchoral-annotate img, .anchoral-annotate script").count() == 0

    def test_the_last_answers_can_be_changed(self, tab):
        recent = [dict(id=4, text="fourth", label=None, comment=""),
                  dict(id=2, text="second", label=1, comment="sure?")]
        redraw(tab, dict(recent=recent, labels=[1, -1]))
        assert tab.get_by_label("Answer to text 4").input_value() == ""
        tab.get_by_label("Answer to text 2").select_option(label="other")
        assert sent(tab) == [dict(do="change", of=2, label=0, id=7, seq=0)]
        tab.keyboard.press("2")  # the page waits for the answer to the change
        tab.evaluate("tell({do: 'error', message: 'the disk is full'}); tell({do: 'heard', seq: 0})")
        assert tab.get_by_label("Answer to text 2").input_value() == "1" and len(sent(tab)) == 1
        field = tab.get_by_label("Comment on text 2")
        assert field.input_value() == "sure?"
        field.fill("now sure")
        tab.keyboard.press("Enter")
        assert sent(tab)[1] == dict(do="comment", of=2, comment="now sure", id=7, seq=0)

    def test_a_comment_goes_with_its_answer(self, tab):
        tab.keyboard.press("c")
        tab.keyboard.type("u 2 s?")  # typed, not pressed
        assert sent(tab) == []
        tab.keyboard.press("Enter")
        tab.keyboard.press("2")
        assert sent(tab) == [dict(do="answer", label=1, comment="u 2 s?", id=7, seq=0)]
        answered = [dict(id=7, text="", label=1, comment="u 2 s?")]
        tab.evaluate(f"set({json.dumps(dict(seq=1, id=8, recent=answered))}); tell({{do: 'heard', seq: 1}})")
        comment = tab.get_by_label("A comment on this text, kept with your answer")
        assert comment.input_value() == ""
        tab.evaluate("set({seq: 2, id: 7, recent: []})")  # after an undo
        assert comment.input_value() == "u 2 s?"

    def test_says_where_the_keys_go(self, tab):
        assert tab.evaluate("document.activeElement.className") == "anchoral-annotate"  # on open
        hint = tab.locator(".hint")
        assert hint.inner_text() == ""
        tab.keyboard.press("/")
        assert "typing in a field" in hint.inner_text()
        tab.keyboard.press("Escape")
        assert hint.inner_text() == ""
        tab.evaluate("document.activeElement.blur()")
        tab.get_by_text("Keys go elsewhere now").wait_for()
        tab.keyboard.press("2")
        assert sent(tab) == []
        hint.click()
        tab.keyboard.press("2")
        assert hint.inner_text() == "" and len(sent(tab)) == 1

    def test_text_from_right_to_left(self, tab):
        redraw(tab, dict(text="\u05e9\u05dc\u05d5\u05dd hello", beside={"name": "\u05d0\u05d1"}))
        assert tab.locator(".text").evaluate("e => e.matches(':dir(rtl)')")
        assert tab.locator(".own dd").evaluate("e => e.matches(':dir(rtl)')")
        assert tab.locator(".own dt").evaluate("e => e.matches(':dir(ltr)')")

    def test_fits_a_telephone(self, tab):
        before = tab.viewport_size
        tab.set_viewport_size(dict(width=390, height=800))
        answered = [dict(id=i, text="a text " * 40, label=0, comment="") for i in range(10)]
        redraw(tab, dict(beside={"customer": "c" * 90}, recent=answered, text="w" * 4000, guidelines="x" * 3000))
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.set_viewport_size(before)

    def test_says_when_the_kernel_is_gone(self, tab):
        tab.get_by_role("button", name="rare").click()
        tab.get_by_text("No answer from the kernel").wait_for()


NOTEBOOK = """
import numpy as np
from anchoral.annotator.session import Session
from anchoral.annotator.widget import annotate
from anchoral.data import Task
from anchoral.embeddings import encode
from anchoral.filters import make_filter
from anchoral.index import ExactIndex
from anchoral.head import Head
from anchoral.loop import ActiveLearner
from anchoral.strategies import make_strategy
places = ["street", "house", "garden", "cellar"]
texts = [f"message number {i}: {'no power' if i % 9 == 2 else 'all is fine'} in {places[i % 4]} {i % 7}"
         for i in range(200)]
vectors = encode(texts, "lsa", fit_on=texts)
task = Task("messages", texts, np.full(200, -1), ("other", "outage"), (1,))
al = ActiveLearner(ExactIndex(vectors), vectors, Head(2, (1,)), make_filter("anchoral"), make_strategy("entropy"),
                   2, (1,), examples=[2])
session = Session(al, task, "session", query_size=4)
session.wait()
annotate(session)
"""


TOKEN = secrets.token_hex(16)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def lab(tmp_path):
    """JupyterLab of its own: no settings, no folders and no browser of whoever runs the test,
    and a token, since everybody on this machine can reach it."""
    port, home = free_port(), tmp_path/"home"
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
           "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "ANCHORAL_CACHE")
    env = os.environ | {k: str(home/k) for k in own}
    env["JUPYTER_TOKEN"] = TOKEN  # not on the command line, which everybody can read
    work = tmp_path/"work"
    work.mkdir()
    quiet = home/"JUPYTERLAB_SETTINGS_DIR/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with open(tmp_path/"lab.log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
                                   f"--port={port}", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0",
                                   f"--ServerApp.root_dir={work}", "--LabApp.expose_app_in_browser=True",
                                   "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
                                  env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api").read()
                break
            except OSError: time.sleep(.2)
        else: raise RuntimeError((tmp_path/"lab.log").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}", work
    finally:
        server.terminate()
        try: server.wait(30)
        except subprocess.TimeoutExpired: os.killpg(server.pid, 9)  # it waits in vain for a kernel that restarts


def write_notebook(path, code):
    kernel = dict(kernelspec=dict(name="python3", display_name="Python 3"))
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code.strip())], metadata=kernel), path)


def run_notebook(tab, url, name):
    "Open a notebook and run all of it."
    tab.goto(f"{url}/doc/tree/{name}.ipynb?reset&token={TOKEN}")
    tab.wait_for_function("window.jupyterapp && window.jupyterapp.commands.hasCommand('notebook:run-all-cells')")
    tab.wait_for_function(
        "window.jupyterapp.shell.currentWidget?.context?.isReady && "
        "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.connectionStatus === 'connected'")
    tab.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")


def open_annotator(tab, url):
    run_notebook(tab, url, "annotate")
    annotator = tab.get_by_role("group", name="Annotator")
    annotator.wait_for()
    return annotator


def give(tab, annotator, how):
    "One answer, by a click or a key; comes back when the next text is there."
    text = annotator.locator(".text").inner_text()
    label, before = ("outage" if "no power" in text else "other"), annotator.get_attribute("data-seq")
    if how == "mouse": annotator.get_by_role("button", name=label, exact=True).click()
    else: tab.keyboard.press({"other": "1", "outage": "2"}[label])
    tab.wait_for_function(f"document.querySelector('.anchoral-annotate').dataset.heard > {before} && "
                          "document.querySelector('.anchoral-annotate').dataset.id !== ''", polling=5)


def read_book(work):
    "The session according to the disk."
    b = Book(2, [1])
    for e in read_log(work/"session/log.jsonl"): b.apply(e)
    return b


def book(work):
    "Labels and waiting texts according to the disk."
    b = read_book(work)
    return {i: a.label for i, a in b.answers.items()}, b.queue


def settled(work):
    "The same, once no batch is on its way."
    for _ in range(600):  # a hang guard
        if read_book(work).job is None: break
        time.sleep(.1)
    return book(work)


def test_annotator_in_jupyterlab(lab):
    """Ten texts by mouse and keyboard, one taken back, the kernel killed, opened again:
    nine labels and the queue as it was."""
    url, work = lab
    write_notebook(work/"annotate.ipynb", NOTEBOOK)
    with page() as (tab, wrong):
        annotator = open_annotator(tab, url)
        for how in ["mouse"] * 5 + ["keyboard"] * 5: give(tab, annotator, how)
        assert len(book(work)[0]) == 10
        tab.keyboard.press("u")
        tab.wait_for_function("document.querySelector('.anchoral-annotate').textContent.includes('9 labelled')")
        shown, (labels, queue) = annotator.locator(".text").inner_text(), book(work)
        assert len(labels) == 9 and f"message number {queue[0]}:" in shown
        labels, queue = settled(work)
        kernel = tab.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")
        pid = tab.evaluate("""async () => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const asked = kernel.requestExecute({code: '', user_expressions: {pid: '__import__("os").getpid()'}});
            return (await asked.done).content.user_expressions.pid.data['text/plain']; }""")
        os.kill(int(pid), 9)
        tab.get_by_role("button", name="other", exact=True).first.click()
        tab.get_by_text("No answer from the kernel").wait_for()
        end = urllib.request.Request(f"{url}/api/kernels/{kernel}", method="DELETE")
        with pytest.raises(urllib.error.HTTPError, match="403"): urllib.request.urlopen(end)  # without the token
        end.add_header("Authorization", f"token {TOKEN}")
        urllib.request.urlopen(end)
        annotator = open_annotator(tab, url)
        assert annotator.locator(".text").inner_text() == shown and "9 labelled" in annotator.inner_text()
        assert book(work) == (labels, queue)
        give(tab, annotator, "mouse")
        assert len(book(work)[0]) == 10
        if shot := os.environ.get("ANCHORAL_SHOT"): picture(tab, annotator, shot)


# anchoral label

@pytest.fixture
def desk_env(tmp_path):
    "The environment of a JupyterLab that `anchoral label` may start here, and its address."
    port, home = free_port(), tmp_path/"home"
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
           "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "ANCHORAL_CACHE")
    env = os.environ | {k: str(home/k) for k in own} | {"JUPYTER_TOKEN": TOKEN}
    settings = dict(ServerApp=dict(allow_root=True, ip="127.0.0.1", port=port, port_retries=0),
                    LabApp=dict(expose_app_in_browser=True, check_for_updates_class="jupyterlab.NeverCheckForUpdate"))
    config = home/"JUPYTER_CONFIG_DIR/jupyter_server_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(settings))
    quiet = home/"JUPYTERLAB_SETTINGS_DIR/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    return env, f"http://127.0.0.1:{port}"


def command(env, work, *words):
    "What a command says, once it has ended well."
    done = subprocess.run([sys.executable, "-m", "anchoral", *words], cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def begin_desk(env, url, work, *words):
    "`anchoral label` with a browser to come: the process, once JupyterLab answers."
    with open(work.parent/"label.log", "w") as log:
        process = subprocess.Popen([sys.executable, "-m", "anchoral", "label", *words, "--no-browser"], cwd=work,
                                   env=env, stdout=log, stderr=log, start_new_session=True)
    for _ in range(1500):  # a hang guard
        if process.poll() is not None: break
        try:
            urllib.request.urlopen(f"{url}/api").read()
            return process
        except OSError: time.sleep(.2)
    raise RuntimeError((work.parent/"label.log").read_text()[-2000:])


def sit_down(tab, url):
    "What the notebook tells a person to do: click into the first cell of code, press Shift+Enter. Then only keys."
    tab.goto(f"{url}/doc/tree/label.ipynb?reset&token={TOKEN}")
    tab.wait_for_function(
        "window.jupyterapp?.shell.currentWidget?.context?.isReady && "
        "window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.connectionStatus === 'connected'")
    tab.locator(".jp-CodeCell .cm-content").first.click()
    tab.keyboard.press("Shift+Enter")
    annotator = tab.get_by_role("group", name="Annotator")
    annotator.wait_for()
    tab.wait_for_function("document.activeElement.className === 'anchoral-annotate'")
    return annotator


def press(tab, annotator, key):
    "A key, once the kernel has taken it in and the next text is there."
    before = int(annotator.get_attribute("data-seq"))
    tab.keyboard.press(key)
    tab.wait_for_function(f"document.querySelector('.anchoral-annotate').dataset.heard > {before} && "
                          "document.querySelector('.anchoral-annotate').dataset.id !== ''", polling=5)


def label_by_keys(tab, annotator, n):
    for _ in range(n):
        press(tab, annotator, "2" if "Störung" in annotator.locator(".text").inner_text() else "1")


def test_three_hundred_answers_by_keyboard(desk_env, tmp_path):
    """From a messy table through `anchoral label` in the browser, `review`, `predict` and `audit` back to a table
    that joins to the first on its key; found words, an undo, a comment and a correction on the way."""
    import pandas as pd
    from test_desk import check_rows, messy
    env, url = desk_env
    work = tmp_path/"work"
    work.mkdir()
    table = messy(work/"tickets.csv")
    (work/"rules.txt").write_text("<b>Only</b> faults of the grid.")
    lab = begin_desk(env, url, work, "tickets.csv", "--text", "body", "--rare", "outage", "--id", "ticket",
                     "--beside", "ticket", "score", "--guidelines", "rules.txt")
    try:
        with page() as (tab, wrong):
            annotator = sit_down(tab, url)
            assert "mine" in annotator.locator(".own").inner_text()
            tab.keyboard.press("?")
            assert annotator.locator(".rules").inner_text() == "<b>Only</b> faults of the grid."
            tab.keyboard.press("?")
            tab.keyboard.press("/")
            tab.keyboard.type("power street")
            tab.keyboard.press("Enter")
            annotator.get_by_role("button", name="Label all of them next").click()
            tab.get_by_text("you searched for it").wait_for()
            assert annotator.locator(".text mark").count() == 2
            tab.keyboard.press("c")
            tab.keyboard.type("the first u")
            tab.keyboard.press("Enter")
            label_by_keys(tab, annotator, 1)
            press(tab, annotator, "1")  # wrong, and taken back
            press(tab, annotator, "u")
            label_by_keys(tab, annotator, 200)
            last = annotator.locator(".recent select").first
            right = last.input_value()
            last.select_option("1" if right == "0" else "0")  # a slip, and its correction
            tab.wait_for_function("document.querySelector('.anchoral-annotate').dataset.heard >= 204", polling=5)
            annotator.locator(".recent select").first.select_option(right)
            tab.wait_for_function("document.querySelector('.anchoral-annotate').dataset.heard >= 205", polling=5)
            label_by_keys(tab, annotator, 69)
            assert "270 labelled" in annotator.inner_text()
            assert "calls " in command(env, work, "predict", "tickets-labels")  # with the session open in the browser
            assert "most likely first" in command(env, work, "review", "tickets-labels", "--k", "20")
            tab.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
            tab.wait_for_function(
                "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel == null", polling=100)
            assert "30 texts were drawn" in command(env, work, "audit", "tickets-labels", "--n", "30")
            annotator = sit_down(tab, url)
            assert "audit: never trained on" in annotator.inner_text()
            label_by_keys(tab, annotator, 30)
            assert "300 labelled" in annotator.inner_text()
        assert "recall" in command(env, work, "audit", "tickets-labels")
        command(env, work, "export", "tickets-labels", "--to", "mine.parquet")
        check_rows(table, work/"tickets-labels/scores.csv", work/"mine.parquet")
        rows = pd.read_parquet(work/"mine.parquet")
        assert set(rows.comment.dropna()) == {"", "the first u"}
    finally:
        os.killpg(lab.pid, signal.SIGTERM)  # the command, and the JupyterLab that it started
        lab.wait(20)


def picture(tab, annotator, path):
    "The picture in the tutorial: ANCHORAL_SHOT=nbs/tutorials/annotator.png pytest tests/test_browser.py -k jupyterlab"
    for _ in range(15): give(tab, annotator, "keyboard")
    tab.keyboard.press("m")
    annotator.locator(".anchor").wait_for()
    tab.set_viewport_size(dict(width=1200, height=1600))  # all of it
    annotator.screenshot(path=path)


def test_figure1_in_jupyterlab(lab):
    "Every filter's run can be chosen and every iteration looked at, as on the site."
    url, work = lab
    write_notebook(work/"figure1.ipynb", "from anchoral.teach.figure1 import figure1\nfigure1()")
    with page() as (tab, wrong):
        run_notebook(tab, url, "figure1")
        figure = tab.locator(".anchoral-figure1")
        figure.wait_for()
        assert "AnchorAL, iteration 0" in figure.inner_text() and figure.locator("svg.plane circle").count() > 2000
        slider = figure.locator("input[type=range]")
        slider.focus()
        tab.keyboard.press("ArrowRight")
        figure.get_by_text("AnchorAL, iteration 1").wait_for()
        assert "near 6 anchors" in figure.locator(".says").nth(1).inner_text()
        figure.locator("select").nth(1).select_option(label="SEALS")
        figure.get_by_text("SEALS, iteration 1").wait_for()
