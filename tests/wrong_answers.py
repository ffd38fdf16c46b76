"""Wrong answers to the puzzles, each of which once passed or looks as if it might: puzzle -> functions.
The instructor's sheet is made from them."""
from math import comb, exp, factorial

import numpy as np

from anchoral.filters import Subpool


def entropies(probs): return -(probs * np.log(np.where(probs > 0, probs, 1))).sum(axis=1)
def least_confidence(probs): return 1 - probs.max(axis=1)
def margin(probs): return -np.diff(np.sort(probs, axis=1)[:, -2:], axis=1)[:, 0]
def nan_to_num_after_the_sum(probs): return np.nan_to_num(-(probs * np.log(probs)).sum(axis=1))
def smoothed(probs): return -(probs * np.log(probs + .001)).sum(axis=1)
def two_classes(probs): return entropies(probs[:, :2])
def gini(probs): return 1 - (probs**2).sum(axis=1)
def without_a_guard(probs): return -(probs * np.log(probs)).sum(axis=1)
def in_bits(probs): return entropies(probs) / np.log(2)
def without_the_minus(probs): return -entropies(probs)
def over_the_instances(probs): return -(probs * np.log(np.where(probs > 0, probs, 1))).sum(axis=0)
def of_the_likeliest_class(probs): return -probs.max(axis=1) * np.log(probs.max(axis=1))
def share_of_the_largest_entropy(probs): return entropies(probs) / np.log(probs.shape[1])
def without_the_weights(probs): return -np.log(np.where(probs > 0, probs, 1)).sum(axis=1)
def in_all(probs): return entropies(probs).sum()


def by(score):
    def asked(ids, probs, b): return ids[np.lexsort((ids, -score(probs)))[:b]]
    asked.__name__ = f"by_{score.__name__}"
    return asked


def ids_ascending(ids, probs, b): return np.sort(by(entropies)(ids, probs, b))
def one_too_many(ids, probs, b): return by(entropies)(ids, probs, b + 1)
def unstable(ids, probs, b): return ids[np.argsort(entropies(probs))[::-1][:b]]
def positions(ids, probs, b): return np.lexsort((ids, -entropies(probs)))[:b]
def surest_first(ids, probs, b): return ids[np.lexsort((ids, entropies(probs)))[:b]]
def near_one_half(ids, probs, b): return ids[np.lexsort((ids, np.abs(probs[:, 1] - .5)))[:b]]
def likeliest_minority(ids, probs, b): return ids[np.lexsort((ids, -probs[:, 1]))[:b]]
def entropies_and_no_ids(ids, probs, b): return np.sort(entropies(probs))[::-1][:b]
def most_uncertain_last(ids, probs, b): return by(entropies)(ids, probs, b)[::-1]


def with_replacement(n, r, b): return (1 - r/n)**b
def one_draw(n, r, b): return (n - r) / n
def only_rare(n, r, b): return comb(r, b) / comb(n, b)
def chance_of_at_least_one(n, r, b): return 1 - comb(n - r, b) / comb(n, b)
def number_to_expect(n, r, b): return b*r/n
def number_of_ways(n, r, b): return comb(n - r, b)
def by_the_exponential(n, r, b): return exp(-b*r/n)
def one_draw_too_few(n, r, b): return comb(n - r, b - 1) / comb(n, b - 1)
def with_factorials(n, r, b): return factorial(n - r)*factorial(n - b) / (factorial(n - r - b)*factorial(n))


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


def f1_in_plain_python(truth, predicted, c):
    hits = sum(1 for t, p in zip(truth, predicted) if t == p == c)
    mistakes = sum(1 for t, p in zip(truth, predicted) if t != p and c in (t, p))
    return 2*hits / (2*hits + mistakes)


def accuracy(truth, predicted, c): return (truth == predicted).mean()
def accuracy_of_the_class_against_the_rest(truth, predicted, c): return ((truth == c) == (predicted == c)).mean()


def recall(truth, predicted, c):
    hits, total = counts(truth, predicted, c)
    return hits / (truth == c).sum() if hits else 0.


def precision(truth, predicted, c): return recall(predicted, truth, c)


def mean_of_precision_and_recall(truth, predicted, c):
    return (precision(truth, predicted, c) + recall(truth, predicted, c)) / 2


def root_of_precision_times_recall(truth, predicted, c):
    return (precision(truth, predicted, c) * recall(truth, predicted, c))**.5


def f1_macro(truth, predicted, c):
    classes = np.unique(np.concatenate([truth, predicted]))
    return np.mean([f1_one_where_there_is_nothing(truth, predicted, k) for k in classes])


def hits_counted_once(truth, predicted, c):
    hits, total = counts(truth, predicted, c)
    return hits / total if total else 0.


def squared(X, chosen): return ((X[:, None] - X[chosen][None])**2).sum(axis=2)
def from_first(X, chosen): return squared(X, chosen)[:, 0] / squared(X, chosen)[:, 0].sum()
def mean_of_chosen(X, chosen): return squared(X, chosen).mean(axis=1) / squared(X, chosen).mean(axis=1).sum()
def manhattan(X, chosen):
    nearest = np.abs(X[:, None] - X[chosen][None]).sum(axis=2).min(axis=1)
    return nearest / nearest.sum()


def not_squared(X, chosen):
    distances = np.sqrt(squared(X, chosen).min(axis=1))
    return distances / distances.sum()


def from_the_last(X, chosen): return squared(X, chosen)[:, -1] / squared(X, chosen)[:, -1].sum()
def from_the_farthest(X, chosen): return squared(X, chosen).max(axis=1) / squared(X, chosen).max(axis=1).sum()
def that_do_not_add_up_to_1(X, chosen): return squared(X, chosen).min(axis=1)
def over_the_largest(X, chosen): return squared(X, chosen).min(axis=1) / squared(X, chosen).min(axis=1).max()
def always_the_farthest(X, chosen): return np.eye(len(X))[squared(X, chosen).min(axis=1).argmax()]
def squared_twice(X, chosen): return squared(X, chosen).min(axis=1)**2 / (squared(X, chosen).min(axis=1)**2).sum()
def from_the_centre(X, chosen): return from_first(np.vstack([X, X[chosen].mean(axis=0)]), [len(X)])[:-1]


def evenly_among_the_others(X, chosen):
    others = ~np.isin(np.arange(len(X)), chosen)
    return others / others.sum()


def anchor_kept(E, anchor, k, excluded):
    free = np.flatnonzero(~excluded | (np.arange(len(E)) == anchor))
    return free[np.argsort(-(E[free] @ E[anchor]), kind="stable")[:k]]


def excluded_after_the_cut(E, anchor, k, excluded):
    nearest = np.argsort(-(E @ E[anchor]), kind="stable")[:k]
    return nearest[~excluded[nearest]]


def neighbours_ascending(E, anchor, k, excluded):
    free = np.flatnonzero(~excluded)
    return np.sort(free[np.argsort(-(E[free] @ E[anchor]), kind="stable")[:k]])


def nearest_of_all(E, anchor, k, excluded): return np.argsort(-(E @ E[anchor]), kind="stable")[:k]
def without_the_anchor_only(E, anchor, k, excluded): return nearest_of_all(E, anchor, k + 1, excluded)[1:]


def farthest(E, anchor, k, excluded):
    free = np.flatnonzero(~excluded)
    return free[np.argsort(E[free] @ E[anchor], kind="stable")[:k]]


def positions_among_the_free(E, anchor, k, excluded): return np.argsort(-(E[~excluded] @ E[anchor]), kind="stable")[:k]
def first_of_the_free_left_out(E, anchor, k, excluded): return near(E, anchor, k + 1, excluded)[1:]
def by_the_angle_either_way(E, anchor, k, excluded):
    free = np.flatnonzero(~excluded)
    return free[np.argsort(-np.abs(E[free] @ E[anchor]), kind="stable")[:k]]


def among_the_excluded(E, anchor, k, excluded): return near(E, anchor, k, ~excluded)
def similarities_and_no_ids(E, anchor, k, excluded): return np.sort(E[~excluded] @ E[anchor])[::-1][:k]


def of_each(measure, ids, sims): return np.array([measure(sims[ids == i]) for i in np.unique(ids)])
def average_by_median(ids, sims): return of_each(np.median, ids, sims)
def average_by_midrange(ids, sims): return of_each(lambda s: (s.min() + s.max())/2, ids, sims)
def average_last_two(ids, sims): return of_each(lambda s: s[-2:].mean(), ids, sims)
def average_by_order_met(ids, sims): return np.array([sims[ids == i].mean() for i in dict.fromkeys(ids.tolist())])
def average_by_sum(ids, sims): return of_each(np.sum, ids, sims)
def average_by_largest(ids, sims): return of_each(np.max, ids, sims)
def average_by_smallest(ids, sims): return of_each(np.min, ids, sims)
def average_by_first(ids, sims): return of_each(lambda s: s[0], ids, sims)
def average_geometric(ids, sims): return of_each(lambda s: s.prod()**(1/len(s)), ids, sims)
def average_of_different_values(ids, sims): return of_each(lambda s: np.unique(s.round(1)).mean(), ids, sims)
def average_over_all_anchors(ids, sims): return of_each(np.sum, ids, sims) / np.bincount(ids).max()
def average_per_retrieval(ids, sims): return np.array([sims[ids == i].mean() for i in ids])


def average_with_zeros_between(ids, sims):
    return np.bincount(ids, weights=sims) / np.maximum(np.bincount(ids), 1)


def average_updated_by_halves(ids, sims):
    means = {}
    for i, s in zip(ids.tolist(), sims): means[i] = (means[i] + s)/2 if i in means else s
    return np.array([means[i] for i in sorted(means)])


def cut_larger_id_first(ids, scores, M): return ids[np.lexsort((-ids, -scores))[:M]]
def cut_by_argsort(ids, scores, M): return ids[np.argsort(-scores, kind="stable")[:M]]
def cut_one_less(ids, scores, M): return ids[np.lexsort((ids, -scores))[:M - 1]]
def cut_least_similar(ids, scores, M): return ids[np.lexsort((ids, scores))[:M]]
def cut_sorted_by_id(ids, scores, M): return np.sort(ids[np.lexsort((ids, -scores))[:M]])
def cut_positions(ids, scores, M): return np.lexsort((ids, -scores))[:M]
def cut_nothing(ids, scores, M): return ids[np.lexsort((ids, -scores))]


def cut_with_all_that_tie(ids, scores, M):
    last = np.sort(scores)[-M:][0]
    return cut_nothing(ids, scores, M)[:(scores >= last).sum()]


def cut_without_those_that_tie(ids, scores, M):
    last = np.sort(scores)[-M:][0]
    return cut_nothing(ids, scores, M)[:(scores > last).sum()]


def cut_scores(ids, scores, M): return np.sort(scores)[::-1][:M]
def cut_by_partition(ids, scores, M): return ids[np.argpartition(-scores, M)[:M]]


def bound_without_M(A, C, K, M, free): return min(A*C*K, free)
def bound_C_twice(A, C, K, M, free): return min(A*C*C*K, M, free)
def bound_M_per_class(A, C, K, M, free): return min(A*C*K, M*C, free)
def bound_of_one_class(A, C, K, M, free): return min(A*K, M, free)
def bound_without_the_pool(A, C, K, M, free): return min(A*C*K, M)
def bound_of_the_largest(A, C, K, M, free): return max(A*C*K, M, free)
def bound_of_a_sum(A, C, K, M, free): return min(C*(A + K), M, free)
def bound_of_the_anchors(A, C, K, M, free): return min(A*C, M, free)
def bound_with_the_anchors(A, C, K, M, free): return min(A*C*(K + 1), M, free)
def bound_cut_in_each_class(A, C, K, M, free): return min(C*min(A*K, M), free)


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


def seals_asking_again(E, history, K):
    labelled, reached = np.zeros(len(E), bool), np.zeros(len(E), bool)
    for batch in history:
        labelled[batch] = True
        for i in np.flatnonzero(labelled): reached[near(E, i, K, labelled)] = True
    return np.flatnonzero(reached & ~labelled)


def seals_of_the_last_batch(E, history, K): return seals_from(E, history, K, range(len(history) - 1, len(history)))
def seals_of_the_first_batch(E, history, K): return seals_from(E, history, K, range(1))
def seals_one_neighbour_less(E, history, K): return seals_from(E, history, K - 1, range(len(history)))


def seals_from(E, history, K, asking):
    "SEALS where only some batches ask."
    labelled, reached = np.zeros(len(E), bool), np.zeros(len(E), bool)
    for t, batch in enumerate(history):
        labelled[batch] = True
        for i in batch if t in asking else (): reached[near(E, i, K, labelled)] = True
    return np.flatnonzero(reached & ~labelled)


