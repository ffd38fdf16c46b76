"""The two learners, on random numbers and on tiny models of the six architectures of Table 1 and of MPNet."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoral import finetune
from anchoral import head as head_module
from anchoral.finetune import CHECKPOINTS, LEARNERS, FineTune, Tokens, f1_per_class, load_learner, schedule
from anchoral.head import Head, check_labels, softmax

sys.path.insert(0, str(Path(__file__).parent))
import tiny  # noqa: E402

needs_torch = pytest.mark.skipif(not all(map(__import__("importlib").util.find_spec, ("torch", "transformers"))),
                                 reason="the torch extra is not installed")


def toy(n=40, h=5, classes=3, seed=0):
    """Rows in `classes` overlapping clouds, every class present."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(classes), rng.integers(classes, size=n - classes)]
    return (rng.normal(size=(classes, h))[y] + rng.normal(size=(n, h))).astype(np.float32), y


# ---------------------------------------------------------------- the contract

@pytest.mark.parametrize("name", LEARNERS)
def test_signatures(name):
    """The loop calls every learner in the same way."""
    def names(f): return list(inspect.signature(f).parameters)[1:]
    kind = LEARNERS[name]
    assert names(kind.fit) == ["x", "y", "init_seed", "rng"] and names(kind.outputs) == ["x", "ids"]
    assert names(kind.prepare) == ["texts", "fit_on"] and names(kind.predict)[0] == "texts"
    assert names(kind.save) == ["folder"]
    assert list(inspect.signature(kind).parameters)[:2] == ["n_classes", "minority"]


def test_import_is_light():
    """Nothing heavy is loaded before it is used."""
    code = ("import sys, anchoral.finetune; "
            "print([m for m in ('torch', 'transformers', 'sentence_transformers') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_torch(tmp_path):
    """`Head` works on given rows; `FineTune` says in one line what to install."""
    code = f"""
from importlib.machinery import PathFinder
find, hide = PathFinder.find_spec, {{"torch", "transformers", "sentence_transformers", "tokenizers"}}
PathFinder.find_spec = classmethod(lambda cls, name, *a: None if name.split(".")[0] in hide else find(name, *a))
import numpy as np
from anchoral.finetune import FineTune
from anchoral.head import Head
x, y = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
head = Head(2).fit(x, y)
head.save({str(tmp_path / "head")!r})
assert np.array_equal(Head.load({str(tmp_path / "head")!r}).outputs(x).probs, head.outputs(x).probs)
try: FineTune(2)
except ImportError as e: print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == 'FineTune needs torch and transformers: pip install "anchoral[torch]"\n', done.stderr


@pytest.mark.parametrize("y, says", [([0, 0, 0], "every label is class 0"), ([0, 1, 3], "label 3"),
                                     ([0, 1, -1], "label -1"), ([0., 1., 1.], "integers"),
                                     ([0, 1], "one label per row"), ([], "one label per row")])
def test_labels(y, says):
    with pytest.raises(ValueError, match=says): check_labels(np.zeros((3, 2)), y, 3)


def test_no_labels():
    with pytest.raises(ValueError, match="empty"): check_labels(np.zeros((0, 2)), np.array([], int), 3)


# ---------------------------------------------------------------- Head

@settings(max_examples=25, deadline=None)
@given(classes=st.integers(2, 5), seed=st.integers(0, 10**6), C=st.sampled_from([.1, 1., 10.]))
def test_head_is_sklearn(classes, seed, C):
    """Two routes to one number: our rows of W through a softmax, and scikit-learn's own `predict_proba`."""
    from sklearn.linear_model import LogisticRegression
    x, y = toy(classes=classes, seed=seed)
    head = Head(classes, C=C).fit(x, y)
    theirs = LogisticRegression(C=C, max_iter=10_000).fit(x.astype(np.float64), y).predict_proba(x)
    out = head.outputs(x)
    assert np.allclose(out.probs, theirs, atol=1e-5)
    assert np.array_equal(softmax(out.hidden @ head.W.T + head.bias), out.probs) and np.array_equal(out.hidden, x)
    assert out.probs.dtype == out.hidden.dtype == head.W.dtype == head.bias.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(classes=st.integers(3, 6), seed=st.integers(0, 10**6), data=st.data())
def test_head_unseen(classes, seed, data):
    """A class that is not among the labels has probability 0, and the others are as if it did not exist."""
    seen = sorted(data.draw(st.sets(st.integers(0, classes - 1), min_size=2, max_size=classes - 1)))
    x, y = toy(classes=len(seen), seed=seed)
    probs = Head(classes).fit(x, np.array(seen)[y]).outputs(x).probs
    assert (np.delete(probs, seen, axis=1) == 0).all() and np.allclose(probs.sum(1), 1, atol=1e-6)
    assert np.array_equal(probs[:, seen], Head(len(seen)).fit(x, y).outputs(x).probs)


def test_head_neither_seed_matters():
    x, y = toy()
    a, b = Head(3).fit(x, y, 0, np.random.default_rng(0)), Head(3).fit(x, y, 1, np.random.default_rng(1))
    assert np.array_equal(a.W, b.W) and np.array_equal(a.bias, b.bias)


def test_head_outputs_survive_a_fit():
    """Outputs not read yet keep the weights they were asked of."""
    x, y = toy()
    head = Head(3).fit(x, y)
    now, later = head.outputs(x).probs, head.outputs(x)
    head.fit(x[::-1], y)
    assert np.array_equal(later.probs, now) and not np.array_equal(head.outputs(x).probs, now)


def test_head_empty_and_readonly():
    x, y = toy()
    x.flags.writeable = False
    head = Head(3).fit(x, y)
    assert head.outputs(x[:0]).probs.shape == (0, 3) and head.outputs(x[:0]).hidden.shape == (0, 5)
    assert head.outputs(x[:2], ids=np.array([7, 9])).ids.tolist() == [7, 9]
    with pytest.raises(ValueError, match="2 ids"): head.outputs(x, ids=[1, 2])
    with pytest.raises(ValueError, match="rows of 5 numbers"): head.outputs(x[:, :3])


def test_head_texts(monkeypatch, tmp_path):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path))
    texts, y = tiny.toy_texts(60)
    head = Head(3, encoder="lsa")
    x = head.prepare(texts, fit_on=texts)
    head.fit(x[:30], y[:30])
    assert (head.outputs(x[30:]).probs.argmax(1) == y[30:]).mean() > .8
    assert np.allclose(head.predict(texts[:5]), head.outputs(x[:5]).probs, atol=1e-5)


