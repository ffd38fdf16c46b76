"""Active learning for large pools and rare classes: AnchorAL, read beside its code.

    task = anchoral.Task.from_frame("tickets.csv", text="body", label="topic", minority="outage")
    al = anchoral.ActiveLearner.from_task(task)
    ids = al.ask(25)

These names are what most users need; each is loaded when it is first touched. Everything else is imported from its
module."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING: # so that an editor completes them; nothing is imported when the code runs
    from anchoral.annotator.session import Session
    from anchoral.annotator.widget import annotate
    from anchoral.data import Task
    from anchoral.embeddings import encode
    from anchoral.finetune import FineTune
    from anchoral.head import Head
    from anchoral.index import make_index
    from anchoral.loop import ActiveLearner, simulate
    from anchoral.study.results import load_results
    from anchoral.tasks import load_task

_FACE = { # name -> the module it lives in
    "Task": "data",
    "load_task": "tasks",
    "encode": "embeddings",
    "make_index": "index",
    "Head": "head",
    "FineTune": "finetune",
    "ActiveLearner": "loop",
    "simulate": "loop",
    "Session": "annotator.session",
    "annotate": "annotator.widget",
    "load_results": "study.results",
}
__all__ = list(_FACE)

def __getattr__(name: str):
    if name not in _FACE:
        raise AttributeError(f"module 'anchoral' has no attribute {name!r}; "
                             f"it has {', '.join(_FACE)}, and its modules have the rest")
    from importlib import import_module
    return getattr(import_module(f"anchoral.{_FACE[name]}"), name)

def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
