"""What a user may hand in by mistake, files damaged anywhere, texts of every kind: our words, or the right answer."""
import json
import os
import random
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from failures import dead
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import clustered

from anchoral import embeddings as E
from anchoral import files
from anchoral.data import Task
from anchoral.embeddings import encode, find_encoder, fit_lsa, load_lsa, load_vectors, model_folder, save_lsa, unit
from anchoral.head import Sklearn
from anchoral.index import BM25Index, ExactIndex, HNSWIndex, make_index
from anchoral.loop import ActiveLearner

FUZZ = int(os.environ.get("ANCHORAL_FUZZ", 300))  # damaged files in all; thousands before a release
X = clustered(40, 8)[0]
POOL = [f"{a} {b} market" for a in ("tin", "gold", "oil", "rain", "wheat") for b in ("price", "output", "fall", "rise")]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return tmp_path/"cache"


def letters(texts): return np.array([[1 + t.count(c) for c in "abcdefgh"] for t in texts])


letters.name = "letters"


# Texts of every kind through every format

NASTY = st.lists(st.one_of(
    st.text(st.characters(exclude_categories=())), st.text(st.sampled_from("\0\r\n\t\",;\x85\u2028\ufeff\u200b a=+-@")),
    st.sampled_from(["a\rb", "\r", "a\0b", "\ud800", "x\udfffy", "\ufeffa", "a\u2028b", "=1+1", "'", '"', '""', "İ"])),
    min_size=1, max_size=6)


def is_refused(texts):
    return [i for i, t in enumerate(texts) if not t.strip() or any("\ud800" <= c <= "\udfff" for c in t)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=NASTY)
def test_texts_come_back_from_every_format_or_are_refused_with_their_row(tmp_path, texts):
    frame = pd.DataFrame({"text": texts, "y": "a"}, dtype=object)
    make = dict(label="y", classes=["a", "b"], minority="b")
    refused = is_refused(texts)
    if refused:
        with pytest.raises(ValueError, match="texts.*first at rows") as e: Task.from_frame(frame, **make)
        assert int(re.search(r"rows \[(\d+)", str(e.value))[1]) in refused
        with pytest.raises(ValueError, match="first at rows"): encode(texts, letters)
        return
    want = list(dict.fromkeys(texts))
    assert Task.from_frame(frame, **make).texts == want
    frame.to_parquet(tmp_path/"x.parquet")
    assert Task.from_frame(tmp_path/"x.parquet", **make).texts == want
    import csv
    with open(tmp_path/"x.csv", "w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, quoting=csv.QUOTE_ALL)
        writer.writerow(["text", "y"])
        writer.writerows([t, "a"] for t in texts)
    assert Task.from_frame(tmp_path/"x.csv", **make).texts == want
    assert np.array_equal(encode(texts, letters), unit(letters(texts)))  # through the keys of the cache


# Things that are no vectors

def tensor(): return pytest.importorskip("torch").ones(3, 2, requires_grad=True)


def sparse():
    import scipy.sparse
    return scipy.sparse.csr_matrix(np.eye(3))


@pytest.mark.parametrize("make, says", [
    (sparse, "a sparse matrix.*toarray"), (tensor, r"got torch.Tensor; give .detach\(\)"),
    (lambda: [[1., 2.], [1.]], "must be an .n, d. array of numbers, got list"), (lambda: None, "must be an"),
    (lambda: "words".split(), "must be an"), (lambda: 3, "must be an"), (lambda: {"a": [1]}, "must be an"),
])
def test_what_are_no_vectors_is_named(make, says):
    rows = make()
    with pytest.raises(ValueError, match=says): load_vectors(rows)
    with pytest.raises(ValueError, match=says): unit(rows)
    with pytest.raises(ValueError, match="vectors must be a numpy array"): make_index(rows)
    with pytest.raises(ValueError, match="encoder output"): encode(["a"], lambda texts: rows)


def test_tensors_and_frames_that_are_arrays_are_taken():
    torch = pytest.importorskip("torch")
    assert np.allclose(load_vectors(torch.from_numpy(X)), X) and np.allclose(load_vectors(pd.DataFrame(X)), X)
    assert encode(["ab", "c"], lambda texts: torch.tensor(letters(texts), dtype=torch.float32)).shape == (2, 8)


def test_a_model_object_is_named():
    torch = pytest.importorskip("torch")
    class SentenceTransformer(torch.nn.Sequential):
        def encode(self, texts): return letters(texts)
    with pytest.raises(ValueError, match=r"got a model \(SentenceTransformer\); give its method `encode`, or its name"):
        encode(["a"], SentenceTransformer())
    assert encode(["a"], SentenceTransformer().encode).shape == (1, 8)


@pytest.mark.parametrize("texts", [{"a": 1}, {"a", "b"}, pd.DataFrame({"text": ["a"]}), 3])
def test_what_is_no_list_of_texts_is_named(texts):
    with pytest.raises(ValueError, match=f"must be a list of strings, got {type(texts).__name__}"):
        encode(texts, letters)


@pytest.mark.parametrize("encoder", ["", " ", ".", "FOLDER", Path(".")])
def test_a_folder_without_a_model_is_refused_before_it_is_read(tmp_path, monkeypatch, encoder):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"notes.txt").write_text("mine")
    (tmp_path/"part").mkdir()
    (tmp_path/"part/config.json").write_text("{}")  # somebody else's, further down
    monkeypatch.setattr(E, "_file_sha256", lambda path: pytest.fail(f"{path} was read"))
    encoder = str(tmp_path) if encoder == "FOLDER" else encoder
    with pytest.raises(ValueError, match="a folder without a model; give a folder with config.json|unknown encoder"):
        find_encoder(encoder)


