"""Files of Label Studio, doccano and Argilla: read by their schema, written and read back, refused with their line."""
import json
import logging
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_team import TASK, TEXTS, TRUTH, begin, label

from anchoral.annotator.formats import is_of_a_tool, read_answers, write_answers
from anchoral.annotator.team import agreement, disagreements
from anchoral.data import Task

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)
FORMATS = {"label-studio": ".json", "doccano": ".jsonl", "argilla": ".json"}

# Files as the tools write them, after their documentation and code; the values are ours.
LABEL_STUDIO = """[
  {"id": 41, "inner_id": 1, "project": 7, "created_at": "2026-03-01T09:00:00.000000Z",
   "updated_at": "2026-03-01T10:00:00.000000Z", "file_upload": "3f-tickets.json", "meta": {}, "drafts": [],
   "total_annotations": 2, "cancelled_annotations": 0, "total_predictions": 1, "comment_count": 0,
   "data": {"text": "text number 3", "ticket": "T-3", "sentiment": {"mean": 0.5}},
   "annotations": [
     {"id": 100, "completed_by": 1, "was_cancelled": false, "ground_truth": false, "lead_time": 6.25,
      "created_at": "2026-03-01T09:30:00.000000Z", "updated_at": "2026-03-01T09:30:00.000000Z",
      "result_count": 1, "task": 41, "import_id": null, "last_action": null,
      "result": [{"id": "Dx1", "from_name": "kind", "to_name": "text", "type": "choices", "origin": "manual",
                  "value": {"choices": ["rare"]}}]},
     {"id": 101, "completed_by": {"id": 2, "email": "bob@example.org", "first_name": "", "last_name": ""},
      "was_cancelled": false, "ground_truth": false, "lead_time": 2.0, "created_at": "2026-03-01T09:40:00.000000Z",
      "result": [{"id": "Dx2", "from_name": "kind", "to_name": "text", "type": "choices",
                  "value": {"choices": ["other"]}}]}],
   "predictions": [{"id": 5, "model_version": "m1", "score": 0.75, "cluster": null, "mislabeling": 0.0,
                    "result": [{"from_name": "kind", "to_name": "text", "type": "choices",
                                "value": {"choices": ["rare"]}}]}]},
  {"id": 42, "data": {"text": "text number 4", "ticket": "T-4"}, "predictions": [],
   "annotations": [{"id": 102, "completed_by": 1, "was_cancelled": true, "lead_time": 1.5, "result": []}]},
  {"id": 43, "data": {"text": "text number 5", "ticket": "T-5"}, "annotations": [
     {"id": 103, "completed_by": 1, "was_cancelled": false, "result": []}], "predictions": []},
  {"id": 44, "data": {"text": "text number 6", "ticket": "T-6"}, "annotations": [], "predictions": []}
]
"""
DOCCANO = """{"id": 12, "text": "text number 3", "ticket": "T-3", "label": ["rare"], "Comments": ["really?"]}
{"id": 13, "text": "text number 4", "ticket": "T-4", "label": [], "Comments": []}
{"id": 14, "text": "caf\\u00e9 \\u2014 \\"no power\\"", "ticket": "T-9", "label": ["other"], "Comments": []}
"""
ARGILLA = """[{"id": "T-3", "fields": {"text": "text number 3", "title": null},
 "metadata": {"ticket": "T-3", "year": 2026},
 "suggestions": {"kind": {"value": "rare", "score": 0.75, "agent": "m1"}},
 "responses": {"kind": [{"value": "rare", "user_id": "11111111-0000-4000-8000-000000000001"},
                        {"value": "other", "user_id": "22222222-0000-4000-8000-000000000002", "status": "submitted"},
                        {"value": "rare", "user_id": "33333333-0000-4000-8000-000000000003", "status": "draft"}]},
 "vectors": {"v": [0.1, 0.2]}, "_server_id": "99999999-0000-4000-8000-000000000009"},
 {"id": "T-4", "fields": {"text": "text number 4"}, "metadata": {}, "suggestions": {}, "vectors": {},
  "responses": {"kind": [{"value": "other", "user_id": "11111111-0000-4000-8000-000000000001", "status": "discarded"}]},
  "_server_id": null},
 {"id": "T-6", "fields": {"text": "text number 6"}, "metadata": {}, "suggestions": {}, "responses": {}, "vectors": {}}]
"""


@pytest.fixture
def files(tmp_path):
    "A function that writes a file and gives its path."
    def write(content, name="file.json"):
        (tmp_path/name).write_text(content, encoding="utf-8")
        return tmp_path/name
    return write


def cells(frame, *columns):
    return frame[list(columns)].astype(object).where(frame[list(columns)].notna(), None).values.tolist()


# From the tools

def test_label_studio(files, caplog):
    with caplog.at_level(logging.INFO): frame = read_answers(files(LABEL_STUDIO))
    assert caplog.messages == ["file.json is read as a file of label-studio; texts: 4, answers: 3"]
    assert cells(frame, "text", "label", "skipped", "annotator", "seconds", "ticket", "source_id") == [
        ["text number 3", "rare", False, "1", 6.25, "T-3", 41],
        ["text number 3", "other", False, "bob@example.org", 2.0, "T-3", 41],
        ["text number 4", None, True, "1", 1.5, "T-4", 42], # skipped
        ["text number 5", None, False, "", None, "T-5", 43], # submitted with nothing chosen
        ["text number 6", None, False, "", None, "T-6", 44]]
    assert cells(frame, "predicted", "confidence")[:2] == [["rare", .75]]*2 and frame.predicted.isna().sum() == 3
    assert frame.time[0] == "2026-03-01T09:30:00.000000Z" and frame.sentiment[0] == {"mean": .5}


def test_doccano(files):
    frame = read_answers(files(DOCCANO, "bob.jsonl"), annotator="bob")
    assert cells(frame, "text", "label", "skipped", "annotator", "ticket", "source_id") == [
        ["text number 3", "rare", False, "bob", "T-3", 12], ["text number 4", None, False, "", "T-4", 13],
        ['café — "no power"', "other", False, "bob", "T-9", 14]]
    older = ('{"id": 1, "data": "one", "label": ["a"]}\n\n{"id": 2, "text": "two", "labels": ["b"], '
             '"meta": {"k": 1}, "annotation_approver": null}\n')
    assert cells(read_answers(files(older, "old.jsonl")), "text", "label", "k") == [["one", "a", None],
                                                                                    ["two", "b", 1]]


def test_argilla(files):
    frame = read_answers(files(ARGILLA))
    one, two = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"
    assert cells(frame, "text", "label", "skipped", "annotator", "source_id") == [
        ["text number 3", "rare", False, one, "T-3"], ["text number 3", "other", False, two, "T-3"],
        ["text number 4", None, True, one, "T-4"], ["text number 6", None, False, "", "T-6"]]
    assert cells(frame, "predicted", "confidence", "year")[0] == ["rare", .75, 2026]


def test_flat_records_of_argilla_are_the_nested_ones(files):
    "As `to_datasets().to_json()` writes them: all keys on each line, empty where a record has nothing."
    flat = [
        {"id": "T-3", "status": "pending", "_server_id": "9", "text": "text number 3", "title": None, "ticket": "T-3",
         "year": 2026, "kind.responses": ["rare", "other", "rare"], "kind.suggestion": "rare",
         "kind.responses.users": [f"{n*8}-0000-4000-8000-00000000000{n}" for n in "123"],
         "kind.responses.status": ["submitted", "submitted", "draft"], "kind.suggestion.score": .75,
         "kind.suggestion.agent": "m1"},
        {"id": "T-4", "text": "text number 4", "kind.responses": ["other"], "kind.responses.status": ["discarded"],
         "kind.responses.users": ["11111111-0000-4000-8000-000000000001"], "kind.suggestion": None},
        {"id": "T-6", "text": "text number 6", "kind.responses": None, "kind.responses.users": None}]
    columns = ["text", "label", "skipped", "annotator", "source_id", "ticket", "year", "predicted", "confidence"]
    found = read_answers(files("\n".join(map(json.dumps, flat)), "flat.jsonl"))
    assert cells(found, *columns) == cells(read_answers(files(ARGILLA)), *columns)
    assert not [name for name in found.columns if "." in name]
    with pytest.raises(ValueError, match="line 1: there is no 'words' among"):
        read_answers(files(json.dumps(flat[0]), "flat.jsonl"), text="words")


@pytest.mark.parametrize("content", [LABEL_STUDIO, ARGILLA])
def test_people_of_a_tool_are_compared(files, content):
    rows = read_answers(files(content))
    first, second = (rows[rows.annotator == name] for name in rows.annotator[:2])
    found = disagreements(first, second)
    assert cells(found, *found.columns[:3]) == [["text number 3", "rare", "other"]]
    with pytest.raises(ValueError, match="two labels.*answers of one person"): agreement(rows, second)


def test_a_session_reads_them_all(files, tmp_path, caplog):
    s = begin(tmp_path/"s", "ada")
    one = DOCCANO.splitlines()[0] + "\n" + DOCCANO.splitlines()[1]
    assert s.load(files(one, "one.jsonl")) == 1 and s.labels == {3: 1}
    assert "one.jsonl is read as a file of doccano; texts: 2, answers: 1" in caplog.messages
    alone = json.loads(LABEL_STUDIO)
    alone[0]["annotations"].pop()
    assert s.load(files(json.dumps(alone))) == 1 and s.skipped == [4] and s.book.answers[4].annotator == "1"
    assert s.load(files(json.dumps(json.loads(ARGILLA)[1:]), "argilla.json")) == 0
    with pytest.raises(ValueError, match="the same text has two labels at rows 0 and 1"): s.load(files(LABEL_STUDIO))
    with pytest.raises(ValueError, match=r"bad.jsonl, line 2: unknown class 'rarer'; did you mean 'rare'"):
        s.load(files(DOCCANO.splitlines()[1] + "\n" + one.replace('"rare"', '"rarer"'), "bad.jsonl"))
    with pytest.raises(ValueError, match="'café.*is not in the pool"): s.load(files(DOCCANO, "all.jsonl"))
    assert s.labels == {3: 1} and s.skipped == [4]
    s.close()


def test_two_people_who_agree_in_one_file_are_both_on_record(files, tmp_path):
    s = begin(tmp_path/"s", "ada")
    s.load(files(LABEL_STUDIO.replace('["other"]', '["rare"]')))
    assert (s.book.answers[3].annotator, s.book.answers[3].others) == ("1", {"bob@example.org": 1})
    s.close()


def test_a_table_is_of_no_tool(files, tmp_path):
    table = files('{"text": "text number 3", "label": "rare"}\n', "table.jsonl")
    assert not is_of_a_tool(table) and not is_of_a_tool(tmp_path/"none.json") and not is_of_a_tool(pd.DataFrame())
    assert is_of_a_tool(files(DOCCANO, "d.jsonl"))
    assert is_of_a_tool(files(LABEL_STUDIO)) and is_of_a_tool(files(ARGILLA))


# Errors

CHOICES = [f'{{"type": "choices", "from_name": "{q}", "value": {{"choices": ["x"]}}}}' for q in "ab"]
TWO = f'{{"result": [{", ".join(CHOICES)}]}}'
TASK_5 = '[{"data": {"text": "a"}, "annotations": []},\n\n {"data": {"text": "b"}, "annotations": [%s]}]'


@pytest.mark.parametrize("content, match", [
    ("", "file.json is empty"), ("   \n", "is empty"), ("[]", "is empty"),
    ('{"text": "a", "label": ["x"]}\n{"text": "b", "lab', "line 2 is not JSON .*correct that line"),
    ('[{"text": "a", "label": ["x"]},\n', "is not JSON"), ("[" * 100_000, "is not JSON"),
    ('{"a": ' + "1"*5000 + "}", "is not JSON"),
    ("[1, 2]", "is not from Label Studio, doccano or Argilla: its first item is 1; .*CSV"),
    ('{"words": "a"}', "is not from Label Studio.*'words'"),
    ('{"text": "a", "label": ["x"]}\n\n17\n', "line 3: 17 is not an object"),
    ('{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["x", "y"]}', r"line 2: 2 labels \['x', 'y'\] .*keep one"),
    ('{"text": "a", "label": ["x"]}\n{"text": "b", "label": [{}]}', r"line 2: the label is \[\{\}\]"),
    ('{"text": "a", "label": ["x"]}\n{"text": 7, "label": []}', "line 2: 'text' is 7 and should be a text"),
    ('{"text": "a", "label": ["x"]}\n{"body": "b", "label": []}', r"line 2: there is no 'text' among \['body'.*text="),
    (TASK_5 % "3", "line 3: 3 should be an object"),
    (TASK_5 % '{"result": {}}', r"line 3: 'result' is \{\} and should be a list"),
    (TASK_5 % '{"result": [{"type": "choices"}], "was_cancelled": 1}', "'was_cancelled' is 1 and should be true or"),
    (TASK_5 % TWO, r"line 3: it answers several questions, \['a', 'b'\]; say which of them by label="),
    ('[{"fields": {"text": "a"}, "responses": []}]', r"line 1: 'responses' is \[\] and should be an object"),
    ('[{"fields": {"title": "a"}, "responses": {}}]', r"no 'text' among \['title'\]"),
    ('[{"fields": {"text": "a"}, "responses": {"q": [{"value": 1.5}]}}]', "the label is 1.5 and should be a class"),
])
def test_a_wrong_file_is_refused_with_its_line(files, content, match):
    with pytest.raises(ValueError, match=match) as error: read_answers(files(content))
    assert "file.json" in str(error.value) and len(str(error.value)) < 400


def test_other_names_of_texts_and_questions(files):
    task = TASK_5.replace('"text"', '"body"') % TWO
    frame = read_answers(files(task), text="body", label="a")
    assert cells(frame, "text", "label") == [["a", None], ["b", "x"]]


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path/"f.jsonl").write_bytes(b'{"text": "a", "label": []}\n{"text": "caf\xe9", "label": []}\n')
    with pytest.raises(ValueError, match="f.jsonl, line 2 is not UTF-8.*0xe9"): read_answers(tmp_path/"f.jsonl")
    (tmp_path/"f.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a", "label": ["x"]}\r\n')
    assert read_answers(tmp_path/"f.jsonl").text.tolist() == ["a"]
    with pytest.raises(FileNotFoundError, match="none.json"): read_answers(tmp_path/"none.json")


def test_what_cannot_be_written(tmp_path):
    frame = pd.DataFrame(dict(text=["a", "b"]))
    other, empty = frame.rename(columns=dict(text="x")), frame.assign(text=["a", None])
    for table, format, match in [(frame, "prodigy", "unknown format 'prodigy'"), (frame, "doccano", "ends in .jsonl"),
                                 (other, "argilla", r"no column 'text'.*\['x'\]"),
                                 (empty, "argilla", "row 1 of the frame has no text")]:
        with pytest.raises(ValueError, match=match): write_answers(table, tmp_path/"f.json", format)
    assert not list(tmp_path.iterdir())


# To the tools

def test_a_written_file_has_the_schema_of_its_tool(tmp_path):
    frame = pd.DataFrame(dict(text=["a", "b", "c"], label=["x", None, None], skipped=[False, True, False],
                              annotator=["ada", "ada", ""], predicted=["x", "y", "x"], p_x=[.9, .2, np.nan],
                              p_y=[.1, .8, .4], time=["2026-01-01T00:00:00Z", "", ""], seconds=[2., 3., np.nan],
                              ticket=[7, 8, 9]))
    path = write_answers(frame, tmp_path/"f.json", "label-studio", users={"ada": 3})
    one, two, three = json.loads(path.read_text())
    choice = dict(from_name="label", to_name="text", type="choices", value=dict(choices=["x"]))
    assert one["annotations"] == [dict(result=[choice], was_cancelled=False, ground_truth=False, completed_by=3,
                                       created_at="2026-01-01T00:00:00Z", lead_time=2.)]
    assert one["predictions"] == [dict(model_version="anchoral", result=[choice], score=.9)]
    assert one["data"]["text"] == "a" and one["data"]["ticket"] == 7
    assert two["annotations"][0]["was_cancelled"] and two["annotations"][0]["result"] == []
    assert three["annotations"] == [] and "score" not in three["predictions"][0]
    path = write_answers(frame, tmp_path/"f.jsonl", "doccano")
    one, two, three = map(json.loads, path.read_text().splitlines())
    assert (one["text"], one["label"], two["label"], two["skipped"], three["label"]) == ("a", ["x"], [], True, [])
    user = "11111111-0000-4000-8000-000000000001"
    path = write_answers(frame, tmp_path/"f.json", "argilla", users={"ada": user})
    one, two, three = json.loads(path.read_text())
    assert one["responses"] == {"label": [dict(value="x", user_id=user, status="submitted")]}
    assert one["suggestions"] == {"label": dict(value="x", score=.9, agent="anchoral")}
    assert two["responses"] == {} == three["responses"] and one["fields"] == {"text": "a"}
    assert not [c for f in tmp_path.iterdir() for c in f.read_bytes() if c > 127]


ODD = "=+-@'\"\t\r\n,; \0\x1a\ufeff\u2028\u0085a1é字🙂\u0301\u202e\ud800＝[]{}"
NASTY = st.text(st.sampled_from(ODD) | st.characters(), max_size=8)
ANSWER = st.fixed_dictionaries(dict(label=st.none() | NASTY.filter(bool), skipped=st.booleans(), who=NASTY,
                                    key=NASTY.filter(bool), predicted=st.none() | NASTY.filter(bool),
                                    seconds=st.none() | st.floats(.01, 1e6)))


@QUICK
@given(texts=st.lists(NASTY, min_size=1, max_size=5, unique=True), answers=st.lists(ANSWER, min_size=5, max_size=5),
       format=st.sampled_from(sorted(FORMATS)), name=NASTY.filter(bool))
@example(["a\ud800", "\u2028"], [dict(label="\ud800", skipped=True, who="", key="\0", predicted=None, seconds=None)]*5,
         "doccano", "]")
@example([" "], [dict(label="0", skipped=False, who="annotators", key="1", predicted="0", seconds=1.)]*5, "argilla",
         "id")
