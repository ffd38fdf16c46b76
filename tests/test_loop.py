"The loop: which parts it refuses, at once and by name, and which calls; a class without a label."
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from worlds import clustered, learner_of, started, world

from anchoral.filters import FILTERS, Subpool, make_filter
from anchoral.head import Head
from anchoral.index import ExactIndex
from anchoral.loop import ActiveLearner, Seeds, simulate
from anchoral.strategies import STRATEGIES, Outputs, make_strategy

# ---------------------------------------------------------------- parts that cannot work are refused when put together

class NoVectors:
    "An index that answers, and keeps its vectors to itself."
    def __init__(self, vectors): self._index = ExactIndex(vectors)
    def __len__(self): return len(self._index)
    def neighbours(self, *args): return self._index.neighbours(*args)


def test_anchors_by_kmeans_are_refused_where_the_index_has_no_vectors():
    vectors, _ = clustered(60)
    for name in ("anchoral", "no-anchoring"):
        with pytest.raises(ValueError, match="NoVectors has no vectors"):
            ActiveLearner(NoVectors(vectors), vectors, learner_of(), make_filter(name), make_strategy("entropy"), 2)
        apart = make_filter(name, gamma_maj="uniform", gamma_min="all")
        al = ActiveLearner(NoVectors(vectors), vectors, learner_of(), apart, make_strategy("entropy"), 2)
        al.tell(np.arange(6), np.arange(6) % 2)
        assert len(al.ask(3)) == 3


@pytest.mark.parametrize("wrong, says", [
    (dict(n_classes=1, learner=Head(2)), "n_classes=1"),
    (dict(minority=(2,)), "minority=.*2 is not a class"),
    (dict(learner=Head(3)), "made for 3 classes"),
    (dict(learner=object()), "no fit"),
    (dict(filter=5), "cannot be called"),
    (dict(strategy=["entropy"]), "cannot be called"),
    (dict(x=lambda v: v.tolist()), "x is a list"),
    (dict(x=pd.DataFrame), "x is a DataFrame"),
    (dict(x=lambda v: scipy.sparse.csr_array(v)), "x is a csr_array"),
    (dict(x=lambda v: v[:40]), "reads 40 instances")])
def test_parts_that_do_not_fit_the_task_are_refused_when_put_together(wrong, says):
    with pytest.raises(ValueError, match=says) as caught: world(**wrong)
    assert "\n" not in str(caught.value)


def test_loop_needs_the_whole_pool():
    vectors = clustered(50)[0]
    with pytest.raises(ValueError, match="the learner reads 40 instances but the index holds 50"):
        ActiveLearner(ExactIndex(vectors), vectors[:40], None, make_filter("none"), make_strategy("random"), 2)


def test_filters_that_return_the_labelled_are_refused():
    from anchoral.filters import Subpool
    vectors = clustered(50)[0]
    class Fixed:
        def fit(self, *a): return self
    al = ActiveLearner(ExactIndex(vectors), vectors, Fixed(), lambda s, r: Subpool(np.arange(50)),
                       make_strategy("random"), 2)
    al.tell([0, 1], [0, 1])
    with pytest.raises(ValueError, match="must leave out `state.excluded`"): al.ask()


def test_ids_are_a_row():
    vectors, _ = clustered(50, 8)
    al = ActiveLearner(ExactIndex(vectors), vectors, None, None, None, 2, (1,))
    for f in (lambda: al.tell([[1, 2]], [[0, 1]]), lambda: al.skip([[1, 2]]), lambda: al.restore([[1, 2]]),
              lambda: ExactIndex(vectors).neighbours([[1, 2]], 3)):
        with pytest.raises(ValueError, match=r"in a row, got shape \(1, 2\)"): f()
    assert not al.state.excluded.any()


def test_strategy_that_gives_positions():
    vectors, which = clustered(200, 8)
    class Fixed:
        def fit(self, *args): return self
        def outputs(self, x, ids): raise AssertionError("not needed")
    al = ActiveLearner(ExactIndex(vectors), vectors, Fixed(), make_filter("anchoral", n_anchors=2, n_neighbours=5),
                       lambda outputs, b, rng: np.setdiff1d(np.arange(200), outputs.ids)[-b:], 2, (1,))
    al.tell(np.arange(10), np.arange(10) % 2)
    with pytest.raises(ValueError, match="not in the subpool"): al.ask(3)


# ---------------------------------------------------------------- iterations

def test_iterations_count_from_0_and_every_one_has_its_own_numbers():
    "The numbers of the saved runs: `[source, seed, closed batches]`."
    al, truth = world()
    assert al.iteration == -1
    for t in range(3):
        al.tell(np.flatnonzero(~al.state.excluded)[:20], truth[~al.state.excluded][:20])
        assert al.iteration == t == len(al.state.history) - 1
    for at, source in enumerate(("order", "filter", "strategy", "start")):
        seeds = Seeds(model=9, order=7, filter=5, strategy=3)
        seed = dict(order=7, filter=5, strategy=3, start=5)[source]
        for closed in range(3):
            want = np.random.default_rng([at, seed, closed]).integers(2**31, size=5)
            assert np.array_equal(seeds.rng(source, closed - 1).integers(2**31, size=5), want)


