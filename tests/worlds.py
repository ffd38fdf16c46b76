"""Small worlds the tests share: clustered unit vectors, a state with a history, comparable rounds."""
import numpy as np

from anchoral.anchors import State
from anchoral.index import ExactIndex
from anchoral.strategies import Outputs


def clustered(n, d=16, clusters=12, seed=0, spread=.6):
    "(n, d) float32 unit rows around `clusters` centres of very uneven size, and each row's cluster."
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, clusters + 1)
    which = rng.choice(clusters, n, p=share / share.sum())
    rows = rng.normal(size=(clusters, d))[which] + spread * rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), which


def state(n=300, n_classes=2, batches=(20, 10), seed=0, skipped=0, d=16):
    "A state in which the rarest clusters are the minority, with its true labels."
    rng = np.random.default_rng(seed)
    vectors, which = clustered(n, d, seed=seed)
    truth = np.where(which >= 12 - (n_classes - 1), which - (12 - n_classes), 0)
    truth[:n_classes] = np.arange(n_classes)  # at least one of each
    ids = np.concatenate([np.arange(n_classes), n_classes + rng.permutation(n - n_classes)])
    history, at = [], 0
    for b in batches:
        history.append(ids[at:at + b])
        at += b
    labels, excluded = np.full(n, -1), np.zeros(n, bool)
    told = np.concatenate(history)
    labels[told], excluded[told] = truth[told], True
    excluded[ids[at:at + skipped]] = True
    return State(ExactIndex(vectors), labels, excluded, history, tuple(range(1, n_classes)), n_classes, outputs(vectors, n_classes)), truth


def outputs(vectors, n_classes):
    "A fixed linear model's outputs on demand."
    W = np.random.default_rng(1).normal(size=(n_classes, vectors.shape[1])) * 3
    def of(ids):
        h = vectors[ids]
        z = np.exp(h @ W.T)
        return Outputs.of(ids, z / z.sum(1, keepdims=True), h)
    return of


def without_clocks(rounds):
    return [{k: v for k, v in r.items() if k != "seconds"} for r in rounds]