def test_a_checkpoint_with_code_of_its_own_is_refused(tmp_path, monkeypatch):
    "Whatever is answered at a terminal, the code is not run."
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr("builtins.input", lambda *a: "y")
    (tmp_path/"evil.py").write_text(f"open({str(tmp_path/'ran')!r}, 'w')\nclass Model: pass\nclass Config: pass\n")
    (tmp_path/"model.safetensors").write_bytes(b"")
    (tmp_path/"config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {
        "AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}))
    with pytest.raises(OSError, match="could not load the model in .*needs no code of its own"):
        encode(["a"], str(tmp_path))
    (tmp_path/"modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Model"}]))
    with pytest.raises(OSError, match="asks for code of its own .evil.Model., which is never run"):
        encode(["a"], str(tmp_path))
    assert not (tmp_path/"ran").exists()


# Vectors in files

def test_ids_are_matched_as_they_are(tmp_path):
    pd.DataFrame({"uid": [150, 151], "v": [[1., 0.], [0., 1.]]}).to_parquet(tmp_path/"x.parquet")
    find = lambda ids: load_vectors(tmp_path/"x.parquet", id_column="uid", ids=ids)
    for ids in ([151, 150], np.array([151, 150]), pd.Series([151, 150])):
        assert find(ids).tolist() == [[0, 1], [1, 0]]
    for ids in ([150.7], ["150"], [float("nan")], [None]):
        with pytest.raises(ValueError, match="lacks 1 of 1 ids, first .*several types"): find(ids)
    with pytest.raises(ValueError, match="ids must be a list of names"): find("150")
    for index in (ExactIndex(X), HNSWIndex(X)):
        with pytest.raises(ValueError, match="whole numbers, got float64"): index.neighbours([1.7], 3)


def test_ids_are_not_guessed(tmp_path):
    "A column of ids that a gap has made floating is no dimension, and one that is not used is named."
    pd.DataFrame({"uid": [150., 151., 7.], "a": [.6, 0, .2], "b": [.8, 1, .3]}).to_parquet(tmp_path/"x.parquet")
    with pytest.raises(ValueError, match="column 'uid' holds whole numbers .*give id_column='uid'"):
        load_vectors(tmp_path/"x.parquet")
    pd.DataFrame({"uid": [5, 3], "v": [[1., 0.], [0., 1.]]}).to_parquet(tmp_path/"y.parquet")
    with pytest.warns(UserWarning, match=r"order of the file, and the columns \['uid'\] are not used"):
        load_vectors(tmp_path/"y.parquet")


