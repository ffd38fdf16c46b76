"""What fails in tests: a call on a full disk, a process that has ended."""
import subprocess
import sys


class Full:
    def __init__(self, error): self.error = error
    def __call__(self, *args): raise self.error


def dead():
    "The number of a process that has ended."
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid
