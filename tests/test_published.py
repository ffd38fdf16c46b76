"The paper's published numbers: each table holds together, and the tables agree with one another."
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anchoral.filters import FILTERS
from anchoral.strategies import STRATEGIES
from anchoral.tasks import AMAZON, TABLE4, TASKS

HOME = Path(__file__).parents[1]/"results"/"paper"
TEXT = dict.fromkeys(["text", "note", "how", "type", "gamma_maj", "gamma_min", "kind", "reason", "reading"], str)
KEY = ["dataset", "model", "strategy", "filter", "scope", "measure"]
SCHEMA = KEY + ["median", "iqr", "text", "note", "how", "dataset_label", "strategy_label", "filter_label"]
LABELS = {"amazon-agri": "Amazon-Agri", "amazon-multi": "Amazon-Multi", "agnews-bus": "Agnews-Bus",
          "wikitoxic": "WikiToxic", "anchoral": "AnchorAL", "randsub": "RandSub", "seals": "SEALS", "none": "No-Op",
          "entropy": "Entropy", "ft-bertkm": "FT-BERTKM", "badge": "BADGE", "random": "Random"}
FULL = {"anchoral", "none", "randsub", "seals"}
BLOCK = "model decided by Table 2, by the Entropy rows beside it"
MOVED = "label out of its column"
HOW = {"as printed", "decided by Table 2", MOVED, f"{MOVED}; dataset restored from order",
       f"{MOVED}; dataset and model restored from order", BLOCK, f"filter label restored from order; {BLOCK}"}
ROWS = {  # rows of Table 5 that could be decided
    ("agnews-bus", "ALBERT-base"): 3, ("agnews-bus", "BERT-base"): 10, ("agnews-bus", "DeBERTa-base"): 3,
    ("agnews-bus", "GPT-2"): 3, ("agnews-bus", "T5-base"): 3,
    ("amazon-agri", "ALBERT-base"): 3, ("amazon-agri", "BERT-base"): 12, ("amazon-agri", "BERT-tiny"): 4,
    ("amazon-agri", "DeBERTa-base"): 3, ("amazon-agri", "GPT-2"): 3, ("amazon-agri", "T5-base"): 3,
    ("amazon-multi", "BERT-base"): 13, ("wikitoxic", "BERT-base"): 13}


def table(name):
    "One file; what a table leaves blank is an empty string in columns of words, NaN in columns of numbers."
    df = pd.read_csv(HOME/f"{name}.csv")
    words = [c for c in df if not pd.api.types.is_numeric_dtype(df[c]) or df[c].isna().all()]
    return df.assign(**{c: pd.read_csv(HOME/f"{name}.csv", dtype=str, keep_default_na=False)[c]
                        for c in {*words, *TEXT} & {*df}})


def by_row(df, column="median"):
    "One row per row of the paper's table, one column per scope and measure."
    return df.set_index(KEY)[column].unstack(["scope", "measure"])


def number(text):
    "Median and IQR that the printed text stands for."
    if m := re.fullmatch(r"(\d+\.\d) ± (\d+\.\d)", text): return float(m[1]), float(m[2])
    if m := re.fullmatch(r"(\d+(?:\.\d)?)(k?)", text): return round(float(m[1]) * (1000 if m[2] else 1), 1), np.nan
    assert text in ("6h", "same as Overall"), text
    return np.nan, np.nan


def iterations(text, budget):
    "The iterations that a printed budget can stand for: 100 to start with, then 25 each."
    return [t for t in range(197) if abs(100 + 25 * t - budget) <= (50 if text.endswith("k") else 0)]


def full_pool(df): return (df["filter"] == "none") & (df["strategy"] != "random")


def always_majority(dataset):
    "F1 of the majority class for a model that never names the minority, from Table 4's test set."
    t = table("table4").query("dataset == @dataset and split == 'test'").set_index("class")["count"]
    p = t.drop("total").iloc[0] / t["total"]  # the two binary tasks this is used for name the majority first
    return 2 * p / (1 + p)


T2, T5, LEFT = table("table2"), table("table5"), table("undecided")


@pytest.mark.parametrize("name", ["table2", "table5"])
def test_schema(name):
    df = table(name)
    assert list(df) == SCHEMA and not df.duplicated(KEY).any()
    assert set(df["dataset"]) == set(TABLE4) <= set(TASKS) and set(df["filter"]) == FULL <= set(FILTERS)
    assert set(df["strategy"]) <= set(STRATEGIES)
    assert set(df["scope"]) == {"overall", "matched"}
    assert set(df["measure"]) == {"budget", "majority", "minority", "time"}
    assert set(df["model"]) <= set(table("table1")["model"])
    for c in ("dataset", "strategy", "filter"): assert (df[c].map(LABELS) == df[f"{c}_label"]).all()
    own = df[df["text"] != "same as Overall"]
    np.testing.assert_array_equal(own[["median", "iqr"]].to_numpy(float), [number(t) for t in own["text"]])
    assert ((df["measure"] == "budget") <= df["iqr"].isna()).all() and (df["how"] != "").all()
    assert (df["text"].str.endswith("k") == df["note"].str.startswith("rounded")).all()
    assert (df["median"].dropna() >= 0).all() and (df["iqr"].dropna() >= 0).all()


def test_how_is_said_in_fixed_words():
    assert set(T5["how"]) == HOW and set(T2["how"]) == {"as printed", "one cell for the three rows"}
    assert (T5.groupby(KEY[:4])["how"].nunique() == 1).all()
    entropy = (T5["model"] == "BERT-base") & (T5["strategy"] == "entropy")
    assert (entropy == (T5["how"] == "decided by Table 2")).all()


def test_files_are_there_and_small():
    assert {p.name for p in HOME.iterdir()} >= {f"table{i}.csv" for i in range(1, 6)} | {"undecided.csv"}
    assert sum(p.stat().st_size for p in HOME.iterdir()) < 200_000


def test_table_1():
    df = table("table1")
    assert list(df["model"]) == ["BERT-base", "BERT-tiny", "ALBERT-base", "DeBERTa-base", "GPT-2", "T5-base"]
    assert list(df["type"]) == ["Encoder"] * 4 + ["Decoder", "Enc-Dec"]
    assert all(round(float(t.removesuffix("M")) * 1e6) == n for t, n in zip(df["text"], df["params"]))


def test_tables_2_and_5_agree_in_every_cell():
    both = T2.merge(T5, on=KEY, how="left", suffixes=("", "_5"), validate="one_to_one", indicator=True)
    assert len(both) == 15 * 6 and (both["_merge"] == "both").all()
    np.testing.assert_array_equal(both[["median", "iqr"]], both[["median_5", "iqr_5"]])
    assert ((both["text"] == "6h") == (both["text_5"] == "6h")).all()


def test_same_as_overall():
    t = by_row(T2, "text")
    same = t["matched"].eq("same as Overall").all(axis=1)
    assert {d for d, *_ in t.index[same]} == {"agnews-bus"} and same.sum() == 3
    v = by_row(T2)
    for m in ("majority", "minority"): assert (v["overall", m] == v["matched", m])[same].all()


def test_table_3_is_of_another_budget():
    t = table("table3")
    assert not t.duplicated(["row", "measure"]).any() and len(t) == 8 * 3
    assert (t["value"] == t["text"].astype(float)).all()
    v = t.pivot(index="row", columns="measure", values="value")
    ours = T2.query("dataset == 'amazon-agri' and filter == 'anchoral'").set_index(["scope", "measure"])["median"]
    assert v.loc[1, "minority"] == 73.5 and (ours["overall", "minority"], ours["matched", "minority"]) == (78.1, 64.9)
    for m in ("majority", "minority", "time"):
        assert (ours["matched", m] if m != "time" else 0) < v.loc[1, m] < ours["overall", m]
    assert v["minority"].idxmax() == 1 and v["minority"].idxmin() == 8
    first = t[t["row"] == 1].iloc[0]
    assert (first.gamma_maj, first.gamma_min, first.n_anchors, first.n_neighbours) == ("kmeans++", "kmeans++", 10, 50)
    settings = t[t["filter"] == "anchoral"].drop_duplicates("row")
    settings = settings[["gamma_maj", "gamma_min", "n_anchors", "n_neighbours"]]
    assert len(settings.drop_duplicates()) == 7 and set(settings["n_neighbours"]) == {50, 500, 5000}
    assert set(settings["n_anchors"]) == {10, 50, 100}


def test_table_4_adds_up():
    t = table("table4")
    assert not t.duplicated(["dataset", "split", "class"]).any()
    for (_, _), g in t.groupby(["dataset", "split"]):
        total = g.loc[g["class"] == "total", "count"].item()
        assert g.loc[g["class"] != "total", "count"].sum() == total
        assert [f"{100 * n / total:.2f}" for n in g["count"]] == [f"{p:.2f}" for p in g["percent"]]
    for r in t.itertuples():
        n, p = r.text.split()
        assert int(n.replace(",", "")) == r.count and float(p.rstrip("%")) == r.percent


def test_table_4_is_the_one_the_loaders_check():
    t = table("table4").query("`class` != 'total'").pivot(index=["dataset", "class"], columns="split", values="count")
    known = {(d, c): n for d, cs in TABLE4.items() for c, n in cs.items()}
    assert {k: (r.test, r.train) for k, r in t.iterrows()} == known
    assert set(AMAZON) < set(TABLE4["amazon-multi"])


def test_rows_per_dataset_and_model():
    rows = T5.drop_duplicates(KEY[:4])
    assert rows.groupby(["dataset", "model"]).size().to_dict() == ROWS and len(rows) == 76 and len(T5) == 76 * 8
    assert len(LEFT) == 4 and not LEFT.duplicated(["dataset", "model", "strategy", "filter"]).any()
    assert (LEFT["reason"] != "").all() and ((LEFT["kind"] == "row missing") == (LEFT["text"] == "")).all()


