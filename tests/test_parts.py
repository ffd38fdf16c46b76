"Filters, strategies and learners: what they refuse, at once and by name, and what stays exact when numbers get hard."
import ast
import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from worlds import started, world

from anchoral import finetune, strategies
from anchoral import head as head_module
from anchoral.anchors import ANCHORS, _sq_dists, kmeans_plusplus
from anchoral.files import sha256
from anchoral.filters import FILTERS, filter_params, make_filter
from anchoral.finetune import FineTune, load_learner
from anchoral.head import Head, softmax
from anchoral.strategies import (
    STRATEGIES,
    Outputs,
    _closest_distinct,
    _gradient_products,
    badge,
    gradient_embedding,
    make_strategy,
)

sys.path.insert(0, str(Path(__file__).parent))

import tiny  # noqa: E402

from anchoral.study.config import make_config

needs_torch = pytest.mark.skipif(not all(map(importlib.util.find_spec, ("torch", "transformers"))),
                                 reason="the torch extra is not installed")


def nearest_in_float64(centres, rows):
    "The definition, one difference at a time."
    free = list(range(len(rows)))
    chosen = []
    for centre in centres:
        gaps = [np.square(rows[i].astype(np.float64) - centre).sum() for i in free]
        chosen.append(free.pop(int(np.argmin(gaps))))
    return chosen


def test_the_row_nearest_to_a_centre_is_the_one_of_float64_although_all_rows_share_a_large_mean():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=384) + .001 * rng.normal(size=(2000, 384))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    centres = np.array([rows[at:at+40].mean(0) for at in range(0, 1000, 40)])
    expanded = (rows**2).sum(1) - 2 * centres @ rows.T
    right = nearest_in_float64(centres, rows)
    assert _closest_distinct(centres, rows).tolist() == right
    assert expanded.argmin(1).tolist() != right, "the example is too easy: float32 finds the same"


def test_of_two_rows_as_far_from_the_centre_between_them_the_one_of_the_saved_runs_is_taken():
    "Which one is left to the last digit, so the formula the runs were made with decides."
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    centres = rows.reshape(200, 2, 64).mean(1)
    quick = (rows**2).sum(1) - 2 * centres @ rows.T
    assert _closest_distinct(centres, rows).tolist() == quick.argmin(1).tolist()


def test_copies_are_taken_by_position():
    rows = np.repeat(np.array([[1, 0], [0, 1]], np.float32), 700, axis=0)
    centres = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert _closest_distinct(centres, rows).tolist() == [0, 1, 700]


# ---------------------------------------------------------------- fine-tuning: precision, and where weights come from

TEXTS, LABELS = tiny.toy_texts(30, seed=1)


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    "A folder with a tiny BERT."
    import torch
    torch.set_num_threads(1)
    return str(tiny.build("bert", tmp_path_factory.mktemp("models") / "bert"))


def quick(model, **more):
    return FineTune(**dict(n_classes=3, minority=(2,), model=model, lr=1e-3, batch_size=8, epochs=1, min_steps=0,
                           device="cpu") | more)


def fitted(learner):
    x = learner.prepare(TEXTS)
    learner.fit(x[:16], LABELS[:16], 0, np.random.default_rng(0))
    return learner.outputs(x).probs


@needs_torch
@pytest.mark.parametrize("there", [True, False])
def test_mixed_precision_is_bfloat16_only_where_the_device_has_it(bert, monkeypatch, caplog, there):
    finetune._precision.cache_clear()
    monkeypatch.setattr(finetune, "_has_bfloat16", lambda device: there)
    with caplog.at_level("WARNING"):
        mixed = quick(bert, amp=True)
        quick(bert, amp=True)
    probs = fitted(mixed)
    finetune._precision.cache_clear()
    said = [r.getMessage() for r in caplog.records]
    assert np.isfinite(probs).all()
    assert np.array_equal(probs, fitted(quick(bert))) == (not there)
    assert mixed.made["precision"] == ("bfloat16" if there else "float32")
    assert said == ([] if there else ["amp=True, but device 'cpu' has no bfloat16 of its own: computing in float32."])


@needs_torch
@pytest.mark.parametrize("flags, has", [({"avx2", "fma"}, False), ({"avx2", "avx512f", "avx512_bf16"}, True),
                                        ({"amx_bf16", "amx_tile"}, True), ({"asimd", "bf16"}, True), (set(), False)])
def test_a_processor_has_bfloat16_by_its_flags(monkeypatch, flags, has):
    monkeypatch.setattr(finetune, "_processor_flags", lambda: flags)
    assert finetune._has_bfloat16("cpu") is has