# ---------------------------------------------------------------- what parts of your own return

def free(state): return np.flatnonzero(~state.excluded)


def none_of(s): return np.full(len(free(s)), np.nan, np.float32)


BAD_FILTERS = {
    "no-subpool": lambda s, rng: free(s),
    "minus-one": lambda s, rng: Subpool(np.r_[-1, free(s)]),
    "repeated": lambda s, rng: Subpool(np.r_[free(s), free(s)[:1]]),
    "labelled": lambda s, rng: Subpool(np.arange(9)),
    "too-large": lambda s, rng: Subpool(np.r_[free(s), 10**6]),
    "reals": lambda s, rng: Subpool(free(s) + .5),
    "mask": lambda s, rng: Subpool(~s.excluded),
    "a-list": lambda s, rng: Subpool(free(s).tolist()),
    "nan-score": lambda s, rng: Subpool(free(s), none_of(s)),
    "few-scores": lambda s, rng: Subpool(free(s), np.ones(2, np.float32)),
    "no-anchor": lambda s, rng: Subpool(free(s), None, np.array([0]), np.full(len(free(s)), 1)),
    "fails": lambda s, rng: 1 / 0,
}
BAD_STRATEGIES = {
    "minus-one": lambda o, b, rng: np.r_[-1, o.ids[:b-1]],
    "repeated": lambda o, b, rng: o.ids[:1].repeat(b),
    "too-many": lambda o, b, rng: o.ids[:b+1],
    "too-few": lambda o, b, rng: o.ids[:b-1],
    "none": lambda o, b, rng: o.ids[:0],
    "reals": lambda o, b, rng: o.ids[:b] + .5,
    "nan": lambda o, b, rng: np.full(b, np.nan),
    "positions": lambda o, b, rng: np.arange(b),
    "a-list": lambda o, b, rng: o.ids[:b].tolist(),
    "mask": lambda o, b, rng: np.ones(b, bool),
    "nothing": lambda o, b, rng: None,
    "table": lambda o, b, rng: o.ids[:b][None],
}


def kept(al):
    "All that an `ActiveLearner` must still know after a failure."
    s = al.state
    return (s.labels.tolist(), s.excluded.tolist(), [h.tolist() for h in s.history], al.batch, list(al.answers),
            al.subpool, al.scored, al.iteration)


@pytest.mark.parametrize("part, name", [*(("filter", n) for n in BAD_FILTERS),
                                        *(("strategy", n) for n in BAD_STRATEGIES)])
def test_a_part_that_returns_what_it_must_not_is_refused_by_name_and_nothing_changes(part, name):
    broken = {"filter": BAD_FILTERS, "strategy": BAD_STRATEGIES}[part][name]
    def mine(*args): return broken(*args)
    al, truth = started(**({"strategy": "random"} | {part: mine}))
    good = getattr(started(strategy="random")[0], part)
    setattr(al, part, good)
    al.tell(ids := al.ask(5), truth[ids])
    before = kept(al)
    setattr(al, part, mine)
    error, says = (ZeroDivisionError, "division") if name == "fails" else (ValueError, f"{part} mine")
    for _ in range(2):
        with pytest.raises(error, match=says): al.ask(5)
        assert kept(al) == before
    setattr(al, part, good)
    assert len(al.ask(5)) == 5


@pytest.mark.parametrize("spoil", [lambda p: p * np.nan, lambda p: p / 0, lambda p: p[:, :1], lambda p: p[1:]])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_probabilities_that_are_no_numbers_are_refused_by_the_learner_s_name(spoil):
    class Broken(Head):
        def outputs(self, x, ids=None):
            out = super().outputs(x, ids)
            return Outputs.of(out.ids, spoil(out.probs), out.hidden)
    al, truth = started(learner=Broken(2))
    before = kept(al)
    with pytest.raises(ValueError, match="learner Broken gave probabilities"): al.ask(5)
    assert kept(al) == before
    rounds = simulate(world(learner=Broken(2))[0], lambda ids: truth[ids], al.x, [np.arange(20)], 40, 5)
    with pytest.raises(ValueError, match="learner Broken gave probabilities"): next(rounds)


# ---------------------------------------------------------------- a class without a label