def test_head_save(tmp_path):
    x, y = toy()
    head = Head(4, minority=(np.int64(2),), C=3.).fit(x, y)
    head.save(tmp_path / "a")
    head.save(tmp_path / "a")  # over itself
    for same in (Head.load(tmp_path / "a"), load_learner(str(tmp_path / "a"))):
        assert (same.n_classes, same.minority, same.C) == (4, (2,), 3.)
        assert np.array_equal(same.W, head.W) and np.array_equal(same.bias, head.bias)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_head_saves_a_fitted_encoder(tmp_path):
    "Elsewhere there is no pool to fit on; the vectors must be those it was trained on, not another pool's."
    pool, y = [f"{a} {b}" for a in "tin gold corn wheat".split() for b in "mine field rise".split()], np.arange(12) // 6
    head = Head(2, minority=(1,), encoder="lsa")
    head.fit(head.prepare(pool, fit_on=pool), y).save(tmp_path/"a")
    code = (f"from anchoral.finetune import load_learner; a = load_learner({str(tmp_path/'a')!r}); "
            f"a.save({str(tmp_path/'b')!r}); print(a.predict(['gold rise', 'corn field']).tolist())")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose(json.loads(said), head.predict(["gold rise", "corn field"]), atol=1e-6)
    np.testing.assert_allclose(Head.load(tmp_path/"b").predict(["gold rise"]), head.predict(["gold rise"]), atol=1e-6)


def damage(folder):
    """Ways in which a saved learner goes wrong, each with a word of the error."""
    def cut(f): f.write_bytes(f.read_bytes()[:-10])
    def flip(f): b = bytearray(f.read_bytes()); b[-1] ^= 1; f.write_bytes(bytes(b))
    weights = next(folder.glob("*.safetensors"))
    return {"missing": weights.unlink, "damaged": lambda: flip(weights), "digest": lambda: cut(weights),
            "learner.json is damaged": lambda: cut(folder / "learner.json"),
            "has no learner.json": (folder / "learner.json").unlink}


@pytest.mark.parametrize("way", ["missing", "damaged", "digest", "learner.json is damaged", "has no learner.json"])
def test_damaged(way, tmp_path):
    Head(3).fit(*toy()).save(tmp_path / "a")
    damage(tmp_path / "a")[way]()
    with pytest.raises(ValueError, match=way): Head.load(tmp_path / "a")