def seals_with_what_was_labelled_since(E, history, K):
    labelled, reached = np.zeros(len(E), bool), np.zeros(len(E), bool)
    for batch in history:
        labelled[batch] = True
        for i in batch: reached[near(E, i, K, labelled)] = True
    return np.flatnonzero(reached)


def seals_bringing_in_new_ones_only(E, history, K):
    labelled, reached = np.zeros(len(E), bool), np.zeros(len(E), bool)
    for batch in history:
        labelled[batch] = True
        for i in batch: reached[near(E, i, K, labelled | reached)] = True
    return np.flatnonzero(reached & ~labelled)


def seals_in_the_order_met(E, history, K):
    labelled, reached = np.zeros(len(E), bool), {}
    for batch in history:
        labelled[batch] = True
        for i in batch: reached |= dict.fromkeys(near(E, i, K, labelled).tolist())
    return np.array([i for i in reached if not labelled[i]])


def area_left(scores): return scores[:-1].sum()
def area_right(scores): return scores[1:].sum()
def area_simpson(scores): return (scores[0] + 4*scores[1:-1].sum() + scores[-1]) / 3
def area_ends(scores): return (len(scores) - 1) * (scores[0] + scores[-1]) / 2
def area_by_sum(scores): return scores.sum()
def area_by_mean(scores): return scores.mean()
def area_per_iteration(scores): return (scores[1:] + scores[:-1]).sum() / 2 / (len(scores) - 1)
def area_per_annotation(scores): return 25 * (scores[1:] + scores[:-1]).sum() / 2
def area_not_halved(scores): return (scores[1:] + scores[:-1]).sum()
def area_without_the_last_step(scores): return (scores[1:-1] + scores[:-2]).sum() / 2
def area_from_zero(scores): return scores.sum() - scores[-1]/2