def test_missing_classes_are_named_and_said_once_at_the_first_random_batch(caplog):
    al, truth = world(n_classes=4, learner=Head(4), minority=(1, 3), examples=[7])
    assert al.missing == (0, 1, 2, 3)
    with caplog.at_level("WARNING"):
        assert al.ask(5).tolist() == [7] and not caplog.records # an example of the user's: nothing is random yet
        al.tell([7], [3])
        ids = al.ask(5)
        assert al.subpool is None and not al.can_start
        al.tell(ids, np.zeros(len(ids), int))
        ids = al.ask(5)
        al.tell(ids, np.zeros(len(ids), int))
    assert al.missing == (1, 2) and al.subpool is not None and al.can_start  # two classes are enough, one of them rare
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 1 and said[0].startswith("no label yet of classes 0, 1, 2: batches are random")
    al.tell(np.flatnonzero(~al.state.excluded)[:2], [1, 2])
    assert al.missing == () and len(al.ask(5)) == 5 and al.subpool is not None


def missing_one(**parts):
    "Four classes of which 2, a rare one, has no label; the model can start."
    al, truth = world(n_classes=4, learner=Head(4), minority=(1, 2, 3), **parts)
    some = np.flatnonzero(truth != 2)[:30]
    al.tell(some, truth[some])
    return al, truth


@pytest.mark.parametrize("filter", FILTERS)
def test_a_class_without_a_label_has_no_anchors_and_probability_0(filter):
    al, truth = missing_one(filter=filter)
    query = al.ask(6)
    assert al.missing == (2,) and len(query) == 6 and al.subpool is not None
    probs = al.outputs(np.arange(200)).probs
    assert (probs[:, 2] == 0).all() and np.allclose(probs.sum(1), 1) and np.isfinite(probs).all()
    if al.subpool.anchors is not None: assert 2 not in truth[al.subpool.anchors]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_asks_while_a_class_is_missing(strategy):
    al, truth = missing_one(strategy=make_strategy(strategy, (1, 2, 3)))
    assert len(al.ask(6)) == 6 and al.subpool is not None
    al.tell(al.batch, truth[al.batch])
    found = np.flatnonzero(truth == 2)[:1]
    if 2 in al.missing: al.tell(found, [2])
    assert al.missing == () and len(al.ask(6)) == 6 and (al.outputs(np.arange(200)).probs[:, 2] > 0).all()


def test_without_a_rare_label_batches_are_random():
    "Two common classes have a label: there could be a model, but no anchor of a rare class."
    al, truth = world(n_classes=3, learner=Head(3), minority=(2,), filter=lambda *args: 1 / 0)
    al.tell(np.flatnonzero(truth < 2)[:20], truth[truth < 2][:20])
    for _ in range(2):
        ids = al.ask(5)
        assert al.missing == (2,) and al.subpool is None and not al.can_start and al.scored == 0
        al.tell(ids, np.zeros(5, int))
    al.tell(np.flatnonzero((truth == 2) & ~al.state.excluded)[:1], [2])
    assert al.can_start
    with pytest.raises(ZeroDivisionError): al.ask(5)


def test_without_rare_classes_any_two_are_enough():
    al, _ = world(n_classes=3, learner=Head(3), minority=())
    al.tell([0, 1], [0, 2])
    assert al.can_start and len(al.ask(5)) == 5 and al.subpool is not None


def test_examples_of_a_missing_class_come_before_the_model():
    truth = world(n_classes=4, learner=Head(4))[1]
    examples = [int(np.flatnonzero(truth == c)[0]) for c in (1, 2, 3)]
    al, truth = world(n_classes=4, learner=Head(4), minority=(1, 2, 3), examples=examples)
    asked = []
    for _ in range(3):
        asked.append(al.ask(1).tolist())
        assert al.subpool is None
        al.tell(asked[-1], truth[asked[-1]])
    assert asked == [[i] for i in examples] and al.missing == (0,)
    assert len(al.ask(4)) == 4 and al.subpool is not None


# ---------------------------------------------------------------- rows and columns

@pytest.mark.parametrize("labels", [np.array([0, 1]), (0, 1), pd.Series([0, 1], index=[9, 4]),
                                    np.array([0, 1], np.uint8)])
def test_labels_may_be_any_row_of_whole_numbers(labels):
    al, _ = world()
    al.tell([3, 5], labels)
    assert al.state.labels[[3, 5]].tolist() == [0, 1]


@pytest.mark.parametrize("labels, says", [
    ([[0], [1]], r"shape \(2, 1\)"),
    (pd.DataFrame([0, 1]), r"shape \(2, 1\)"),
    ([[0], [1, 1]], "a list that NumPy"),
    ([0], "2 ids but 1 labels"),
    (None, "2 ids but 1"),
    ({0: 1}, "2 ids but 1"),
    (["a", "b"], "whole numbers in 0 to 1"),
    ([0., 1.], "whole numbers"),
    ([True, False], "whole numbers"),
    ([0, None], "whole numbers")])
def test_other_labels_are_refused_in_one_line_and_nothing_changes(labels, says):
    al, _ = world()
    before = kept(al)
    with pytest.raises(ValueError, match=says) as caught: al.tell([3, 5], labels)
    assert "\n" not in str(caught.value) and kept(al) == before
