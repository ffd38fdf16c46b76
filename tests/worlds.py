"""What the tests share: the small world of the contracts, an active learner over it, comparable rounds."""
import numpy as np

from anchoral.contracts import clustered  # noqa: F401
from anchoral.contracts import toy_state as state  # noqa: F401
from anchoral.filters import make_filter
from anchoral.head import Head
from anchoral.index import ExactIndex
from anchoral.loop import ActiveLearner
from anchoral.strategies import make_strategy


def without_clocks(rounds):
    return [{k: v for k, v in r.items() if k not in ("seconds", "processor")} for r in rounds]


def learner_of(n_classes=2, **more):
    return Head(n_classes, minority=(1,), **more)


def world(n=200, filter="anchoral", strategy="entropy", n_classes=2, minority=(1,), learner=None, x=None, **more):
    "An `ActiveLearner` over clusters, and the true labels."
    vectors, which = clustered(n)
    filter = make_filter(filter) if isinstance(filter, str) else filter
    strategy = make_strategy(strategy, (1,)) if isinstance(strategy, str) else strategy
    al = ActiveLearner(ExactIndex(vectors), vectors if x is None else x(vectors), learner or learner_of(n_classes),
                       filter, strategy, n_classes, minority, **more)
    return al, which % n_classes


def started(**parts):
    "The same, with an initial set."
    al, truth = world(**parts)
    al.tell(np.arange(20), truth[:20])
    return al, truth