def test_save_refuses(tmp_path):
    """Only a saved learner is ever replaced, and an interrupted save leaves the old one."""
    head = Head(3).fit(*toy())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("four years")
    with pytest.raises(ValueError, match="not a saved learner"): head.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    head.save(tmp_path / "a")
    before, bad = head.W.copy(), Head(3).fit(*toy(seed=1))
    bad.bias = "not an array"
    with pytest.raises(Exception): bad.save(tmp_path / "a")
    assert np.array_equal(Head.load(tmp_path / "a").W, before) and {p.name for p in tmp_path.iterdir()} == {"a", "mine"}
    with pytest.raises(ValueError, match="fit before save"): Head(3).save(tmp_path / "b")
    with pytest.raises(ValueError, match="call fit first"): Head(3).outputs(np.zeros((1, 5)))


@pytest.mark.parametrize("wrong", [dict(n_classes=1), dict(n_classes=0), dict(n_classes=2.5), dict(minority=(3,)),
                                   dict(minority=(-1,)), dict(C=0), dict(C=float("nan")), dict(max_tokens=0),
                                   dict(encoder="minilmm")])
def test_head_parameters(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=name): Head(**{"n_classes": 3, **wrong})


# ---------------------------------------------------------------- pieces of the fine-tuning

@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=9), st.data())
def test_tokens(rows, data):
    x = Tokens.of(rows)
    at = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)), int)
    ids, mask = x[at][np.arange(len(at))[::-1]].pad(0)
    assert len(x) == len(rows) and len(x[at]) == len(at)
    assert [[int(v) for v in r[m == 1]] for r, m in zip(ids, mask)] == [rows[i] for i in at[::-1]]
    assert (ids[mask == 0] == 0).all()


@given(st.integers(1, 6000), st.integers(1, 64), st.integers(1, 20), st.integers(0, 300))
def test_schedule(n, batch_size, epochs, min_steps):
    """Whole epochs, both wishes met, and not one epoch more."""
    e, steps = schedule(n, batch_size, epochs, min_steps)
    assert steps * batch_size >= n > (steps - 1) * batch_size
    assert e >= epochs and e * steps >= min_steps and (e == epochs or (e - 1) * steps < min_steps)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
       st.sets(st.integers(0, 3), min_size=1))
def test_f1(pairs, classes):
    from sklearn.metrics import f1_score
    y, pred = np.array(pairs).T
    classes = sorted(classes)
    assert np.allclose(f1_per_class(y, pred, 4)[classes],
                       f1_score(y, pred, labels=classes, average=None, zero_division=0))


# ---------------------------------------------------------------- FineTune

@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder per architecture."""
    import torch
    torch.set_num_threads(1)
    return {kind: str(tiny.build(kind, tmp_path_factory.mktemp("models") / kind)) for kind in tiny.ARCHITECTURES}


TEXTS, LABELS = tiny.toy_texts(60, seed=1)


def quick(model, **more):
    """A few steps of training, enough to move every weight."""
    return FineTune(**dict(n_classes=3, minority=(2,), model=model, lr=1e-3, batch_size=8, epochs=2, min_steps=0,
                           device="cpu") | more)


def state(learner): return {k: v.clone() for k, v in learner.net.state_dict().items()}


def same(a, b): return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)


each = pytest.mark.parametrize("kind", tiny.ARCHITECTURES)


@needs_torch
@each
def test_identity(kind, models):
    """logits == hidden @ W.T + bias, against the network's own logits; text order and batching do not matter."""
    import torch
    ft = quick(models[kind])
    x = ft.prepare([*TEXTS, "", "gold </s> wheat <|endoftext|>"])
    ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0))
    out = ft.outputs(x)
    assert out.probs.shape == (62, 3) and out.hidden.shape == (62, ft.W.shape[1])
    assert out.probs.dtype == out.hidden.dtype == ft.W.dtype == ft.bias.dtype == np.float32
    logits = out.hidden @ ft.W.T + ft.bias
    assert np.allclose(softmax(logits), out.probs, atol=1e-6) and np.allclose(out.probs.sum(1), 1, atol=1e-6)
    for i in (0, 7, 60, 61):  # alone and unpadded, by the model's own forward
        ids, mask = (torch.from_numpy(v) for v in x[[i]].pad(0))
        with torch.no_grad(): own = ft.net.eval()(input_ids=ids, attention_mask=mask).logits.numpy()
        assert np.allclose(own, logits[i], atol=1e-5)
    assert out.hidden.std(0).max() > 1e-4  # the rows differ