@pytest.mark.parametrize("frame, says", [
    ({"v": [[1., 2.], []]}, r"1 of 2 rows are empty, first at \[1\]"),
    ({"v": [[1., 2.], None]}, r"1 of 2 rows are empty, first at \[1\]"),
    ({"v": [[], []]}, r"2 of 2 rows are empty, first at \[0, 1\]"),
    ({"v": [["a"], ["b"]]}, "holds lists of .*string, no numbers"),
    ({"v": [[1., None], [1., 2.]]}, r"zero or not finite, first at \[0\]"),
])
def test_rows_that_are_no_vectors_are_named(tmp_path, frame, says):
    pd.DataFrame(frame).to_parquet(tmp_path/"x.parquet")
    with pytest.raises(ValueError, match=says): load_vectors(tmp_path/"x.parquet")


# Indexes

@pytest.mark.parametrize("wrong", [dict(M=0), dict(M=1), dict(M=-3), dict(M=2.5), dict(M=True), dict(M=10**6),
                                   dict(ef_construction=0), dict(ef=0), dict(ef="200")])
def test_graphs_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a whole number from"): HNSWIndex(X, **wrong)


@pytest.mark.parametrize("make", [ExactIndex, HNSWIndex, lambda x: BM25Index(POOL*2, x)])
def test_k_far_above_the_pool_is_refused_before_room_is_made_for_it(make):
    ids, sims = make(X).neighbours([0, 3], 50)
    assert ids.shape == sims.shape == (2, 50) and (ids[:, 40:] == -1).all()
    with pytest.raises(ValueError, match="k=1,000,000,000 is far above the pool's 40 instances.*give at most 40"):
        make(X).neighbours([0, 3], 10**9)
    for k in (2.5, "3", True, None):
        with pytest.raises(ValueError, match="k must be a whole number"): make(X).neighbours([0], k)


def test_what_an_index_is_asked_with():
    index = ExactIndex(X)
    with pytest.raises(ValueError, match="query vectors are a sparse matrix"): index.search(sparse(), 1)
    with pytest.raises(ValueError, match="query vectors must be a .q, 8. array"): index.search([[1, 2], [3]], 1)
    with pytest.raises(ValueError, match="exclude must be a numpy array"): index.neighbours([0], 1, [False]*40)
    with pytest.raises(ValueError, match="ids must be whole numbers in a row"): index.neighbours([[1], [2, 3]], 1)
    with pytest.raises(ValueError, match="give the pool's texts"): make_index(X, "bm25")


# Texts without spaces

CHINESE = [f"金属价格上涨到历史最高水平第{i}次市场反应强烈" for i in range(30)]


def test_words_of_texts_without_spaces_are_not_compared_in_silence():
    for call in (lambda: fit_lsa(CHINESE + ["金属 价格", "金属 市场"]), lambda: BM25Index(CHINESE, X[:30]),
                 lambda: encode(CHINESE, "lsa", fit_on=CHINESE + POOL)):
        with pytest.warns(UserWarning, match="of the texts have no spaces .*encoder made for the language"): call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_lsa(POOL), BM25Index(POOL, X[:20])


def test_lsa_says_that_texts_share_no_word():
    texts = [f"word{i}" for i in range(2000)]
    with pytest.raises(ValueError, match="hardly a word is in two of the 2,000 texts .*use a sentence encoder"):
        fit_lsa(texts)
    with pytest.raises(ValueError, match="do not have two different words"): fit_lsa(["the"]*2000)


# Damaged files

def damaged(whole, rng):
    "A file with one byte changed, cut short, longer, or with a stretch of noise."
    data = bytearray(whole)
    kind = rng.randrange(5)
    if kind < 2: data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if kind == 2: del data[rng.randrange(len(data)):]
    if kind == 3: data += rng.randbytes(rng.randrange(1, 20))
    if kind == 4:
        at = rng.randrange(len(data))
        data[at:at+8] = rng.randbytes(8)
    return bytes(data)


def is_noticed_or_harmless(path, read, same, times, seed):
    "Each damage is an error of ours that names a file of the folder, or changes nothing."
    whole, rng = path.read_bytes(), random.Random(seed)
    for _ in range(times):
        path.write_bytes(damaged(whole, rng))
        try: got = read()
        except (ValueError, OSError) as e:
            assert str(path.parent) in str(e) or path.name in str(e), e
            assert ";" in str(e), e  # and it says what to do
        else: assert same(got), path.name
    path.write_bytes(whole)
    assert same(read())