def upper_median(a, b): return np.sort(a - b)[len(a)//2]
def lower_median(a, b): return np.sort(a - b)[(len(a) - 1)//2]
def absolute(a, b): return np.median(np.abs(a - b))
def other_way_round(a, b): return np.median(b - a)
def difference_of_medians(a, b): return np.median(a) - np.median(b)
def sorted_first(a, b): return np.median(np.sort(a) - np.sort(b))
def mean_difference(a, b): return (a - b).mean()
def pairs_won(a, b): return (a > b).sum()
def share_of_pairs_won(a, b): return (a > b).mean()
def in_per_cent(a, b): return 100*np.median(a - b)
def relative(a, b): return np.median((a - b) / b)
def all_against_all(a, b): return np.median(a[:, None] - b)
def the_middle_one_unsorted(a, b): return (a - b)[len(a)//2]


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
def first_class_only(V, free, mine): return (V[free] @ V[mine[0]].T).max(axis=1)
def worst_similarity(V, free, mine): return (V[free] @ V[np.concatenate(mine)].T).min(axis=1)
def farthest_away(V, free, mine): return -best(V, free, mine)
def first_instance_only(V, free, mine): return V[free] @ V[np.concatenate(mine)[0]]


def nearest_to_anything_labelled(state, rng):
    V, free = state.index.vectors, np.flatnonzero(~state.excluded)
    scores = (V[free] @ V[state.labels >= 0].T).max(axis=1)
    return Subpool(np.sort(free[np.argsort(-scores, kind="stable")[:20]]))


def with_what_was_skipped(state, rng):
    V, free = state.index.vectors, np.flatnonzero(state.labels < 0)
    mine = np.concatenate([state.labelled(c) for c in state.minority])
    return Subpool(np.sort(free[np.argsort(-(V[free] @ V[mine].T).max(axis=1), kind="stable")[:20]]))


def not_sorted_by_id(state, rng):
    V, free = state.index.vectors, np.flatnonzero(~state.excluded)
    mine = np.concatenate([state.labelled(c) for c in state.minority])
    return Subpool(free[np.argsort(-(V[free] @ V[mine].T).max(axis=1), kind="stable")[:20]])


def twenty_of_each(state, rng):
    V, free = state.index.vectors, np.flatnonzero(~state.excluded)
    mine = np.concatenate([state.labelled(c) for c in state.minority])
    return Subpool(np.unique([free[np.argsort(-(V[free] @ V[j]), kind="stable")[:20]] for j in mine]))


def at_random(state, rng):
    return Subpool(np.sort(rng.choice(np.flatnonzero(~state.excluded), 20, replace=False)))


def positions_of_the_nearest(state, rng):
    V = state.index.vectors
    mine = np.concatenate([state.labelled(c) for c in state.minority])
    return Subpool(np.sort(np.argsort(-(V[~state.excluded] @ V[mine].T).max(axis=1), kind="stable")[:20]))


def filter_of(scores, n=20):
    filter = a_filter(scores, n)
    filter.__name__ = f"{scores.__name__}, {n}"
    return filter


WRONG_ANSWERS = {
    "entropy": [least_confidence, margin, nan_to_num_after_the_sum, smoothed, two_classes, gini, without_a_guard,
                in_bits, without_the_minus, over_the_instances, of_the_likeliest_class, share_of_the_largest_entropy,
                without_the_weights, in_all],
    "most_uncertain": [by(least_confidence), by(margin), by(gini), ids_ascending, one_too_many, unstable, positions,
                       surest_first, near_one_half, likeliest_minority, entropies_and_no_ids, most_uncertain_last],
    "chance_of_none": [with_replacement, one_draw, only_rare, chance_of_at_least_one, number_to_expect, number_of_ways,
                       by_the_exponential, one_draw_too_few, with_factorials],
    "f1": [f1_without_a_guard, f1_from_precision_and_recall, f1_of_class_1, f1_of_class_1_against_the_rest,
           f1_one_where_there_is_nothing, jaccard, f1_in_plain_python, accuracy,
           accuracy_of_the_class_against_the_rest, recall, precision, mean_of_precision_and_recall,
           root_of_precision_times_recall, f1_macro, hits_counted_once],
    "next_anchor": [from_first, mean_of_chosen, manhattan, not_squared, from_the_last, from_the_farthest,
                    that_do_not_add_up_to_1, over_the_largest, always_the_farthest, squared_twice, from_the_centre,
                    evenly_among_the_others],
    "neighbours": [anchor_kept, excluded_after_the_cut, neighbours_ascending, nearest_of_all, without_the_anchor_only,
                   farthest, positions_among_the_free, first_of_the_free_left_out, by_the_angle_either_way,
                   among_the_excluded, similarities_and_no_ids],
    "average": [average_by_median, average_by_midrange, average_last_two, average_by_order_met, average_by_sum,
                average_by_largest, average_by_smallest, average_by_first, average_geometric,
                average_of_different_values, average_over_all_anchors, average_per_retrieval,
                average_with_zeros_between, average_updated_by_halves],
    "cut": [cut_larger_id_first, cut_by_argsort, cut_one_less, cut_least_similar, cut_sorted_by_id, cut_positions,
            cut_nothing, cut_with_all_that_tie, cut_without_those_that_tie, cut_scores, cut_by_partition],
    "largest_subpool": [bound_without_M, bound_C_twice, bound_M_per_class, bound_of_one_class, bound_without_the_pool,
                        bound_of_the_largest, bound_of_a_sum, bound_of_the_anchors, bound_with_the_anchors,
                        bound_cut_in_each_class],
    "seals": [seals_one_by_one, seals_after_asking, seals_without_itself_after_asking, seals_of_the_whole_history,
              seals_asking_again, seals_of_the_last_batch, seals_of_the_first_batch, seals_one_neighbour_less,
              seals_with_what_was_labelled_since, seals_bringing_in_new_ones_only, seals_in_the_order_met],
    "area": [area_left, area_right, area_simpson, area_ends, area_by_sum, area_by_mean, area_per_iteration,
             area_per_annotation, area_not_halved, area_without_the_last_step, area_from_zero],
    "paired": [upper_median, lower_median, absolute, other_way_round, difference_of_medians, sorted_first,
               mean_difference, pairs_won, share_of_pairs_won, in_per_cent, relative, all_against_all,
               the_middle_one_unsorted],
    "nearest_filter": [filter_of(one_class_only), filter_of(median_similarity), filter_of(centre), filter_of(best, 19),
                       filter_of(best, 21), filter_of(first_class_only), filter_of(worst_similarity),
                       filter_of(farthest_away), filter_of(first_instance_only), nearest_to_anything_labelled,
                       with_what_was_skipped, not_sorted_by_id, twenty_of_each, at_random, positions_of_the_nearest],
}
