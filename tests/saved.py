"""Small runs that tests make, save and spoil, and how files are damaged in a fuzz test."""
import os
import random
import subprocess

from anchoral.study.config import make_config

SMALL = dict(task="reuters-agri", encoder="lsa", budget=150, n_anchors=3, n_neighbours=10)
# damaged files in all; thousands before a release: ANCHORAL_FUZZ=5000 pytest tests -k fuzz
FUZZ = int(os.environ.get("ANCHORAL_FUZZ", 400))


def configs(n, **more):
    return [make_config(**SMALL | more, data_seed=seed) for seed in range(n)]


def some(runs, wanted, to):
    "A folder with only these runs."
    to.mkdir()
    for name in wanted:
        subprocess.run(["cp", "-r", str(runs / name), str(to)], check=True)
    return to


def damage(data: bytes, rng) -> bytes:
    "The bytes as a disk, an editor or a bad copy could leave them."
    at = rng.randrange(len(data))
    to = min(len(data), at + rng.choice([1, 1, 8, 512]))
    digits = [i for i, b in enumerate(data) if 48 <= b <= 57]
    lines = data.splitlines(keepends=True)
    kind = rng.choice(["bit", "digit", "zero", "delete", "insert", "cut", "double", "swap"])
    if kind == "bit":
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if kind == "digit" and digits:
        at = rng.choice(digits)
        return data[:at] + rng.choice("0123456789").encode() + data[at + 1 :]
    if kind == "zero":
        return data[:at] + bytes(to - at) + data[to:]
    if kind == "delete":
        return data[:at] + data[to:]
    if kind == "insert":
        return data[:at] + rng.randbytes(rng.choice([1, 4])) + data[at:]
    if kind == "cut":
        return data[:at]
    if kind == "double":
        return data[:at] + data[at:to] + data[at:]
    i = rng.randrange(len(lines))
    return b"".join([*lines[:i], *lines[i + 1 : i + 2], lines[i], *lines[i + 2 :]])


def fuzz(path, n, read, fine):
    "Damage a file `n` times; each time, reading it must fail with its folder's name or give what is right."
    whole, rng, noticed = path.read_bytes(), random.Random(f"{path.name} {n}"), 0
    for i in range(n):
        bad = damage(whole, rng)
        path.write_bytes(bad)
        try:
            got = read()
        except ValueError as e:
            noticed += 1
            assert str(path.parent) in str(e), f"damage {i}: {e}"
            assert "\n" not in str(e), f"damage {i}: {e}"
        else:
            assert fine(got), f"damage {i} was not noticed: {bad[:2000]}"
    path.write_bytes(whole)
    assert n < 20 or noticed > n / 2
