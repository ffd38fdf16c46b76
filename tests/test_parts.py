"The parts of the loop: what they refuse, at once and by name, and what stays exact when numbers get hard."
import ast
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from anchoral import learners
from anchoral.data import sha256
from anchoral.learners import FineTune
from anchoral.strategies import closest_distinct

sys.path.insert(0, str(Path(__file__).parent))
import tiny  # noqa: E402

needs_torch = pytest.mark.skipif(not all(map(importlib.util.find_spec, ("torch", "transformers"))),
                                 reason="the torch extra is not installed")


def nearest_in_float64(centres, rows):
    "The definition, one difference at a time."
    free = list(range(len(rows)))
    chosen = []
    for centre in centres:
        gaps = [np.square(rows[i].astype(np.float64) - centre).sum() for i in free]
        chosen.append(free.pop(int(np.argmin(gaps))))
    return chosen


def test_the_row_nearest_to_a_centre_is_the_one_of_float64_although_all_rows_share_a_large_mean():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=384) + .001 * rng.normal(size=(2000, 384))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    centres = np.array([rows[at:at+40].mean(0) for at in range(0, 1000, 40)])
    expanded = (rows**2).sum(1) - 2 * centres @ rows.T
    right = nearest_in_float64(centres, rows)
    assert closest_distinct(centres, rows).tolist() == right
    assert expanded.argmin(1).tolist() != right, "the example is too easy: float32 finds the same"


def test_copies_are_taken_by_position():
    rows = np.repeat(np.array([[1, 0], [0, 1]], np.float32), 700, axis=0)
    centres = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert closest_distinct(centres, rows).tolist() == [0, 1, 700]


# ---------------------------------------------------------------- fine-tuning: precision, and where weights come from

TEXTS, LABELS = tiny.toy_texts(30, seed=1)


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    "A folder with a tiny BERT."
    import torch
    torch.set_num_threads(1)
    return str(tiny.build("bert", tmp_path_factory.mktemp("models") / "bert"))


def quick(model, **more):
    return FineTune(**dict(n_classes=3, minority=(2,), model=model, lr=1e-3, batch_size=8, epochs=1, min_steps=0,
                           device="cpu") | more)


def fitted(learner):
    x = learner.prepare(TEXTS)
    learner.fit(x[:16], LABELS[:16], 0, np.random.default_rng(0))
    return learner.outputs(x).probs


@needs_torch
@pytest.mark.parametrize("there", [True, False])
def test_mixed_precision_is_bfloat16_only_where_the_device_has_it(bert, monkeypatch, caplog, there):
    learners.precision.cache_clear()
    monkeypatch.setattr(learners, "has_bfloat16", lambda device: there)
    with caplog.at_level("WARNING"):
        mixed = quick(bert, amp=True)
        quick(bert, amp=True)
    probs = fitted(mixed)
    learners.precision.cache_clear()
    said = [r.getMessage() for r in caplog.records]
    assert np.isfinite(probs).all()
    assert np.array_equal(probs, fitted(quick(bert))) == (not there)
    assert mixed.made["precision"] == ("bfloat16" if there else "float32")
    assert said == ([] if there else ["amp=True, but device 'cpu' has no bfloat16 of its own: computing in float32."])


@needs_torch
@pytest.mark.parametrize("flags, has", [({"avx2", "fma"}, False), ({"avx2", "avx512f", "avx512_bf16"}, True),
                                        ({"amx_bf16", "amx_tile"}, True), ({"asimd", "bf16"}, True), (set(), False)])
def test_a_processor_has_bfloat16_by_its_flags(monkeypatch, flags, has):
    monkeypatch.setattr(learners, "processor_flags", lambda: flags)
    assert learners.has_bfloat16("cpu") is has


