"""A packed folder: its parts, damage that is noticed, and runs made from it alone, resumed and collected."""
import json
import os
import re
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import tiny

from anchoral import embeddings, finetune, tasks
from anchoral.data import Task
from anchoral.files import sha256
from anchoral.study import results
from anchoral.study.config import run_id
from anchoral.study.gpu import pack, run_packed
from anchoral.study.grid import jobs
from anchoral.study.profiles import PROFILES, Profile, grid_cells, independent_seeds, settings
from anchoral.study.runs import read_iterations

ROOT = Path(__file__).parents[1]
needs_torch = pytest.mark.skipif(not find_spec("torch"), reason="needs torch")
# two settings, two draws, two iterations
TOY = Profile("toy", dict(task="gpu-toy", learner="finetune", model="gpu-toy", encoder="lsa", index="exact",
                          n_initial=20, per_minority=5, query_size=10, budget=30, epochs=1, min_steps=2,
                          model_tokens=16),
              settings("anchoral", "none"), independent_seeds(2), by_draw=True)
PARTS = ["packages/toy", "models/toy"]

# another machine: an empty cache, no network, and no knowledge of the toys but where they are in the cache
THERE = """
import socket, sys
sys.path.append({tests!r})
from test_gpu import TOY, add_toys, run_packed

def refuse(self, address): raise OSError(f"no network here, not even {{address}}")
socket.socket.connect = refuse
add_toys({sha!r})
if __name__ == "__main__": run_packed("pack", "out", {minutes}, 2, TOY, "runs/toy")
"""


def toy_task():
    made = json.loads((embeddings.cache_dir()/"packages/toy/texts.json").read_text())
    return Task("gpu-toy", made["pool"], np.array(made["labels"]), ("others", "metal"), (1,),
                made["test"], np.array(made["test_labels"]))


def add_toys(sha, put=dict.__setitem__):
    "Give the toys their names; what they read is in the cache."
    weights = embeddings._Weights(None, None, sha, lambda home: home.parent/"toy")
    put(tasks.TASKS, "gpu-toy", toy_task)
    put(embeddings._PINNED, "gpu-toy", weights)
    put(finetune.CHECKPOINTS, "gpu-toy", (None, None, 4e-5))


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    "A cache that holds a toy task and a toy model, and something that need not travel."
    home = tmp_path_factory.mktemp("cache")
    for folder in ("packages/toy", "packages/other"): (home/folder).mkdir(parents=True)
    pool, labels = tiny.toy_texts(120, seed=1)
    test, test_labels = tiny.toy_texts(30, seed=2)
    made = dict(pool=pool, labels=(labels == 0).astype(int).tolist(),
                test=test, test_labels=(test_labels == 0).astype(int).tolist())
    (home/"packages/toy/texts.json").write_text(json.dumps(made))
    (home/"packages/other/large").write_bytes(bytes(1000))
    (home/".anchoral-cache").touch()
    tiny.build("bert", home/"models/toy")
    return home


@pytest.fixture
def sha(toys, monkeypatch):
    "The toys by name in this process, and the digest of the model."
    made = sha256(toys/"models/toy/model.safetensors")
    monkeypatch.setenv("ANCHORAL_CACHE", str(toys))
    add_toys(made, monkeypatch.setitem)
    return made


def call_there(folder, sha, minutes):
    "`run_packed` in a process of its own; returns how many runs it made, how many failed and how many are left."
    script = folder/"there.py"
    script.write_text(THERE.format(tests=str(ROOT/"tests"), sha=sha, minutes=minutes))
    env = os.environ | dict(ANCHORAL_CACHE=str(folder/"cache"), PYTHONPATH=str(ROOT), PIP_NO_INDEX="1",
                            CUDA_VISIBLE_DEVICES="")
    done = subprocess.run([sys.executable, str(script)], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(n) for n in re.search(r"(\d+) runs done, (\d+) failed, (\d+) left", done.stdout).groups()]


def without_clocks(folder):
    return [{k: v for k, v in line.items() if k not in ("seconds", "processor")} for line in read_iterations(folder)]


@needs_torch
def test_a_pack_holds_the_named_parts_of_the_cache_with_their_digests(sha, tmp_path):
    sizes = pack(tmp_path, TOY, PARTS, packages=[])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache.tar.xz", "digests.json"]
    assert sizes == {"cache.tar.xz": (tmp_path/"cache.tar.xz").stat().st_size}
    with tarfile.open(tmp_path/"cache.tar.xz") as tar: names = set(tar.getnames())
    assert {"packages/toy/texts.json", "models/toy/model.safetensors", "models/toy/tokenizer.json"} <= names
    assert not any("other" in name for name in names)
    assert list(results.read_digests(tmp_path)) == ["cache.tar.xz"]
    results.require_whole(tmp_path, ["cache.tar.xz"])
    assert pack(tmp_path, TOY, PARTS, packages=[]) == sizes
    (tmp_path/"mine").touch()
    with pytest.raises(ValueError, match="holds mine, which would travel too"): pack(tmp_path, TOY, PARTS, packages=[])
    with pytest.raises(ValueError, match="mine"): pack(tmp_path, TOY, PARTS, packages=[])


