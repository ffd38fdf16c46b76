# Session whole: importing any module of the room adds what audit and exchange give it.
from . import session, exchange, audit  # noqa: E402,F401,I001