def test_whatever_is_written_comes_back(texts, answers, format, name):
    reserved = {"text", "label", "skipped", "annotator", "time", "seconds", "predicted", "confidence", "source_id",
                "pool_id", "annotators", "data", "meta", "labels"}
    name = f"my {name}" if name in reserved else name
    rows = [dict(text=t, label=a["label"], skipped=a["skipped"] and a["label"] is None,
                 annotator=a["who"] if a["label"] is not None or a["skipped"] else "", predicted=a["predicted"],
                 seconds=a["seconds"], **{name: a["key"]}) for t, a in zip(texts, answers)]
    frame = pd.DataFrame(rows, dtype=object)
    with tempfile.TemporaryDirectory() as home:
        path = write_answers(frame, Path(home)/f"f{FORMATS[format]}", format)
        back = read_answers(path)
        assert cells(back, "text", "label", "skipped", "annotator", name) == cells(
            frame, "text", "label", "skipped", "annotator", name)
        if frame.predicted.notna().any(): assert cells(back, "predicted") == cells(frame, "predicted")
        answered = frame.label.notna() | frame.skipped
        assert cells(back[answered], "seconds") == cells(frame[answered], "seconds")


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_session_comes_back_with_all_it_knew(tmp_path, format):
    a = begin(tmp_path/"a", "ada")
    label(a, 10)
    a.skip()
    a.close()
    a = begin(tmp_path/"a", "zoé 字")
    a.change(next(iter(a.labels)), "rare")
    label(a, 3)
    path = a.export(tmp_path/f"f{FORMATS[format]}", format=format)
    b = begin(tmp_path/"b")
    assert b.load(path) == 14 and b.load(path) == 0
    x, y = (s.frame().drop(columns="batch").set_index("id").sort_index() for s in (a, b))
    pd.testing.assert_frame_equal(x, y, check_dtype=False)
    a.close(), b.close()


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_predictions_go_out_and_labels_come_in(tmp_path, format):
    "The pool as a tool's project, labelled there, and back into a new session."
    s = begin(tmp_path/"s", "ada")
    label(s, 12)
    scores = s.predict().assign(text=TEXTS).nlargest(20, "score").drop(columns="label")
    path = write_answers(scores, tmp_path/f"f{FORMATS[format]}", format)
    items = ([json.loads(line) for line in path.read_text().splitlines()] if format == "doccano"
             else json.loads(path.read_text()))
    for item in items:
        text = (item.get("data") or item.get("fields") or item)["text"]
        chosen = TASK.classes[TRUTH[int(re.search(r"\d+", text)[0])]]
        if format == "doccano": item["label"] = [chosen]
        if format == "argilla": item["responses"] = {"label": [dict(value=chosen, user_id="u-1", status="submitted")]}
        if format == "label-studio": item["annotations"] = [dict(result=[dict(
            from_name="label", to_name="text", type="choices", value=dict(choices=[chosen]))], completed_by=4)]
    path.write_text("\n".join(map(json.dumps, items)) if format == "doccano" else json.dumps(items))
    back = read_answers(path)
    assert back.predicted.tolist() == scores.predicted.tolist() and np.allclose(back.score, scores.score)
    best = [row[f"p_{row.predicted}"] for _, row in scores.iterrows()]
    assert np.allclose(back.confidence, best)
    new = begin(tmp_path/"new")
    assert new.load(path) == 20 and all(TRUTH[i] == c for i, c in new.labels.items())
    s.close(), new.close()


KEYS_AS = ["ticket", "id", "pool_id", "label", "text"]


@pytest.mark.parametrize("key", KEYS_AS)
@pytest.mark.parametrize("format", sorted(FORMATS))
def test_keys_of_a_table_come_through(tmp_path, format, key):
    "Duplicates, empty rows, and a key with any name: to the tool, and back by key although the texts changed there."
    rows = [{key: f"K{i:03}", "body": text, "topic": None} for i, text in enumerate([*TEXTS, "", TEXTS[3]])]
    task = Task.from_frame(pd.DataFrame(rows), text="body", label="topic", id=key, classes=["other", "rare"],
                           minority="rare")
    a = begin(tmp_path/"a", "ada", task)
    label(a, 9)
    path = a.export(tmp_path/f"f{FORMATS[format]}", format=format)
    assert all(f"K{i:03}" in path.read_text() for i in a.labels)
    if key != "text": path.write_text(path.read_text().replace("text number", "text  number"))
    b = begin(tmp_path/"b", "bob", task)
    assert b.load(path) == 9 and b.labels == a.labels and set(b.loaded.matched) <= {"key", "text"}
    assert key == "text" or set(b.loaded.matched) == {"key"}
    frames = [s.frame().drop(columns="batch").set_index("id").sort_index() for s in (a, b)]
    pd.testing.assert_frame_equal(*frames, check_dtype=False)
    a.close(), b.close()


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_an_audit_comes_through(tmp_path, format):
    a = begin(tmp_path/"a", "ada")
    label(a, 12)
    a.audit(a.predict(), 9)
    label(a, 9)
    b = begin(tmp_path/"b")
    b.load(a.export(tmp_path/f"f{FORMATS[format]}", format=format))
    pd.testing.assert_frame_equal(b.audit_report(), a.audit_report())
    assert not {i for i, answer in b.book.answers.items() if answer.by == "audit"} & {
        i for ids, _ in b.book.training() for i in ids}
    a.close(), b.close()