@needs_torch
def test_a_saved_learner_records_checkpoint_and_precision(bert, tmp_path):
    learner = quick(bert)
    fitted(learner)
    assert learner.made == dict(checkpoint=bert, precision="float32")
    learner.save(tmp_path / "a")
    assert FineTune.load(tmp_path / "a", device="cpu").made == learner.made


@pytest.fixture
def hostile(bert, tmp_path):
    "A checkpoint whose configuration points to code of its own, and the file that this code would write."
    folder, marker = tmp_path / "hostile", tmp_path / "it-ran"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "never-heard-of"
    config["auto_map"] = {"AutoConfig": "modeling_evil.EvilConfig", "AutoTokenizer": ["modeling_evil.Evil", None],
                          "AutoModelForSequenceClassification": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words |= {"auto_map": {"AutoTokenizer": ["modeling_evil.Evil", "modeling_evil.Evil"]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    (folder / "modeling_evil.py").write_text(f"open({str(marker)!r}, 'w').write('ran')\n")
    return folder, marker


@needs_torch
@pytest.mark.parametrize("use", ["prepare", "initialise", "load_network", "load_tokenizer", "load"])
def test_code_of_a_checkpoint_neither_runs_nor_is_asked_for(hostile, monkeypatch, use):
    folder, marker = hostile
    monkeypatch.setattr("builtins.input", lambda *a: pytest.fail("somebody asked at the terminal"))
    learner = quick(folder)
    if use == "load":
        files = {f.name: sha256(f) for f in folder.iterdir()}
        params = {"n_classes": 3, "model": "minilm"}
        facts = dict(learner="finetune", params=params, seen=[True]*3, log={}, files=files)
        (folder / "learner.json").write_text(json.dumps(facts))
    calls = {"prepare": lambda: learner.prepare(TEXTS), "initialise": lambda: learner.initialise(0),
             "load_network": lambda: finetune._load_network(str(folder), 3, 0),
             "load_tokenizer": lambda: finetune._load_tokenizer(str(folder)),
             "load": lambda: FineTune.load(folder, device="cpu")}
    try: calls[use]()
    except OSError as e: assert str(folder) in str(e) and "\n" not in str(e)
    assert not marker.exists()


def test_every_load_in_every_module_says_that_no_foreign_code_runs():
    "`load_options` and the arguments written at a call are the two places that say it."
    package = Path(__file__).parents[1]/"anchoral"
    loads = 0
    for module in package.rglob("*.py"):
        for call in ast.walk(ast.parse(module.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "attr", "") != "from_pretrained": continue
            loads += 1
            stated = ast.unparse(call)
            assert "trust_remote_code=False" in stated or "**options" in stated, stated
    assert loads >= 3 and finetune._load_options(str(package))["trust_remote_code"] is False


@needs_torch
@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_said_at_once_in_one_line(monkeypatch, offline, tmp_path):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *a, **k: asked.append(a))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *a, **k: asked.append(a))
    why = "HF_HUB_OFFLINE is set" if offline else "http://127.0.0.1:9 cannot be reached"
    for call in (lambda ft: ft.prepare(TEXTS), lambda ft: ft.initialise(0)):
        with pytest.raises(OSError, match=why) as caught: call(quick("a/b"))
        assert "'a/b'" in str(caught.value) and "\n" not in str(caught.value)
    assert not asked, "transformers asks again and again"


@needs_torch
def test_a_model_in_the_hub_s_cache_is_used_without_the_hub(monkeypatch, tmp_path):
    from huggingface_hub import constants
    at = tmp_path / "models--a--b"
    (at / "snapshots" / "1234").mkdir(parents=True)
    (at / "refs").mkdir()
    (at / "refs" / "main").write_text("1234")
    (at / "snapshots" / "1234" / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(finetune, "_hub_answers", lambda: False)
    assert finetune._load_options("a/b") == dict(revision="main", trust_remote_code=False, local_files_only=True)


# ---------------------------------------------------------------- parts that cannot work are refused when put together

IMPOSSIBLE = {int: [0, -1, 2.5, "5", None, True, [5], float("nan")], str: ["no-such", 5, None, ["uniform"]]}
CASES = []
for name in FILTERS:
    for param, default in filter_params(name).items():
        CASES += [(name, param, wrong) for wrong in IMPOSSIBLE[type(default)]]


@pytest.mark.parametrize("name, param, wrong", CASES)
def test_an_impossible_parameter_of_a_filter_is_refused_when_it_is_made_or_put_together(name, param, wrong):
    with pytest.raises(ValueError, match=f"{param}|anchor selection"): make_filter(name, **{param: wrong})
    with pytest.raises(ValueError, match=f"{param}|anchor selection"):
        world(filter=partial(FILTERS[name], **{param: wrong}))


@pytest.mark.parametrize("name", FILTERS)
def test_an_unknown_parameter_of_a_filter_is_refused_when_it_is_made_or_put_together(name):
    with pytest.raises(ValueError, match="'n_neighbors'"): make_filter(name, n_neighbors=5)
    with pytest.raises(ValueError, match="'n_neighbors'"): world(filter=partial(FILTERS[name], n_neighbors=5))


def test_parameters_of_your_own_filter_are_checked_by_the_kind_of_their_default(monkeypatch):
    def own(state, rng, needed, twice=False, share=.5, offset=0): return FILTERS["none"](state, rng)
    monkeypatch.setitem(FILTERS, "own", own)
    make_filter("own", needed=1, twice=True, share=1, offset=0)
    for wrong in (dict(twice=1), dict(share=float("nan")), dict(share="half"), dict(offset=-1), {}):
        with pytest.raises(ValueError, match=next(iter(wrong), "needed")):
            make_filter("own", **(dict(needed=1) | wrong if wrong else {}))


def test_every_strategy_is_made_for_a_task_with_rare_classes_and_refused_where_it_needs_them_and_has_none():
    for name, strategy in STRATEGIES.items():
        make_strategy(name, (1,))
        if "minority" not in inspect.signature(strategy).parameters: make_strategy(name)
    with pytest.raises(ValueError, match="most-probable.*minority"): make_strategy("most-probable")
    for wrong in ((-1,), (1.5,), ("gold",), (True,)):
        with pytest.raises(ValueError, match="minority"): make_strategy("most-probable", wrong)
    for wrong in ((), (2,)):
        strategy = partial(STRATEGIES["most-probable"], minority=wrong)
        with pytest.raises(ValueError, match="minority"): world(strategy=strategy)


def test_a_strategy_of_your_own_that_needs_more_is_refused_when_it_is_made(monkeypatch):
    monkeypatch.setitem(STRATEGIES, "own", lambda outputs, b, rng, temperature: outputs.ids[:b])
    with pytest.raises(ValueError, match="needs a value for temperature"): make_strategy("own")


@pytest.mark.parametrize("returns", [lambda ids: ids[:1].repeat(2), lambda ids: ids + 1000, lambda ids: ids - 1000])
def test_an_anchor_selection_that_returns_other_ids_is_refused_by_name(monkeypatch, returns):
    monkeypatch.setitem(ANCHORS, "own", lambda ids, k, state, rng: returns(ids))
    al, _ = started(filter=make_filter("anchoral", gamma_min="own"))
    with pytest.raises(ValueError, match="anchor selection 'own'"): al.ask(3)


@pytest.mark.parametrize("name", ["anchoral", "seals", "no-anchoring"])
def test_neighbours_beyond_the_pool_cost_nothing(name):
    whole, _ = started(filter=make_filter(name, n_neighbours=200))
    beyond, _ = started(filter=make_filter(name, n_neighbours=10**9))
    assert beyond.ask(9).tolist() == whole.ask(9).tolist()


# ---------------------------------------------------------------- rows

X, Y = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2


@pytest.mark.parametrize("kind", ["list", "frame", "float64", "tensor"])
def test_a_head_takes_rows_in_any_form_that_numpy_reads(kind):
    torch = pytest.importorskip("torch") if kind == "tensor" else None
    x = dict(list=X.tolist, frame=lambda: pd.DataFrame(X), float64=lambda: X.astype(float),
             tensor=lambda: torch.from_numpy(X))[kind]()
    head, same = Head(2).fit(X, Y), Head(2).fit(x, Y.tolist())
    assert np.array_equal(head.W, same.W)
    assert np.allclose(head.outputs(X).probs, same.outputs(x).probs, atol=1e-6)
    assert same.outputs(x).hidden.dtype == np.float32


@pytest.mark.parametrize("x, says", [
    (scipy.sparse.csr_array(X), "sparse matrix: give x.toarray"), (scipy.sparse.csr_matrix(X), "sparse matrix"),
    (X[0], r"shape \(3,\)"), ([[1, 2], [3]], "a list that NumPy cannot read"), (["gold"] * 12, "a list of shape"),
    (X.astype(str), "a ndarray of shape"), (pd.DataFrame({"text": ["a"] * 12}), "a DataFrame of shape")])
def test_rows_in_other_forms_are_refused_in_one_line(x, says):
    head = Head(2).fit(X, Y)
    for call in (lambda: Head(2).fit(x, Y), lambda: head.outputs(x)):
        with pytest.raises(ValueError, match=says) as caught: call()
        assert "\n" not in str(caught.value)


def test_rows_with_nan_are_refused_with_their_number():
    spoilt = X.copy()
    spoilt[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 rows, first in row \[4\]"): Head(2).fit(spoilt, Y)


@needs_torch
@pytest.mark.parametrize("x", [TEXTS[:16], X, None])
def test_fine_tuning_takes_tokens_only_and_says_so(bert, x):
    learner = quick(bert)
    with pytest.raises(ValueError, match=r"takes what its prepare\(texts\) gives"):
        learner.fit(x, LABELS[:16], 0, np.random.default_rng(0))
    fitted(learner)
    with pytest.raises(ValueError, match=r"takes what its prepare\(texts\) gives"): learner.outputs(x)


# ---------------------------------------------------------------- BADGE

def some_outputs(seed, C, m=2000, h=384):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(m, h)).astype(np.float32)
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    return Outputs.of(np.arange(m), softmax(hidden @ rng.normal(size=(h, C)) * 12), hidden)


@pytest.mark.parametrize("C", [2, 5])
def test_badge_chooses_the_same_from_the_factors_as_from_the_whole_embedding(monkeypatch, C):
    for seed in range(5):
        out = some_outputs(seed, C, m=500)
        written = kmeans_plusplus(gradient_embedding(out.probs, out.hidden), 25, np.random.default_rng(seed))
        assert np.array_equal(badge(out, 25, np.random.default_rng(seed)), written)
        with monkeypatch.context() as m:
            m.setattr(strategies, "_WRITTEN_OUT", 0)
            assert np.array_equal(badge(out, 25, np.random.default_rng(seed)), written)


def test_badge_draws_distances_of_gradient_embeddings():
    out = some_outputs(0, 3, m=40, h=6)
    whole = gradient_embedding(out.probs, out.hidden).astype(np.float64)
    right = np.square(whole[[3, 8], None] - whole[None]).sum(2)
    at = np.array([3, 8])
    norms, dots = _gradient_products(out.probs, out.hidden)
    dists = _sq_dists(norms, at, dots(at))
    np.testing.assert_allclose(dists, right, atol=1e-5)
    assert dists[0, 3] == dists[1, 8] == 0


def test_badge_on_a_large_pool_takes_memory_for_classes_plus_width_and_not_for_their_product():
    m, C, h = 3000, 120, 128
    out = some_outputs(0, C, m, h)
    assert m * C * h > strategies._WRITTEN_OUT
    tracemalloc.start()
    ids = badge(out, 10, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(ids.tolist())) == 10
    assert peak < 4 * m * (C + h) * 4, f"{peak / m:.0f} bytes a row" # written out, it would be 61,440


def test_saved_pools_are_written_out():
    "The largest pool that BADGE saw in the saved results; its ids must stay what they are."
    assert 17_825 * 2 * 384 < 17_000 * 5 * 384 < strategies._WRITTEN_OUT


# ---------------------------------------------------------------- a save that is killed

def killed_while_saving(head, folder, after):
    "Save a learner over another in a child process that dies at the given move."
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        return
    try:
        replace, die = os.replace, lambda *args: os._exit(9)
        if after == "half written": head_module.sha256 = die
        if after == "moved aside": os.replace = die
        if after == "replaced": os.replace = lambda *args: (replace(*args), die())
        head.save(folder)
    finally: os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("after", ["half written", "moved aside", "replaced"])
def test_a_saved_learner_survives_a_kill_while_it_is_replaced(tmp_path, after):
    first, second = Head(2).fit(X, Y), Head(2).fit(X, 1 - Y)
    first.save(tmp_path / "a")
    killed_while_saving(second, tmp_path / "a", after)
    left = {p.name for p in tmp_path.iterdir()} - {"a"}
    assert left, "the kill should leave something to sweep"
    for again in (Head.load(tmp_path / "a"), load_learner(tmp_path / "a")):
        assert np.array_equal(again.W, first.W) == (after != "replaced")
    first.save(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert np.array_equal(Head.load(tmp_path / "a").W, first.W)


def test_a_save_that_is_still_running_is_not_swept_away(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    busy, foreign = tmp_path / f".a.{other.pid}.tmp", tmp_path / ".a.txt.tmp"
    busy.mkdir()
    foreign.write_text("somebody's")
    Head(2).fit(X, Y).save(tmp_path / "a")
    assert {p.name for p in tmp_path.iterdir()} == {"a", busy.name, foreign.name}
    other.communicate(b"\n")
    Head(2).fit(X, Y).save(tmp_path / "a")
    assert {p.name for p in tmp_path.iterdir()} == {"a", foreign.name}


def test_someone_elses_filter():
    "Three lines: a function, a name in the dict, its own parameters."
    from anchoral import filters
    def nearest_to_first(state, rng, radius=.5):
        return filters.Subpool(np.flatnonzero(~state.excluded)[:int(10*radius)])
    filters.FILTERS["mine"] = nearest_to_first
    try:
        from worlds import state
        assert len(make_filter("mine", radius=.3)(state()[0], None)) == 3
        assert make_config(filter="mine").filter == "mine"
    finally: del filters.FILTERS["mine"]