@needs_torch
def test_what_is_too_large_to_travel_or_not_there_is_refused(sha, tmp_path):
    with pytest.raises(ValueError, match=r"the packed files have 0\.\d MB and the clone \d+\.\d MB, together more than "
                                         r"the 1\.0 MB that may travel"):
        pack(tmp_path/"large", TOY, PARTS, packages=[], most=1_000_000)
    with pytest.raises(ValueError, match="has no packages/nosuch, so it cannot be packed"):
        pack(tmp_path/"lacking", TOY, ["packages/nosuch"], packages=[])


@needs_torch
def test_a_damaged_pack_runs_nothing(sha, tmp_path, monkeypatch):
    pack(tmp_path/"pack", TOY, PARTS, packages=[])
    archive = tmp_path/"pack/cache.tar.xz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    monkeypatch.setenv("ANCHORAL_CACHE", str(tmp_path/"cache"))
    with pytest.raises(ValueError, match="cache.tar.xz: damaged.*carry it over again"):
        run_packed(tmp_path/"pack", tmp_path, 1, 1, TOY, tmp_path/"runs")
    (tmp_path/"pack/digests.json").unlink()
    with pytest.raises(ValueError, match="no packed folder"):
        run_packed(tmp_path/"pack", tmp_path, 1, 1, TOY, tmp_path/"runs")
    assert not (tmp_path/"cache/packages").exists() and not list((tmp_path/"runs").glob("*/config.json"))


@needs_torch
def test_runs_are_made_from_the_pack_alone_and_resumed_and_collected(sha, tmp_path, monkeypatch):
    "On the CPU, in an empty cache, without a network; the first call's time is up at once."
    pack(tmp_path/"pack", TOY, PARTS, packages=[])
    first, failed, left = call_there(tmp_path, sha, minutes=0)
    assert failed == 0 and first + left == 4
    assert call_there(tmp_path, sha, minutes=60) == [left, 0, 0]
    ids = [run_id(c) for c in chain.from_iterable(jobs(TOY).values())]
    made = {name: without_clocks(tmp_path/"runs/toy"/name) for name in ids}
    assert [len(lines) for lines in made.values()] == [2]*4

    cut = tmp_path/"runs/toy"/ids[0]/"iterations.jsonl"
    cut.write_bytes(cut.read_bytes().splitlines(keepends=True)[0] + b'{"half a line')
    assert call_there(tmp_path, sha, minutes=60) == [1, 0, 0]
    assert without_clocks(cut.parent) == made[ids[0]]

    assert [p.name for p in (tmp_path/"out").iterdir()] == ["toy.tar.gz"]
    with tarfile.open(tmp_path/"out/toy.tar.gz") as tar: tar.extractall(tmp_path/"here", filter="data")
    note = tmp_path/"here/toy/machine.json"
    facts = json.loads(note.read_text())
    assert facts["gpu"] == "none" and facts["processes"] == 2 and list(facts["vectors"]) == ["gpu-toy, lsa, 128 tokens"]
    note.write_text(json.dumps(facts | dict(cpu="another", gpu="some")))
    monkeypatch.setattr(results, "vectors_of", None) # the embeddings were made there, and are not made again
    df = results.save_results("mine", tmp_path/"here/toy", "", ids, folder=tmp_path/"results")
    assert set(df.run) == set(ids) and {"time_select", "processor_select"} <= set(df)
    about = results.load_about("mine", tmp_path/"results")
    assert about["cpu"] == "another" and about["gpu"] == "some" and about["vectors"] == facts["vectors"]


def test_the_profile_is_the_whole_model_with_seeds_of_its_own():
    configs = list(chain.from_iterable(grid_cells(PROFILES["gpu"]).values()))
    assert {(c.task, c.learner, c.model, c.layers, c.model_tokens, c.index) for c in configs} == {
        ("news-metals", "finetune", "minilm-float16", 0, 128, "exact")}
    assert sorted({c.filter for c in configs}) == ["anchoral", "none", "randsub", "seals"] and len(configs) == 32
    others = chain.from_iterable(grid_cells(p).values() for name, p in PROFILES.items() if name != "gpu")
    used = {c.data_seed for c in chain.from_iterable(others)}
    assert not used & {c.data_seed for c in configs}


@needs_torch
def test_rounded_weights_are_minilms_to_the_nearest():
    from safetensors.numpy import load_file
    half = load_file(embeddings.model_folder("minilm-float16")/"model.safetensors")
    whole = load_file(embeddings.model_folder("minilm")/"model.safetensors")
    assert half.keys() == whole.keys()
    for name, values in whole.items():
        assert half[name].dtype == (np.float16 if values.dtype == np.float32 else values.dtype)
        assert (half[name] == values.astype(half[name].dtype)).all()


def test_git_ignores_the_packed_folder():
    assert subprocess.run(["git", "check-ignore", "-q", "runs/gpu-pack"], cwd=ROOT).returncode == 0
