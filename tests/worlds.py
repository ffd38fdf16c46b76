"""What the tests share: the small world of the contracts, comparable rounds."""
from anchoral.contracts import clustered  # noqa: F401
from anchoral.contracts import toy_state as state  # noqa: F401


def without_clocks(rounds):
    return [{k: v for k, v in r.items() if k not in ("seconds", "processor")} for r in rounds]