@needs_torch
@each
def test_repeats(kind, models):
    """Seeds decide everything: bit by bit the same, in a new object and after another fit."""
    a, b = quick(models[kind]), quick(models[kind])
    x = a.prepare(TEXTS)
    first = state(a.fit(x[:24], LABELS[:24], 3, np.random.default_rng(5)))
    assert same(first, state(b.fit(x[:24], LABELS[:24], 3, np.random.default_rng(5))))
    a.fit(x[20:50], LABELS[20:50], 3, np.random.default_rng(6))
    assert not same(first, state(a))
    assert same(first, state(a.fit(x[:24], LABELS[:24], 3, np.random.default_rng(5))))


@needs_torch
def test_a_rare_class_without_a_label_does_not_choose_the_epoch(models):
    "The epoch is picked by the training F1 of the rare classes that have a label."
    logs = []
    for minority in [(1,), (1, 3), ()]:
        ft = quick(models["bert"], n_classes=4, minority=minority)
        x = ft.prepare(TEXTS)
        ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0))
        assert (ft.outputs(x).probs[:, 3] == 0).all()
        logs.append(ft.log)
    assert logs[0] == logs[1] and logs[0] != logs[2]


@needs_torch
@each
def test_round_trip(kind, models, tmp_path):
    ft = quick(models[kind], n_classes=4)
    x = ft.prepare(TEXTS)
    ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0)).save(tmp_path / "m")
    again = FineTune.load(tmp_path / "m")
    assert np.array_equal(again.predict(TEXTS), ft.predict(TEXTS)) and np.array_equal(again.bias, ft.bias)
    assert (again.predict(TEXTS)[:, 3] == 0).all() and again.bias[3] == -np.inf  # class 3 was not seen
    assert (again.model, again.lr, again.log) == (ft.model, ft.lr, ft.log)
    assert not list((tmp_path / "m").glob("*.bin")) and [p.name for p in tmp_path.iterdir()] == ["m"]


@needs_torch
def test_fit_after_load(models, tmp_path):
    """A loaded learner starts its next fit from the pretrained weights, not from the saved ones."""
    ft = quick(models["bert"])
    x = ft.prepare(TEXTS)
    first = state(ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0)))
    ft.save(tmp_path / "m")
    again = FineTune.load(tmp_path / "m")
    assert same(first, state(again.fit(again.prepare(TEXTS)[:24], LABELS[:24], 0, np.random.default_rng(0))))


@needs_torch
def test_fresh_process(models):
    """The same fit in another process, started with another hash seed, gives the same bits."""
    code = f"""
import sys, numpy as np, torch
sys.path[:0] = [{str(Path(__file__).parent)!r}]
torch.set_num_threads(1)
import test_learners as t
ft = t.quick({models["bert"]!r})
x = ft.prepare(t.TEXTS)
ft.fit(x[:24], t.LABELS[:24], 3, np.random.default_rng(5))
print(t.fingerprint(ft, x))
"""
    ft = quick(models["bert"])
    x = ft.prepare(TEXTS)
    ft.fit(x[:24], LABELS[:24], 3, np.random.default_rng(5))
    env = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip().endswith(fingerprint(ft, x)), done.stderr


def fingerprint(learner, x):
    from anchoral.files import digest
    out = learner.outputs(x)
    return digest(*(v.numpy() for v in learner.net.state_dict().values()), out.probs, out.hidden)


@needs_torch
def test_initial_weights(models):
    """They depend on the model seed alone, never on what happened before; the head is new, the rest is pretrained."""
    import torch
    ft = quick(models["bert"])
    x = ft.prepare(TEXTS)
    start = {k: v.clone() for k, v in ft.initialise(3).state_dict().items()}
    for order in (0, 1):
        ft.fit(x[:24], LABELS[:24], 3, np.random.default_rng(order))
        torch.manual_seed(order)
        assert same(start, {k: v.clone() for k, v in ft.initialise(3).state_dict().items()})
    other = ft.initialise(4).state_dict()
    assert {k for k in start if not (start[k] == other[k]).all()} == {"classifier.weight"}
    assert same(start, ft.initialise(3).state_dict())


