"""Bad input: one clear error that names the thing, the value and the fix, before any work."""
import re

import numpy as np
import pytest
from worlds import clustered

from anchoral import cli
from anchoral.data import Task
from anchoral.filters import make_filter
from anchoral.index import ExactIndex, make_index
from anchoral.study.config import make_config
from anchoral.study.results import load_results
from anchoral.study.runs import run


@pytest.mark.parametrize("fields, says", [
    (dict(task="reuters-metal"), "unknown task 'reuters-metal'; did you mean 'reuters-metals'?"),
    (dict(filter="seal"), "did you mean 'seals'?"), (dict(strategy="margin"), "unknown strategy 'margin'"),
    (dict(learner="heads"), "did you mean 'head'?"), (dict(gamma_min="kmeans"), "did you mean 'kmeans++'?"),
    (dict(anchors=3), "did you mean 'n_anchors'?"), (dict(n_neighbours=0), "n_neighbours must be at least 1, got 0"),
    (dict(n_anchors=0), "n_anchors must be at least 1, got 0"),
    (dict(n_anchors=True), "n_anchors must be of type int, got True"),
    (dict(budget=99), "budget 99 is below the initial set of 100"),
    (dict(max_subpool=24), "max_subpool 24 is below query_size 25"),
    (dict(filter="randsub", subpool_size=3), "subpool_size 3 is below query_size 25"),
    (dict(seconds=-1.0), "seconds must be 0 or more, got -1.0"),
    (dict(task=3), "task must be of type str, got 3"), (dict(encoder="minlm"), "did you mean 'minilm'?"),
    (dict(index="fiass"), "unknown index 'fiass'"),
    (dict(learner="finetune", model="bert"), "bert"),
    (dict(C=float("nan")), "C must be above 0, got nan"), (dict(data_seed=-1), "data_seed must be 0 or more, got -1"),
])
def test_config(fields, says):
    with pytest.raises(ValueError, match=re.escape(says)): make_config(**fields)


@pytest.mark.parametrize("vectors, says", [
    (np.full((3, 2), np.nan, np.float32), "3 rows are not of unit length, first at [0, 1, 2]"),
    (np.zeros((2, 2), np.float32), "2 rows are not of unit length"),
    (np.eye(3), "must be float32, got float64"), (np.ones(3, np.float32), "vectors must be (n, d)"),
])
def test_vectors(vectors, says):
    with pytest.raises(ValueError, match=re.escape(says)): make_index(vectors)


def test_pool_smaller_than_query(tmp_path, monkeypatch):
    from anchoral import tasks
    from anchoral.study import config as config_module
    small = Task("small", [f"word{i} text" for i in range(110)], np.r_[np.ones(10, int), np.zeros(100, int)],
                 ("a", "b"), (1,), ["word1 text"], np.array([0]))
    monkeypatch.setitem(tasks.load_task.__globals__["TASKS"], "small", lambda: small)
    config_module.shared_task.cache_clear()
    with pytest.raises(ValueError, match="fewer than the initial set and one query"):
        run(make_config(task="small", encoder="lsa", budget=110), tmp_path)


def test_damaged_or_foreign_run_folder(tmp_path):
    c = make_config(task="reuters-agri", encoder="lsa", budget=100)
    run(c, tmp_path)
    with pytest.raises(ValueError, match="holds another configuration, which differs in budget"):
        run(make_config(task="reuters-agri", encoder="lsa", budget=125), tmp_path)
    lines = (tmp_path/"iterations.jsonl").read_text()
    (tmp_path/"iterations.jsonl").write_text(lines.replace('"iteration": 0', '"iteration": 7'))
    with pytest.raises(ValueError, match="line 1 is damaged"): run(c, tmp_path)
    (tmp_path/"iterations.jsonl").write_text(lines)
    (tmp_path/"config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is damaged"): run(c, tmp_path)


def test_missing_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved results of profile 'offlin'.*anchoral run --profile offlin"):
        load_results("offlin", tmp_path)


