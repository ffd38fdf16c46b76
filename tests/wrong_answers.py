"""Wrong answers to the puzzles, each of which once passed or looks as if it might: puzzle -> functions."""
from math import comb

import numpy as np

from anchoral.filters import Subpool


def entropies(probs): return -(probs * np.log(np.where(probs > 0, probs, 1))).sum(axis=1)
def least_confidence(probs): return 1 - probs.max(axis=1)
def margin(probs): return -np.diff(np.sort(probs, axis=1)[:, -2:], axis=1)[:, 0]
def nan_to_num_after_the_sum(probs): return np.nan_to_num(-(probs * np.log(probs)).sum(axis=1))
def smoothed(probs): return -(probs * np.log(probs + .001)).sum(axis=1)
def two_classes(probs): return entropies(probs[:, :2])
def gini(probs): return 1 - (probs**2).sum(axis=1)


def by(score):
    def asked(ids, probs, b): return ids[np.lexsort((ids, -score(probs)))[:b]]
    asked.__name__ = f"by_{score.__name__}"
    return asked


def ids_ascending(ids, probs, b): return np.sort(by(entropies)(ids, probs, b))
def one_too_many(ids, probs, b): return by(entropies)(ids, probs, b + 1)
def unstable(ids, probs, b): return ids[np.argsort(entropies(probs))[::-1][:b]]


def with_replacement(n, r, b): return (1 - r/n)**b
def one_draw(n, r, b): return (n - r) / n
def only_rare(n, r, b): return comb(r, b) / comb(n, b)


def counts(truth, predicted, c):
    hits = ((truth == c) & (predicted == c)).sum()
    return hits, (truth == c).sum() + (predicted == c).sum()


def f1_without_a_guard(truth, predicted, c):
    hits, total = counts(truth, predicted, c)
    return np.float64(2*hits) / total


def f1_from_precision_and_recall(truth, predicted, c):
    hits = np.float64(((truth == c) & (predicted == c)).sum())
    precision, recall = hits / (predicted == c).sum(), hits / (truth == c).sum()
    return 2*precision*recall / (precision + recall)


def f1_of_class_1(truth, predicted, c):
    hits, total = counts(truth, predicted, 1)
    return 2*hits / total if total else 0.


def f1_of_class_1_against_the_rest(truth, predicted, c):
    return f1_of_class_1(truth > 0, predicted > 0, 1)


def f1_one_where_there_is_nothing(truth, predicted, c):
    hits, total = counts(truth, predicted, c)
    return 2*hits / total if total else 1.


def jaccard(truth, predicted, c):
    hits, total = counts(truth, predicted, c)
    return hits / (total - hits) if total else 0.


def squared(X, chosen): return ((X[:, None] - X[chosen][None])**2).sum(axis=2)
def from_first(X, chosen): return squared(X, chosen)[:, 0] / squared(X, chosen)[:, 0].sum()
def mean_of_chosen(X, chosen): return squared(X, chosen).mean(axis=1) / squared(X, chosen).mean(axis=1).sum()
def manhattan(X, chosen):
    nearest = np.abs(X[:, None] - X[chosen][None]).sum(axis=2).min(axis=1)
    return nearest / nearest.sum()


def anchor_kept(E, anchor, k, excluded):
    free = np.flatnonzero(~excluded | (np.arange(len(E)) == anchor))
    return free[np.argsort(-(E[free] @ E[anchor]), kind="stable")[:k]]


def excluded_after_the_cut(E, anchor, k, excluded):
    nearest = np.argsort(-(E @ E[anchor]), kind="stable")[:k]
    return nearest[~excluded[nearest]]


def neighbours_ascending(E, anchor, k, excluded):
    free = np.flatnonzero(~excluded)
    return np.sort(free[np.argsort(-(E[free] @ E[anchor]), kind="stable")[:k]])


def of_each(measure, ids, sims): return np.array([measure(sims[ids == i]) for i in np.unique(ids)])
def average_by_median(ids, sims): return of_each(np.median, ids, sims)
def average_by_midrange(ids, sims): return of_each(lambda s: (s.min() + s.max())/2, ids, sims)
def average_last_two(ids, sims): return of_each(lambda s: s[-2:].mean(), ids, sims)
def average_by_order_met(ids, sims): return np.array([sims[ids == i].mean() for i in dict.fromkeys(ids.tolist())])


def cut_larger_id_first(ids, scores, M): return ids[np.lexsort((-ids, -scores))[:M]]
def cut_by_argsort(ids, scores, M): return ids[np.argsort(-scores, kind="stable")[:M]]
def cut_one_less(ids, scores, M): return ids[np.lexsort((ids, -scores))[:M - 1]]