@needs_torch
def test_leaves_no_trace(models):
    """Training does not move torch's generator, its settings or what transformers prints."""
    import torch
    from transformers.utils import logging
    def now():
        return torch.get_rng_state().sum().item(), torch.are_deterministic_algorithms_enabled(), logging.get_verbosity()
    before, ft = now(), quick(models["bert"])
    ft.fit(ft.prepare(TEXTS)[:24], LABELS[:24], 0, np.random.default_rng(0))
    assert now() == before


@needs_torch
def test_steps(models):
    """With the defaults, at least 100 steps in whole epochs, and never fewer by early stopping."""
    ft = FineTune(3, (0,), model=models["bert"], device="cpu", max_tokens=8)
    assert (ft.lr, ft.epochs, ft.min_steps, ft.batch_size, ft.patience, ft.min_delta) == (4e-5, 10, 100, 32, 10, 1e-5)
    x = ft.prepare(TEXTS)
    ft.fit(x[:40], LABELS[:40], 0, np.random.default_rng(0))
    assert ft.log["steps"] == 100 and len(ft.log["f1"]) == 50
    assert ft.log["f1"].index(max(ft.log["f1"])) == ft.log["kept"]
    early = quick(models["bert"], lr=1e-9, epochs=50, min_steps=7, patience=3)  # cannot improve
    early.fit(x[:24], np.repeat([0, 1], 12), 0, np.random.default_rng(0))  # class 2, the minority, does not occur
    assert early.log == dict(steps=12, f1=[0.] * 4, kept=0)


@needs_torch
def test_learns_and_keeps_the_best(models):
    """Tiny random weights learn easy words; what is kept is the best epoch, not the last."""
    ft = quick(models["bert"], minority=(), lr=1e-2, epochs=20)
    x = ft.prepare(TEXTS)
    ft.fit(x[:40], LABELS[:40], 0, np.random.default_rng(0))
    assert (ft.outputs(x[40:]).probs.argmax(1) == LABELS[40:]).mean() > .6  # chance is .33, and some words are new
    kept, f1 = ft.log["kept"], ft.log["f1"]
    short = quick(models["bert"], minority=(), lr=1e-2, epochs=kept + 1)  # the same epochs, and no more
    short.fit(x[:40], LABELS[:40], 0, np.random.default_rng(0))
    assert short.log["f1"] == f1[:kept + 1] and same(state(short), state(ft))


@needs_torch
def test_layers(models):
    for kind in ("bert", "gpt2", "t5"):
        ft, full = quick(models[kind], layers=1), quick(models[kind])
        one, two = (sum(p.numel() for p in learner.initialise(0).parameters()) for learner in (ft, full))
        assert one < two
        x = ft.prepare(TEXTS)
        assert ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0)).outputs(x).probs.shape == (60, 3)
        with pytest.raises(ValueError, match="this model has 2"): quick(models[kind], layers=3).initialise(0)


@needs_torch
def test_stale_outputs(models):
    ft = quick(models["bert"])
    x = ft.prepare(TEXTS)
    out = ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0)).outputs(x)
    ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="earlier fit"): out.probs


@needs_torch
@each
def test_tokens_of_texts(kind, models):
    """Never empty, never too long; T5's rows end in exactly one end-of-sequence token."""
    ft = quick(models[kind], max_tokens=6)
    long = " ".join(TEXTS)
    x = ft.prepare(["", long, "gold </s> wheat", " "])
    assert x.sizes.min() >= 1 and x.sizes.max() == 6
    assert FineTune(3, model=models[kind], device="cpu").prepare([long]).sizes.tolist() == [32]  # where the model ends
    if kind == "t5":
        ids, mask = x.pad(-1)
        assert ((ids == ft.tokenizer.eos_token_id).sum(1) == 1).all()
        assert all(r[m == 1][-1] == ft.tokenizer.eos_token_id for r, m in zip(ids, mask))
    with pytest.raises(ValueError, match="text 1"): ft.prepare(["gold", None])
    assert len(ft.prepare([])) == 0


@needs_torch
def test_empty_outputs(models):
    ft = quick(models["gpt2"])
    x = ft.prepare(TEXTS)
    out = ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0)).outputs(x[:0])
    assert out.probs.shape == (0, 3) and out.hidden.shape == (0, 16)