@needs_torch
def test_a_saved_learner_records_checkpoint_and_precision(bert, tmp_path):
    learner = quick(bert)
    fitted(learner)
    assert learner.made == dict(checkpoint=bert, precision="float32")
    learner.save(tmp_path / "a")
    assert FineTune.load(tmp_path / "a", device="cpu").made == learner.made


@pytest.fixture
def hostile(bert, tmp_path):
    "A checkpoint whose configuration points to code of its own, and the file that this code would write."
    folder, marker = tmp_path / "hostile", tmp_path / "it-ran"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "never-heard-of"
    config["auto_map"] = {"AutoConfig": "modeling_evil.EvilConfig", "AutoTokenizer": ["modeling_evil.Evil", None],
                          "AutoModelForSequenceClassification": "modeling_evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    words = json.loads((folder / "tokenizer_config.json").read_text())
    words |= {"auto_map": {"AutoTokenizer": ["modeling_evil.Evil", "modeling_evil.Evil"]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    (folder / "modeling_evil.py").write_text(f"open({str(marker)!r}, 'w').write('ran')\n")
    return folder, marker


@needs_torch
@pytest.mark.parametrize("use", ["prepare", "initialise", "load_network", "load_tokenizer", "load"])
def test_code_of_a_checkpoint_neither_runs_nor_is_asked_for(hostile, monkeypatch, use):
    folder, marker = hostile
    monkeypatch.setattr("builtins.input", lambda *a: pytest.fail("somebody asked at the terminal"))
    learner = quick(folder)
    if use == "load":
        files = {f.name: sha256(f) for f in folder.iterdir()}
        params = {"n_classes": 3, "model": "minilm"}
        facts = dict(learner="finetune", params=params, seen=[True]*3, log={}, files=files)
        (folder / "learner.json").write_text(json.dumps(facts))
    calls = {"prepare": lambda: learner.prepare(TEXTS), "initialise": lambda: learner.initialise(0),
             "load_network": lambda: learners.load_network(str(folder), 3, 0),
             "load_tokenizer": lambda: learners.load_tokenizer(str(folder)),
             "load": lambda: FineTune.load(folder, device="cpu")}
    try: calls[use]()
    except OSError as e: assert str(folder) in str(e) and "\n" not in str(e)
    assert not marker.exists()


def test_every_load_in_every_module_says_that_no_foreign_code_runs():
    "`load_options` and the arguments written at a call are the two places that say it."
    package = Path(learners.__file__).parent
    loads = 0
    for module in package.glob("*.py"):
        for call in ast.walk(ast.parse(module.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "attr", "") != "from_pretrained": continue
            loads += 1
            stated = ast.unparse(call)
            assert "trust_remote_code=False" in stated or "**options" in stated, stated
    assert loads >= 3 and learners.load_options(str(package))["trust_remote_code"] is False


@needs_torch
@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_out_of_reach_is_said_at_once_in_one_line(monkeypatch, offline, tmp_path):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    asked = []
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *a, **k: asked.append(a))
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *a, **k: asked.append(a))
    why = "HF_HUB_OFFLINE is set" if offline else "http://127.0.0.1:9 cannot be reached"
    for call in (lambda ft: ft.prepare(TEXTS), lambda ft: ft.initialise(0)):
        with pytest.raises(OSError, match=why) as caught: call(quick("a/b"))
        assert "'a/b'" in str(caught.value) and "\n" not in str(caught.value)
    assert not asked, "transformers asks again and again"


@needs_torch
def test_a_model_in_the_hub_s_cache_is_used_without_the_hub(monkeypatch, tmp_path):
    from huggingface_hub import constants
    at = tmp_path / "models--a--b"
    (at / "snapshots" / "1234").mkdir(parents=True)
    (at / "refs").mkdir()
    (at / "refs" / "main").write_text("1234")
    (at / "snapshots" / "1234" / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(learners, "hub_answers", lambda: False)
    assert learners.load_options("a/b") == dict(revision="main", trust_remote_code=False, local_files_only=True)