def test_a_changed_byte_of_a_saved_lsa_is_noticed(tmp_path):
    lsa = fit_lsa(POOL, dims=4)
    save_lsa(lsa, tmp_path/"lsa.npz")
    want = lsa(POOL)
    same = lambda got: got.name == lsa.name and got.words == lsa.words and np.array_equal(got(POOL), want)
    is_noticed_or_harmless(tmp_path/"lsa.npz", lambda: load_lsa(tmp_path/"lsa.npz"), same, FUZZ//4, 1)
    with pytest.raises(FileNotFoundError, match="no file .*nowhere.npz"): load_lsa(tmp_path/"nowhere.npz")


def test_a_saved_lsa_of_an_older_version_is_read(tmp_path):
    lsa = fit_lsa(POOL, dims=4)
    words = np.frombuffer("\n".join(lsa.words).encode(), np.uint8)
    np.savez(tmp_path/"old.npz", name=np.array(lsa.name), words=words, idf=lsa.idf, components=lsa.components,
             mean=lsa.mean)
    assert np.array_equal(load_lsa(tmp_path/"old.npz")(POOL), lsa(POOL))


@pytest.mark.parametrize("file", ["graph.json", "graph.hnsw"])
def test_a_changed_byte_of_a_saved_index_is_noticed(tmp_path, file):
    index = HNSWIndex(X, M=4, ef_construction=20, ef=30)
    index.save(tmp_path)
    want = index.neighbours(range(40), 5)[0]
    same = lambda got: (got.M, got.ef_construction, got.ef) == (4, 20, 30) and np.array_equal(
        got.neighbours(range(40), 5)[0], want)
    is_noticed_or_harmless(tmp_path/file, lambda: HNSWIndex.load(tmp_path, X), same, FUZZ//4, 2)


@pytest.mark.parametrize("file", ["vectors.f32", "keys.bin", "meta.json"])
def test_a_changed_byte_of_the_vectors_on_disk_is_noticed_or_costs_the_work_again(file, monkeypatch):
    "The key of a row may be lost: then its text is encoded again."
    want = encode(POOL, letters)
    folder = next((files.cache_dir()/"embeddings").iterdir())
    kept = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    def read():
        for path, content in kept.items():
            if path.name != file: path.write_bytes(content)
        return encode(POOL, letters)
    is_noticed_or_harmless(folder/file, read, lambda got: np.array_equal(got, want), FUZZ//8, 3)


def test_a_changed_byte_of_a_gathered_file_is_noticed(monkeypatch):
    monkeypatch.setattr(E, "_IN_MEMORY_BYTES", 0)
    encode(POOL, letters)
    want = encode(POOL[::-1], letters)
    path = next((files.cache_dir()/"embeddings").glob("*/gathered/*.npy"))
    is_noticed_or_harmless(path, lambda: encode(POOL[::-1], letters), lambda got: np.array_equal(got, want), FUZZ//8, 4)


@pytest.mark.parametrize("name, make, read", [
    ("x.parquet", lambda p: pd.DataFrame({"v": list(X)}).to_parquet(p), load_vectors),
    ("x.npy", lambda p: np.save(p, X), load_vectors),
    ("t.parquet", lambda p: pd.DataFrame({"text": POOL, "y": "a"}).to_parquet(p), lambda p: Task.from_frame(
        p, label="y", classes=["a", "b"], minority="b")),
    ("t.csv", lambda p: pd.DataFrame({"text": POOL, "y": "a"}).to_csv(p), lambda p: Task.from_frame(
        p, label="y", classes=["a", "b"], minority="b")),
])
def test_a_damaged_file_of_the_users_raises_our_words(tmp_path, name, make, read):
    "Such a file has no check of ours, so a change may go unseen; what is seen is named."
    make(tmp_path/name)
    whole, rng = (tmp_path/name).read_bytes(), random.Random(5)
    for _ in range(FUZZ//10):
        (tmp_path/name).write_bytes(damaged(whole, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try: read(tmp_path/name)
            except (ValueError, FileNotFoundError): pass


# Full disks and kills

def test_a_graph_that_was_cut_by_a_full_disk_is_not_kept(tmp_path):
    "hnswlib does not look whether a write succeeded."
    index = HNSWIndex(X, M=4)
    class Cut:
        def __init__(self, graph): self.graph = graph
        def index_file_size(self): return self.graph.index_file_size()
        def save_index(self, path):
            self.graph.save_index(path)
            os.truncate(path, 100)
    index.graph = Cut(index.graph)
    with pytest.raises(OSError, match="could not write .*graph.hnsw: 100 of .* bytes"): index.save(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_written_is_swept(cache, tmp_path):
    encode(POOL, letters)
    folder = next((files.cache_dir()/"embeddings").iterdir())
    left = [f/f".x.{dead()}.tmp" for f in (folder, tmp_path)]
    for path in left:
        path.touch()
        os.utime(path, (1, 1))
    encode([*POOL, "one more"], letters)
    assert not left[0].exists()
    HNSWIndex(X).save(tmp_path)
    assert not left[1].exists() and HNSWIndex.load(tmp_path, X).M == 64


# Parts of one's own

def tickets(n=40):
    frame = pd.DataFrame(dict(body=[f"{'gold mine' if i % 3 else 'wheat crop'} number {i}" for i in range(n)]))
    return Task.from_frame(frame.assign(kind=["a" if i % 3 else "b" for i in range(n)]).assign(
        kind=lambda d: d.kind.where(d.index < 9)), text="body", label="kind", minority="b")


@pytest.mark.parametrize("form", ["array", "tensor", "frame", "list"])
def test_vectors_of_ones_own_take_the_place_of_the_encoder(form):
    "Index and head read them; a new text has none, and an error says so; the number of rows must be right."
    torch = pytest.importorskip("torch") if form == "tensor" else None
    vectors = dict(array=X, tensor=torch and torch.from_numpy(X), frame=pd.DataFrame(X), list=X.tolist())[form]
    al = ActiveLearner.from_task(tickets(), encoder=vectors)
    assert np.allclose(al.state.index.vectors, X) and al.x is al.state.index.vectors and len(al.ask(5)) == 5
    with pytest.raises(ValueError, match="vectors are yours.*give an encoder instead"): al.learner.predict(["gold"])
    with pytest.raises(ValueError, match="40 rows, but there are 39 texts"):
        ActiveLearner.from_task(tickets(39), vectors)
    from sklearn.naive_bayes import GaussianNB
    own = ActiveLearner.from_task(tickets(), encoder=vectors, learner=Sklearn(GaussianNB()))
    assert own.x is own.state.index.vectors and len(own.ask(5)) == 5


def test_a_classifier_takes_the_encoder_of_the_index():
    from sklearn.naive_bayes import GaussianNB
    al = ActiveLearner.from_task(tickets(), "lsa", learner=Sklearn(GaussianNB()))
    assert len(al.ask(5)) == 5 and al.x.shape == al.state.index.vectors.shape
    assert al.learner.predict(["gold mine"]).shape == (1, 2)
    with pytest.raises(ValueError, match="no encoder yet.*encoder=\"minilm\""): Sklearn(GaussianNB()).prepare(["a"])


def test_sparse_rows_are_refused_as_vectors_with_a_way_out():
    with pytest.raises(ValueError, match="sparse matrix.*TruncatedSVD"): ActiveLearner.from_task(tickets(), sparse())


def test_a_model_in_memory_is_an_encoder(tmp_path, monkeypatch):
    "Its vectors are kept under what is in it: the same model finds them, a changed one does not."
    library = pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path))
    model = library.SentenceTransformer(str(model_folder("minilm")), device="cpu", local_files_only=True)
    texts, calls, real = ["gold mine", "wheat crop", "gold "*400], [], model.encode
    monkeypatch.setattr(model, "encode", lambda *a, **k: (calls.append(1), real(*a, **k))[1], raising=False)
    with pytest.warns(UserWarning, match="33% of 3 texts are longer .*max_seq_length=256 says where"):
        x = encode(texts, model)
    assert np.allclose(x, encode(texts, max_tokens=256), atol=1e-5) and len(calls) == 1
    assert np.array_equal(encode(texts, model), x) and len(calls) == 1
    model.max_seq_length = 8
    encode(texts[:2], model)
    next(model.parameters()).data[0, 0] += 1
    encode(texts[:2], model)
    assert len(calls) == 3
    assert ActiveLearner.from_task(tickets(), encoder=model).learner.encoder is model