def test_undecided_rows_fill_the_groups():
    everything = pd.concat([T5.drop_duplicates(KEY[:4])[KEY[:4]], LEFT[KEY[:4]]])
    assert len(everything) == 80 and not everything.duplicated().any()
    for (_, _, strategy), g in everything.groupby(["dataset", "model", "strategy"]):
        assert set(g["filter"]) - {"none"} == (set() if strategy == "random" else FULL - {"none"})
        if strategy == "random": assert len(g) == 1
    numbers = [[c for c in t.split(" | ")[1:]] for t in LEFT["text"] if t]
    assert len(numbers) == 2 and all(len(n) == 8 and n[:4] == n[4:] for n in numbers)
    shown = {tuple(g["text"]) for _, g in T5[T5["scope"] == "overall"].groupby(KEY[:4])}
    assert not shown & {tuple(n[:4]) for n in numbers}  # left out, and not under another name


def test_budgets():
    b = T5[T5["measure"] == "budget"]
    assert b["median"].between(100, 5000).all() and all(iterations(t, n) for t, n in zip(b["text"], b["median"]))
    exact = b[~b["text"].str.endswith("k")]
    assert ((exact["median"] - 100) % 25 == 0).all() and (exact["filter"] == "none").all()


def test_matched_budget_is_one_per_dataset_and_model():
    v = by_row(T5[~full_pool(T5)])
    for _, g in v.groupby(["dataset", "model"]):
        assert g["matched", "budget"].nunique() == 1
        assert g["matched", "budget"].iloc[0] == g["overall", "budget"].min()


def test_matched_never_exceeds_overall():
    v = by_row(T5)
    for m in ("budget", "majority", "minority", "time"):
        pair = v.xs(m, axis=1, level="measure").dropna()
        assert (pair["matched"] <= pair["overall"]).all(), m


def test_shortest_run_is_its_own_match():
    text, v = by_row(T5[~full_pool(T5)], "text"), by_row(T5[~full_pool(T5)])
    same = (text["overall"] == text["matched"]).all(axis=1)
    shortest = v["overall", "budget"] == v["overall", "budget"].groupby(["dataset", "model"]).transform("min")
    assert (same <= shortest).all() and same.groupby(["dataset", "model"]).any().all()
    none = by_row(T5[full_pool(T5)], "text")  # the whole pool is matched with nothing
    assert (none["overall"] == none["matched"]).all(axis=None)


def test_areas_fit_the_iterations():
    for scope in ("overall", "matched"):
        text, v = by_row(T5, "text")[scope], by_row(T5)[scope]
        most = np.array([max(iterations(t, n)) for t, n in zip(text["budget"], v["budget"])])
        assert (v["majority"] <= most + .05).all() and (v["minority"] <= most + .05).all()


def test_without_minority_the_majority_area_follows_from_table_4():
    seen = set()
    for scope in ("overall", "matched"):
        text, v = by_row(T5, "text")[scope], by_row(T5)[scope]
        for key in v.index[text["minority"] == "0.0 ± 0.0"]:
            areas = [t * always_majority(key[0]) for t in iterations(text.loc[key, "budget"], v.loc[key, "budget"])]
            assert any(abs(a - v.loc[key, "majority"]) <= .06 for a in areas), key
            seen.add(key[:2])
    assert seen == {("agnews-bus", "GPT-2"), ("amazon-agri", "GPT-2"), ("amazon-agri", "BERT-tiny"),
                    ("amazon-agri", "T5-base")}


def test_6h_is_a_limit_of_the_whole_pool():
    time = T5[T5["measure"] == "time"]
    limit = time["text"] == "6h"
    assert time.loc[limit, "median"].isna().all() and time.loc[~limit, "median"].notna().all()
    assert (limit <= full_pool(time)).all()
    measured = time[full_pool(time) & ~limit].drop_duplicates(KEY[:4])
    rows = [tuple(r) for r in measured[KEY[:4] + ["text"]].to_numpy()]
    assert rows == [("wikitoxic", "BERT-base", "ft-bertkm", "none", "198.2 ± 2.2")]
    assert not (T5.loc[T5["measure"] != "time", "text"] == "6h").any()


def test_time_orders_the_filters():
    """AnchorAL, RandSub, SEALS, No-Op: the rule by which missing filter labels were put back
    holds wherever labels were printed."""
    v = by_row(T5)["overall", "time"].unstack("filter").drop("random", level="strategy")
    assert (v["anchoral"] < v["randsub"]).all() and (v["randsub"].fillna(0) < v["seals"].fillna(np.inf)).all()
    assert (v["none"].dropna() > v["seals"].reindex(v["none"].dropna().index)).all()


def test_text_is_not_guessed_from_another_row():
    "Two rows with the same eight cells would be one row copied twice."
    rows = T5.groupby(KEY[:4])["text"].agg(tuple)
    assert not rows.duplicated().any()


def test_rows_stand_in_alphabetical_order():
    "The rule by which missing labels were put back: whatever is sorted is sorted everywhere, put back or printed."
    labels = ["dataset_label", "model", "strategy_label", "filter_label"]
    rows = [tuple(r) for r in T5.drop_duplicates(KEY[:4])[labels].to_numpy()]
    assert rows == sorted(rows)