@pytest.mark.parametrize("words, says", [
    (["run", "--profile", "quik"], "did you mean 'quick'?"), (["run", "tsak=x"], "did you mean 'task'?"),
    (["run", "budget=ten"], "budget must be of type int, got 'ten'"),
    (["fetch", "reuters"], "unknown task 'reuters'"),
    (["render", "--profile", "nothing"], "no saved results of profile 'nothing'"),
    (["collect", "--runs", "/nowhere"], "no finished runs in /nowhere"),
    (["run", "--profile", "tiny", "--workers", "0"], "workers must be at least 1, got 0"),
])
def test_command_line(words, says, capsys):
    assert cli.main(words) == 1
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_cache_clear(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    assert cli.main(["cache"]) == 0 and "is empty" in capsys.readouterr().out # and marks the folder as ours
    (tmp_path/"cache/embeddings").mkdir(parents=True)
    (tmp_path/"cache/embeddings/a").write_bytes(b"0"*1000)
    assert cli.main(["cache"]) == 0 and "embeddings" in capsys.readouterr().out
    assert cli.main(["cache", "--clear"]) == 0 and [p.name for p in (tmp_path/"cache").iterdir()] == [".anchoral-cache"]


def test_one_value_one_name():
    from anchoral.study.config import run_id
    assert run_id(make_config(C=300)) == run_id(make_config(C=300.0))
    assert run_id(make_config(lr=0.0)) == run_id(make_config(lr=0))


def test_unknown_group_comes_before_long_work(tmp_path):
    with pytest.raises(ValueError, match="unknown sub-cluster 'coffe'; did you mean 'coffee'?"):
        run(make_config(task="reuters-agri", initial_group="coffe"), tmp_path)


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


def test_two_cells_of_one_name():
    from anchoral.study.profiles import Profile, grid_cells
    with pytest.raises(ValueError, match="two cells are named"):
        grid_cells(Profile("", {}, (dict(C=1.0), dict(C=2.0)), ({},)))


def test_iterations_without_a_configuration(tmp_path):
    (tmp_path/"iterations.jsonl").write_text("")
    with pytest.raises(ValueError, match="has iterations but no config.json"):
        run(make_config(task="reuters-agri", encoder="lsa"), tmp_path)


@pytest.mark.parametrize("damage", [lambda f: (f/"graph.json").write_text("{"),
                                    lambda f: (f/"graph.json").write_text("{}"),
                                    lambda f: (f/"graph.hnsw").unlink()])
def test_damaged_index(tmp_path, damage):
    pytest.importorskip("hnswlib")
    from anchoral.index import HNSWIndex
    vectors = clustered(60)[0]
    HNSWIndex(vectors).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match="is damaged .*delete the folder to build it again"):
        HNSWIndex.load(tmp_path, vectors)
    other = vectors.copy(); other[7] = -other[7]
    HNSWIndex(vectors).save(tmp_path)
    with pytest.raises(ValueError, match="built from other vectors"): HNSWIndex.load(tmp_path, other)


def test_index_calls():
    index = ExactIndex(clustered(20)[0])
    for call, says in [(lambda: index.search(index.vectors[:1], 0), "k must be at least 1"),
                       (lambda: index.neighbours([.5], 1), "ids must be whole numbers"),
                       (lambda: index.neighbours(np.ones(20, bool), 1), "for a mask use np.flatnonzero"),
                       (lambda: index.neighbours([0], 1, np.array([3])), "exclude must be (20,) bool"),
                       (lambda: index.search(np.full((1, 16), np.nan), 1), "NaN or infinity"),
                       (lambda: index.neighbours([20], 1), "ids must lie in 0 to 19, got 20 to 20")]:
        with pytest.raises(ValueError, match=re.escape(says)): call()


def test_profile_and_fields_together(capsys):
    assert cli.main(["run", "--profile", "tiny", "task=reuters-agri"]) == 1
    assert "leave out task=reuters-agri" in capsys.readouterr().err


def test_one_setting():
    "A median over several configurations is refused, whatever they differ in."
    from anchoral.study.measures import one_setting, summary
    df = load_results("quick")
    assert one_setting(df) is df
    for column, values in (("model", ["a", "b"]), ("noise", [0., .1]), ("encoder", ["lsa", "minilm"])):
        mixed = df.assign(**{column: np.where(df.data_seed == df.data_seed.min(), *values)})
        with pytest.raises(ValueError, match=f"mixes {column}"): one_setting(mixed)
        if column != "model":
            with pytest.raises(ValueError, match=f"mixes {column}"): summary(mixed)


def test_random_sampling_within_a_subpool_is_not_the_baseline():
    from anchoral.study.config import variant_of
    assert variant_of(vars(make_config(strategy="random"))) == "anchoral"
    assert variant_of(vars(make_config(strategy="random", filter="none"))) == "random"
    assert variant_of(vars(make_config(filter="none"))) == "none"


def test_initial_set_without_a_class():
    from anchoral.study.config import draw_initial
    texts = [f"text {i}" for i in range(400)]
    labels = np.zeros(400, int)
    labels[:10], labels[10] = 2, 1
    task = Task("mine", texts, labels, ("often", "once", "rare"), (2,), texts[:3], labels[:3])
    config = make_config(n_initial=20, budget=400)
    with pytest.raises(ValueError, match=r"nothing of \['once'\].*raise n_initial"): draw_initial(config, task)