@needs_torch
def test_trouble(models, tmp_path):
    ft = quick(models["bert"])
    with pytest.raises(ValueError, match="call fit first"): ft.predict(["gold"])
    with pytest.raises(ValueError, match="every label is class 1"):
        ft.fit(ft.prepare(TEXTS[:3]), [1, 1, 1], 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="smaller lr"):
        quick(models["bert"], lr=1e30).fit(ft.prepare(TEXTS), LABELS, 0, np.random.default_rng(0))
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no config.json"): quick(tmp_path / "none")
    Head(3).fit(*toy()).save(tmp_path / "head")
    with pytest.raises(ValueError, match="'head', not 'finetune'"): FineTune.load(tmp_path / "head")
    x = ft.prepare(TEXTS)
    ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0)).save(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="tokenizer.json is missing"): load_learner(tmp_path / "m")


@needs_torch
def test_no_pickles(models, tmp_path):
    """A checkpoint that has only pickled weights is refused."""
    import shutil

    import torch
    from safetensors.torch import load_file
    shutil.copytree(models["bert"], tmp_path / "p")
    torch.save(load_file(tmp_path / "p" / "model.safetensors"), tmp_path / "p" / "pytorch_model.bin")
    (tmp_path / "p" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no model.safetensors"): quick(tmp_path / "p")
    (tmp_path / "p" / "model.safetensors").write_bytes(b"half a fi")
    with pytest.raises(OSError, match="could not load"): quick(tmp_path / "p").initialise(0)


@needs_torch
@pytest.mark.parametrize("wrong", [dict(n_classes=1), dict(minority=(3,)), dict(lr=0), dict(lr=-1),
                                   dict(lr=float("nan")), dict(epochs=0), dict(batch_size=0), dict(max_tokens=0),
                                   dict(patience=0), dict(layers=0), dict(min_steps=-1), dict(device="gpu"),
                                   dict(device="cuda:99"), dict(model="bert_base"), dict(model="./no/such/folder")])
def test_finetune_parameters(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=name): FineTune(**{"n_classes": 3, **wrong})


@needs_torch
def test_table_1():
    """The six models of Table 1, each at a fixed revision with App. A.2's learning rate."""
    assert {"bert-base", "bert-tiny", "albert", "deberta", "gpt2", "t5"} <= set(CHECKPOINTS)
    for name, (_, _, lr) in CHECKPOINTS.items():
        assert FineTune(2, model=name).lr == lr == (2e-4 if name.startswith("bert-tiny") else 4e-5)


@needs_torch
def test_minilm():
    """Pretrained weights: two layers of MiniLM, the laptop's transformer."""
    from anchoral.embeddings import model_folder
    try: model_folder("minilm")
    except OSError as e: pytest.skip(str(e))
    ft = FineTune(3, model="minilm", layers=2, lr=2e-4, epochs=1, min_steps=0, max_tokens=16, device="cpu")
    x = ft.prepare(TEXTS[:12])
    probs = ft.fit(x, LABELS[:12], 0, np.random.default_rng(0)).outputs(x).probs
    assert probs.shape == (12, 3) and ft.W.shape == (3, 384) and len(ft.net.bert.encoder.layer) == 2


@needs_torch
def test_json(models, tmp_path):
    """What is saved beside the weights names everything but the machine."""
    ft = quick(models["bert"])
    ft.fit(ft.prepare(TEXTS)[:24], LABELS[:24], 0, np.random.default_rng(0)).save(tmp_path / "m")
    facts = json.loads((tmp_path / "m" / "learner.json").read_text())
    assert set(facts) == {"learner", "params", "seen", "log", "made", "files"} and "device" not in facts["params"]
    assert set(facts["files"]) == {p.name for p in (tmp_path / "m").iterdir()} - {"learner.json"}


@needs_torch
def test_amp(models):
    ft = quick(models["bert"], amp=True)
    x = ft.prepare(TEXTS)
    out = ft.fit(x[:24], LABELS[:24], 0, np.random.default_rng(0)).outputs(x)
    assert out.probs.dtype == out.hidden.dtype == np.float32 and np.isfinite(out.hidden).all()


def test_tokenize_room():
    class Stub:
        def num_special_tokens_to_add(self): return 2
    with pytest.raises(ValueError, match="max_tokens=2"): finetune._tokenize(["gold"], Stub(), 2)


def test_logistic_needs_no_help():
    """The optimiser converges: no warning, at the constants anyone would try."""
    import warnings
    x, y = toy(300, 40, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for C in (.01, 1, 100, 1e4): head_module._fit_logistic(x / np.linalg.norm(x, axis=1, keepdims=True), y, 4, C)