def bound_without_M(A, C, K, M, free): return min(A*C*K, free)
def bound_C_twice(A, C, K, M, free): return min(A*C*C*K, M, free)
def bound_M_per_class(A, C, K, M, free): return min(A*C*K, M*C, free)


def near(E, i, K, labelled):
    free = np.flatnonzero(~labelled)
    return free[np.argsort(-(E[free] @ E[i]), kind="stable")[:K]]


def seals_one_by_one(E, history, K):
    labelled, reached = np.zeros(len(E), bool), np.zeros(len(E), bool)
    for batch in history:
        for i in batch:
            labelled[i] = True
            reached[near(E, i, K, labelled)] = True
    return np.flatnonzero(reached & ~labelled)


def seals_after_asking(E, history, K):
    labelled, reached = np.zeros(len(E), bool), np.zeros(len(E), bool)
    for batch in history:
        for i in batch: reached[near(E, i, K, labelled)] = True
        labelled[batch] = True
    return np.flatnonzero(reached & ~labelled)


def seals_without_itself_after_asking(E, history, K):
    labelled, reached = np.zeros(len(E), bool), np.zeros(len(E), bool)
    for batch in history:
        for i in batch: reached[near(E, i, K, labelled | (np.arange(len(E)) == i))] = True
        labelled[batch] = True
    return np.flatnonzero(reached & ~labelled)


def seals_of_the_whole_history(E, history, K):
    labelled, reached = np.isin(np.arange(len(E)), np.concatenate(history)), np.zeros(len(E), bool)
    for i in np.concatenate(history): reached[near(E, i, K, labelled)] = True
    return np.flatnonzero(reached & ~labelled)


def area_left(scores): return scores[:-1].sum()
def area_right(scores): return scores[1:].sum()
def area_simpson(scores): return (scores[0] + 4*scores[1:-1].sum() + scores[-1]) / 3
def area_ends(scores): return (len(scores) - 1) * (scores[0] + scores[-1]) / 2


def upper_median(a, b): return np.sort(a - b)[len(a)//2]
def lower_median(a, b): return np.sort(a - b)[(len(a) - 1)//2]
def absolute(a, b): return np.median(np.abs(a - b))
def other_way_round(a, b): return np.median(b - a)


def a_filter(scores, n=20):
    def filter(state, rng):
        V, free = state.index.vectors, np.flatnonzero(~state.excluded)
        mine = [state.labelled(c) for c in state.minority]
        order = np.argsort(-scores(V, free, mine), kind="stable")
        return Subpool(np.sort(free[order[:n]]))
    return filter


def best(V, free, mine): return (V[free] @ V[np.concatenate(mine)].T).max(axis=1)
def one_class_only(V, free, mine): return (V[free] @ V[mine[-1]].T).max(axis=1)
def median_similarity(V, free, mine): return np.median(V[free] @ V[np.concatenate(mine)].T, axis=1)
def centre(V, free, mine): return V[free] @ V[np.concatenate(mine)].mean(axis=0)


def filter_of(scores, n=20):
    filter = a_filter(scores, n)
    filter.__name__ = f"{scores.__name__}, {n}"
    return filter


WRONG_ANSWERS = {
    "entropy": [least_confidence, margin, nan_to_num_after_the_sum, smoothed, two_classes, gini],
    "most_uncertain": [by(least_confidence), by(margin), by(gini), ids_ascending, one_too_many, unstable],
    "chance_of_none": [with_replacement, one_draw, only_rare],
    "f1": [f1_without_a_guard, f1_from_precision_and_recall, f1_of_class_1, f1_of_class_1_against_the_rest,
           f1_one_where_there_is_nothing, jaccard],
    "next_anchor": [from_first, mean_of_chosen, manhattan],
    "neighbours": [anchor_kept, excluded_after_the_cut, neighbours_ascending],
    "average": [average_by_median, average_by_midrange, average_last_two, average_by_order_met],
    "cut": [cut_larger_id_first, cut_by_argsort, cut_one_less],
    "largest_subpool": [bound_without_M, bound_C_twice, bound_M_per_class],
    "seals": [seals_one_by_one, seals_after_asking, seals_without_itself_after_asking, seals_of_the_whole_history],
    "area": [area_left, area_right, area_simpson, area_ends],
    "paired": [upper_median, lower_median, absolute, other_way_round],
    "nearest_filter": [filter_of(one_class_only), filter_of(median_similarity), filter_of(centre), filter_of(best, 19),
                       filter_of(best, 21)],
}
