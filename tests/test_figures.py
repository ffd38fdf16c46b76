"Figures and tables from made-up results: panels, looks, zeros, errors, bytes, imports."
import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from test_notebooks import ROOT, shown, source

from anchoral.study import evidence as E
from anchoral.study import figures as F
from anchoral.study import forest, typeset
from anchoral.study import looks as L
from anchoral.study import tables as T
from anchoral.study.claims import load_claims
from anchoral.study.grid import papermill
from anchoral.study.results import load_results

SIZE = {"anchoral": lambda t: 700, "anchoral-scaled": lambda t: 180, "seals": lambda t: 900 + 60 * t,
        "randsub": lambda t: 500, "no-anchoring": lambda t: 180, "none": lambda t: 1900 - 25 * t,
        "random": lambda t: 1900 - 25 * t}


def made_up(strategies=("entropy",), variants=tuple(L.METHODS), seeds=4, iterations=8, **fixed):
    rows = []
    for vi, v in enumerate(variants):
        for s in ("random",) if v == "random" else strategies:
            for seed in range(seeds):
                for t in range(iterations + 1):
                    last, scaled = t == iterations, v == "anchoral-scaled"
                    rows.append(dict(
                        profile="made-up", run=f"{v}-{s}-{seed}", task="a-task", learner="head", model="minilm",
                        encoder="minilm", head_encoder="", strategy=s, variant=v, filter=v,
                        n_anchors=5 if scaled else 10, n_neighbours=20 if scaled else 50,
                        max_subpool=10_000, subpool_size=500, gamma_maj="kmeans++", gamma_min="kmeans++",
                        data_seed=seed, model_seed=0, order_seed=0, iteration=t, n_labelled=100 + 25 * t,
                        minority_labelled=5 + t * (8 - vi) // 2 + seed % 2, minority_total=60, pool=2000,
                        subpool=None if last else SIZE[v](t), subpool_minority=None if last else 3 + vi,
                        scored=None if last else SIZE[v](t),
                        f1_0=.98, f1_1=.1 * t + .01 * seed, f1_majority=.98, f1_minority=.1 * t + .01 * seed - .01 * vi,
                        time_fit=.1, time_select=0. if last else .06 * (vi + 1), time_test=.1))
    df = pd.DataFrame(rows).astype({c: "Int64" for c in ("subpool", "subpool_minority", "scored")})
    return df.assign(**fixed)


def named(ax): return {l.get_gid(): l for l in ax.lines if l.get_gid() in L.METHODS}


@pytest.fixture(scope="module")
def df(): return made_up()


@pytest.fixture(scope="module")
def three(): return made_up(("entropy", "ft-bertkm", "badge"), seeds=5)


# panels, lines, labels

def test_figure2(df):
    fig = F.figure2(df)
    assert [ax.get_title(loc="left")[:3] for ax in fig.axes] == ["(a)", "(b)", "(c)", "(d)"]
    assert [list(named(ax)) for ax in fig.axes] == [[m for m in L.METHODS if m != "random"]] * 2 + [list(L.METHODS)] * 2
    assert [ax.get_xlabel() for ax in fig.axes] == ["iteration"] * 2 + ["annotations"] * 2
    assert fig._suptitle.get_text() == "made-up profile: a-task, a head on MiniLM, Entropy, 300 annotations, 4 runs"
    assert [t.get_text() for t in fig.legends[0].get_texts()] == [m.label for m in L.METHODS.values()]


def test_the_title_says_how_far_each_task_goes(df):
    shorter = df[df.n_labelled <= 200].assign(task="b-task")
    both = pd.concat([df, shorter])
    assert "200 to 300 annotations" in F.heading(both)


def test_lines_are_medians_and_end_where_the_first_run_ends(df):
    ax = L.lines(df[~((df.run == "seals-entropy-0") & (df.iteration > 3))], "f1_minority")
    assert np.allclose(named(ax)["anchoral"].get_xydata(), [[100 + 25 * t, .1 * t + .015] for t in range(9)])
    assert len(named(ax)["seals"].get_xdata()) == 4 and len(named(ax)["none"].get_xdata()) == 9


def test_few_runs_are_drawn_one_by_one_many_as_a_band(df):
    few, many = L.lines(df, "f1_minority"), L.lines(made_up(seeds=5), "f1_minority")
    assert (len(few.lines), len(few.collections)) == (7 * 5, 0)
    assert (len(many.lines), len(many.collections)) == (7, 7)


def test_short_batches_do_not_lose_a_run(df):
    shifted = df.assign(n_labelled=df.n_labelled - 3 * ((df.run == "seals-entropy-0") & (df.iteration > 2)))
    assert len(named(L.lines(shifted, "f1_minority"))["seals"].get_xdata()) == 9


def test_bounds_and_saturation(df):
    ax = F.subpool_size(df)
    y = {l.get_gid(): l.get_ydata()[0] for l in ax.lines if str(l.get_gid()).startswith("bound")}
    assert y == {"bound anchoral": 1000, "bound anchoral-scaled": 200}
    assert F._saturation(df[df.variant == "seals"]) == 2  # 1,020 of 2,000
    assert any("saturated" in t.get_text() and "iteration 2" in t.get_text() for t in ax.texts)
    assert F._bound(df.assign(max_subpool=400)) == 400 and ax.get_yscale() == "log"
    small = F.subpool_size(df[df.variant.isin(["anchoral", "randsub"])])
    assert small.get_yscale() == "linear" and not any("saturated" in t.get_text() for t in small.texts)


def test_an_empty_subpool_has_no_share(df):
    empty = df.copy()
    empty.loc[(df.variant == "seals") & (df.iteration == 2), ["subpool", "subpool_minority"]] = 0
    assert 2 not in named(F._subpool_minority(empty))["seals"].get_xdata()


def test_one_strategy_says_so(df):
    fig = F.figure3(df)
    assert len(fig.axes) == 2 and all("Entropy, the only strategy run" in ax.get_title(loc="left") for ax in fig.axes)
    assert len(F.figure4(df).axes) == 1 and "random" not in named(F.figure4(df).axes[0])


def test_strategies_beside_their_mean(three):
    fig = F.figure3(three)
    titles = [ax.get_title(loc="left").split("\n")[-1] for ax in fig.axes]
    assert titles == ["Geometric mean of 3 strategies", "Entropy", "FT-BERTKM", "BADGE"] * 2
    assert all(list(named(ax)) == list(L.METHODS) for ax in fig.axes)
    assert len(F.figure4(three).axes) == 4


@pytest.mark.parametrize("figure", [F.figure3, F.figure4])
def test_a_method_that_lacks_a_strategy_has_no_mean(three, figure):
    "Its mean would be over other strategies than those beside it; all else stays."
    fewer = three[(three.variant != "none") | (three.strategy == "entropy")]
    first, entropy, badge = (figure(fewer).axes[i] for i in (0, 1, 3))
    assert "none" not in named(first) and "anchoral" in named(first)
    assert "none" in named(entropy) and "none" not in named(badge)
    assert "No-Op: no mean, with 1 of 3 strategies" in first.get_xlabel().replace("\n", " ")
    assert "No-Op: no mean, with 1 of 3 strategies" in figure(fewer).get_label()
    whole = named(figure(three).axes[0])
    for name, line in named(first).items():
        np.testing.assert_array_equal(line.get_ydata(), whole[name].get_ydata())


def test_no_line_leaves_its_panel(three):
    steep = three.assign(minority_labelled=three.minority_labelled + 3 * three.iteration * (three.strategy == "badge"))
    for ax in F.figure3(steep).axes:
        low, high = ax.get_ylim()
        assert all(low <= y <= high for l in ax.lines for y in l.get_ydata())


def test_figure3_stops_at_within(df):
    assert max(named(F.figure3(df, within=200).axes[0])["anchoral"].get_xdata()) == 200
    with pytest.raises(ValueError, match="within=50.*from 100"): F.figure3(df, within=50)


def test_the_same_look_everywhere(df, three):
    for fig in (F.figure2(df), F.figure3(df), F.figure4(df), F.figure3(three), F.figure4(three)):
        for ax in fig.axes:
            for name, l in named(ax).items():
                m = L.METHODS[name]
                assert (to_hex(l.get_color()).upper(), l.get_marker(), l.get_label()) == (m.colour, m.marker, m.label)
    assert len({m.colour for m in L.METHODS.values()}) == len({m.marker for m in L.METHODS.values()}) == len(L.METHODS)
    assert len({str(m.line) for m in L.METHODS.values()}) == len(L.METHODS)


def test_zeros_are_hollow_and_counted(three):
    zero = three.copy()
    zero.loc[(three.variant == "randsub") & (three.strategy == "badge") & three.iteration.isin([2, 5]),
             "subpool_minority"] = 0
    ax = F.figure4(zero).axes[0]
    (hollow,) = [l for l in ax.lines if l.get_gid() == "zeros randsub"]
    assert list(hollow.get_xdata()) == [2, 5] and list(hollow.get_ydata()) == [0, 0]
    assert hollow.get_markerfacecolor() == "white"
    assert "zero at 2 of 8 points, in up to 1 of 3 strategies" in ax.get_xlabel().replace("\n", " ")
    assert "RandSub" in F.figure4(zero).get_label() and "(zero at 2 points)" in F.figure4(zero).get_label()


def test_a_figure_says_how_to_read_it(df):
    "Few runs are thin lines, many have a band, and a figure with both says which is which."
    def note(d): return F.figure2(d).legends[0].get_title().get_text()
    assert note(df) == "line: median; thin line: a run"
    assert note(made_up(seeds=5)) == "line: median; band: interquartile range"
    both = pd.concat([df[df.variant == "none"], made_up(seeds=6).query("variant != 'none'")])
    assert note(both) == "line: median; band: interquartile range (5 or more); thin line: a run (fewer)"
    assert note(df[df.data_seed == 0]) == "line: one run"


def test_iterations_and_annotations_are_twins(df):
    def twins(d): return [c.get_xlabel() for ax in F.figure2(d).axes for c in ax.child_axes]
    assert twins(df) == ["annotations"] * 2 + ["iteration"] * 2
    ax = F.figure2(df).axes[2]
    (twin,) = ax.child_axes
    ax.figure.draw_without_rendering()
    assert np.allclose(twin.get_xlim(), (np.array(ax.get_xlim()) - 100) / 25)
    short = df.assign(n_labelled=df.n_labelled - 10 * (df.iteration > 4))
    assert twins(short) == []  # no straight line leads from one to the other


# words

def test_words_come_from_the_rows(df):
    alt = F.figure2(df).get_label()
    assert "SEALS covers more than half of the pool from iteration 2" in alt and "AnchorAL 700 to 700" in alt
    assert "of 60" in alt
    assert "over 4" not in F.figure2(df[df.variant != "seals"]).get_label()
    assert "more than half" not in F.figure2(df[df.variant != "seals"]).get_label()
    assert F.heading(df[df.run != "seals-entropy-0"]).endswith("3 to 4 runs")
    assert F.heading(df.assign(learner="finetune")).count("fine-tuned MiniLM") == 1


def test_medians_and_pairs(df):
    m = F.medians(df, "f1_minority")
    assert m.index[0] == "anchoral" and m.name == 300 and np.isclose(m["anchoral"], .815)
    said = F.ahead(df, "f1_minority", others=("none",))
    assert said == "In runs with the same seeds, AnchorAL is ahead of No-Op in 4 of 4."
    assert F.ahead(df, "f1_majority", others=("none",)).endswith("of No-Op in 0 of 4 (4 tied).")
    assert F.ahead(df[df.variant == "none"], "f1_majority") == ""


def test_origin_names_results_and_commands(df, tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_RESULTS", str(tmp_path))
    assert "made by" not in F.origin(df, "fig2")
    (tmp_path / "made-up.json").write_text('{"command": "anchoral run --profile made-up"}')
    text = F.origin(df, "fig2", "figures/a.pdf")
    assert all(w in text for w in ("results/made-up.parquet", "`anchoral run --profile made-up`", "`anchoral render`",
                                   "nbs/paper/fig2.ipynb", "figures/a.pdf"))


# evidence: differences, cost, tasks, verdicts

def test_gaps_are_paired_by_seeds(df):
    "Each seed's No-Op is subtracted from that seed's run, whatever the other seeds did."
    fig = E.figure_gaps(df)
    found = named(fig.axes[0])
    assert set(found) == {"anchoral", "anchoral-scaled", "seals", "randsub", "no-anchoring"}
    place = list(L.METHODS).index
    t = np.arange(9)
    expected = t * (8 - place("seals")) // 2 - t * (8 - place("none")) // 2
    assert np.allclose(found["seals"].get_xydata(), np.c_[100 + 25 * t, expected])
    one = df[(df.variant != "none") | (df.data_seed == 2)]
    assert E._paired(one, "f1_minority", "anchoral", "none").shape == (9, 1)
    assert "of 1 pairs" in E.figure_gaps(one).get_label()
    with pytest.raises(ValueError, match="No-Op.*nothing to subtract"): E.figure_gaps(df[df.variant != "none"])


def test_cost_leaves_out_what_selects_nothing(df):
    costly = df.assign(overlap=.3, processor_select=.5)
    fig = E.figure_cost(costly)
    for ax in fig.axes:
        assert "random" not in named(ax) and max(named(ax)["anchoral"].get_xdata()) == 7
    assert "AnchorAL 30.0 % to 30.0 %" in fig.get_label() and "AnchorAL 0.50 to 0.50" in fig.get_label()
    with pytest.raises(ValueError, match="'overlap'"): E.figure_cost(df)


def test_one_panel_per_task_and_none_empty(df):
    two = pd.concat([df.assign(task=t, run=df.run + t) for t in "abcd"])
    fig = E.figure_tasks(two)
    assert [ax.get_title(loc="left") for ax in fig.axes] == [f"{t}\n60 rare in 2,000" for t in "abcd"]
    tuned = df.assign(learner="finetune", run=df.run + "f")
    assert [ax.get_title(loc="left").split("\n")[0] for ax in E.figure_tasks(pd.concat([df, tuned])).axes] == [
        "a-task, head", "a-task, fine-tuned"]


def verdict(claim, baseline, mean, verdict="undecided", pairs=8, compare="anchoral", p=.01):
    return dict(claim=claim, task="a-task", learner="finetune", model="m", strategy="entropy", profile="wordnet",
                compare=compare, baseline=baseline, pairs=pairs, mean=mean, low=mean - .1, high=mean + .1,
                p_holm=p, against=False, verdict=verdict)


def test_forest_has_no_empty_panels_and_no_logarithms():
    rule = load_claims(2)
    rows = pd.DataFrame([verdict("time", "seals", -1.), verdict("time", "none", -2., p=.5),
                         verdict("minority", "seals", .02), verdict("coleman", "", np.nan, pairs=0),
                         verdict("seals-unchanged", "", .95, "consistent here", compare="seals")])
    fig = forest.figure_forest(rows, rule)
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in fig.axes]
    assert titles == ["AnchorAL selects fastest", "AnchorAL reaches the best minority F1 per annotation",
                      "SEALS' subpool stays almost unchanged after a few iterations"]
    fig.draw_without_rendering()
    ticks = [t.get_text() for t in fig.axes[0].get_xticklabels()]
    assert {"× 0.01", "× 0.1", "× 1"} <= set(ticks) and "log" not in fig.axes[0].get_xlabel()
    assert "too small to be of interest" in [t.get_text() for t in fig.legends[0].get_texts()]
    marks = [l.get_markerfacecolor() for l in fig.axes[0].lines if l.get_marker() != "None"]
    assert marks == [L.METHODS["seals"].colour, "white"]
    assert "SEALS × 0.1 (× 0.079 to × 0.13), No-Op × 0.01 (× 0.0079 to × 0.013), undecided" in fig.get_label()
    with pytest.raises(ValueError, match="two pairs"): forest.figure_forest(rows[rows.pairs == 0], rule)


# errors

@pytest.mark.parametrize("break_it, words", [
    (lambda d: d.drop(columns="subpool"), ["'subpool'", "load_results"]),
    (lambda d: d.iloc[:0], ["0 rows", "anchoral run"]),
    (lambda d: d.replace({"variant": {"seals": "seal"}}), ["'seal'", "'seals'", "rename"]),
    (lambda d: pd.concat([d, d.assign(task="other", run=d.run + "x")]), ["'task'", "'other'", "choose"]),
    (lambda d: d.assign(n_anchors=np.where(d.run.str.endswith("0"), 50, 10)), ["'anchoral'", "n_anchors", "keep"]),
])
def test_errors_name_the_thing_the_value_and_the_fix(df, break_it, words):
    with pytest.raises(ValueError) as e: F.figure2(break_it(df))
    assert all(w in str(e.value) for w in words)


def test_a_wrong_choice_is_named(df):
    with pytest.raises(ValueError, match="task='nosuch'.*'a-task'"): F.figure4(df, task="nosuch")
    with pytest.raises(ValueError, match="Table 3"): T.table3(df[df.variant == "none"])


# tables

def test_table2(df):
    n = T.table2(df).set_index("variant")
    assert list(n.index) == list(L.METHODS) and (n.source == "ours").all()
    assert n.budget["anchoral"] == 300 and n.subpool["anchoral"] == 700 and n.subpool_share["anchoral"] == .35
    assert np.isclose(n.majority_per_iteration["anchoral"], .98) and np.isclose(n.time_ratio["randsub"], 4)
    assert np.isnan(n.subpool["random"])
    text = T.print_table2(T.table2(df))
    assert (text["Budget-Matched", "Budget"] == "as Overall").all() and (text["Budget-Matched", "Minority"] == "").all()
    assert list(text["", "Pool filtering"]) == [m.label for m in L.METHODS.values()]


def test_table2_matches_budgets(df):
    short = df[~((df.variant == "seals") & (df.iteration > 4))]
    n = T.table2(short).set_index("variant")
    assert n.budget["anchoral"] == 300 and (n.matched_budget == 200).all()
    assert np.isclose(n.matched_majority_median["none"], .98 * 4)
    assert "as Overall" not in T.print_table2(T.table2(short)).to_string()


def test_rows_of_another_source_stand_beside_ours(df):
    paper = pd.DataFrame([dict(source="paper", task="Amazon-Agri", variant="anchoral", budget=3700,
                               minority_median=78.1, minority_iqr=1.0)])
    text = T.print_table2(pd.concat([paper, T.table2(df)], ignore_index=True))
    assert list(text["", "Source"])[:2] == ["paper", "ours"] and text["Overall", "Minority"][0] == "78.1 ± 1.0"
    assert text["Overall", "Majority"][0] == "–"


def test_the_papers_rows():
    """Table 2's cells as printed; 6h stays text; budgets that differ are marked, hidden by rounding or not;
    per iteration from rounded budgets."""
    t = T.published_table5("BERT-base", "entropy").set_index(["task", "variant"])
    agri = t.loc["amazon-agri"]
    assert list(agri.index) == ["anchoral", "seals", "randsub", "none", "random"] and agri.time_text["none"] == "6h"
    assert np.isnan(agri.time_ratio["none"])
    assert agri.iterations["anchoral"] == 144
    assert np.isclose(agri.matched_minority_per_iteration["anchoral"], 64.9 / 120)
    assert np.isclose(agri.time_ratio["seals"], 85.4 / 4.4)
    text = T.print_table2(T.published_table5("BERT-base", "entropy"))
    assert text["Overall", "Minority"][0] == "78.1 ± 1.0 (0.54)" and text["Selection", "Time, min"][3] == "6h"
    assert text["Selection", "Scored"][0] == "–"
    assert text["Budget-Matched", "Budget"][0] == "3,100*" and text["Budget-Matched", "Budget"][3] == "475"
    assert list(text["Budget-Matched", "Budget"])[-1] == "as Overall"
    deberta = T.print_table2(T.published_table5("DeBERTa-base", "entropy"))
    deberta = deberta.set_index([("", "Dataset"), ("", "Pool filtering")])["Budget-Matched", "Budget"]
    assert deberta["amazon-agri", "AnchorAL"] == "1,100*" and deberta["amazon-agri", "SEALS"] == "1,100"
    everything = T.published_table5()
    assert (everything[[c for c in everything if c.endswith("per_iteration")]].max() <= 1).all()
    assert (everything.iterations * 25 + 100 - everything.budget).between(0, 50).all()
    assert (everything.matched_iterations * 25 + 100 - everything.matched_budget).between(0, 50).all()
    assert len(everything) == 76 and everything.time_ratio[(everything.variant == "anchoral")].eq(1).all()
    with pytest.raises(ValueError, match="'BERT-large'.*'BERT-tiny'"): T.published_table5("BERT-large")
    three = T.print_table3(T.published_table3())
    assert list(three["Minority"])[::7] == ["73.5", "33.6"] and list(three["× default"])[:2] == ["1.00", "3.10"]
    assert set(three["Budget"]) == {"–"}


def test_table5(three):
    n = T.table5(three)
    assert len(n) == 3 * 6 + 1 and set(n.model) == {"head on MiniLM"}
    assert list(dict.fromkeys(n.strategy)) == ["entropy", "ft-bertkm", "badge", "random"]
    assert n[n.variant == "anchoral"].time_ratio.eq(1).all() and n[n.variant == "random"].time_ratio.isna().all()
    text = T.print_table2(pd.concat([T.published_table5(), n], ignore_index=True))
    assert [c[1] for c in text][:5] == ["Source", "Dataset", "Model", "Strategy", "Pool filtering"]


def test_parts_and_sub_clusters(df):
    assert list(F._minority_parts(df)) == ["f1_minority"]
    two = df.assign(f1_minority_reuters=df.f1_minority / 2, f1_minority_news20=0.)
    fig = F.figure_parts(two)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["Minority F1, whole test set", "Minority F1, R52 alone"]
    assert "R52 alone" in fig.get_label()
    grouped = pd.concat([df.assign(task=t, run=df.run + t, groups_found=df.minority_labelled.clip(upper=k),
                                   groups_total=k) for t, k in (("a", 9), ("b", 12))])
    fig = F.figure_clusters(grouped.assign(initial_group="gold"))
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["a\nonly gold at first", "b\nonly gold at first"]
    assert [[l.get_ydata()[0] for l in ax.lines if l.get_gid() == "all"] for ax in fig.axes] == [[9], [12]]
    assert "b, 12 in all" in F.figure_clusters(grouped).get_label()
    with pytest.raises(ValueError, match="sub-clusters"):
        F.figure_clusters(df.assign(groups_found=np.nan, groups_total=np.nan))


def test_repeated_cells_are_drawn_once(tmp_path):
    t = pd.DataFrame(dict(a=["x", "x", "y"], b=["p", "q", "q"], c=["1", "2*", "3"]))
    assert typeset._spans(t, 2).tolist() == [[2, 1], [0, 1], [1, 1]]
    page, tex = typeset.to_html(t, stub=1), typeset.to_tex(t, stub=1)
    assert page.count("rowspan=\"2\">x<") == 1 and '<td class="mark">2*</td>' in page and page.count('class="new"') == 2
    assert "\nx & p & 1" in tex and "\n & q & \\cellcolor[gray]{.88}2*" in tex and "addlinespace" in tex


def test_table3_has_only_what_was_run(df):
    entropy = df[df.variant == "anchoral"].assign(gamma_maj="entropy", run=lambda d: d.run + "e")
    n = T.table3(pd.concat([entropy, df]))
    assert list(n.variant) == ["anchoral", "anchoral", "anchoral-scaled", "no-anchoring"]
    assert list(n.gamma_maj)[:2] == ["kmeans++", "entropy"]
    text = T.print_table3(n)
    assert list(text["Γ maj"]) == ["kM++", "Ent", "kM++", "No anchoring"] and list(text["K"]) == ["50", "50", "20", "–"]


# files

def test_saving_twice_gives_the_same_bytes(df, tmp_path):
    for folder in "ab":
        L.save(F.figure2(df), "fig", F.figure2(df).get_label(), tmp_path / folder)
        typeset.save_table(T.print_table2(T.table2(df)), "table", "Title", "note", T.table2(df), tmp_path / folder)
    fig = F.figure2(df)
    for _ in range(2): L.save(fig, "again", F.figure2(df).get_label(), tmp_path / "a")
    a = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    b = {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}
    assert sorted(b) == ["fig.pdf", "fig.png", "table.csv", "table.html", "table.tex"] and all(a[n] == b[n] for n in b)
    assert b"CreationDate" not in b["fig.pdf"] and b"/Type3" not in b["fig.pdf"]
    assert b"SEALS covers more than half" in b["fig.png"]


@pytest.mark.parametrize("figure", [F.figure2, F.figure3])
def test_how_a_figure_was_shown_does_not_change_its_files(df, tmp_path, figure):
    shown = figure(df)
    for dpi in (60, 200, 90):
        shown.savefig(io.BytesIO(), format="png", dpi=dpi)
    L.save(shown, "fig", folder=tmp_path / "shown")
    L.save(figure(df), "fig", folder=tmp_path / "never")
    for kind in ("pdf", "png"):
        assert (tmp_path / f"shown/fig.{kind}").read_bytes() == (tmp_path / f"never/fig.{kind}").read_bytes()


def test_nothing_is_left_of_a_failed_save(tmp_path):
    class Full:
        def get_label(self): return ""
        def draw_without_rendering(self): pass
        def savefig(self, path, **kwargs):
            path.write_bytes(b"half")
            raise OSError("No space left on device")
    (tmp_path / "fig.pdf").write_bytes(b"old")
    with pytest.raises(OSError): L.save(Full(), "fig", folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["fig.pdf"] and (tmp_path / "fig.pdf").read_bytes() == b"old"


def test_tables_are_escaped(tmp_path):
    typeset.save_table(pd.DataFrame({"a_b & c": ["50 % <b>", "±"]}), "t", "x < y", folder=tmp_path)
    tex, page, csv = ((tmp_path / f"t.{k}").read_text() for k in ("tex", "html", "csv"))
    assert r"a\_b \& c" in tex and r"50 \% <b>" in tex and r"$\pm$" in tex and r"\toprule" in tex
    assert "50 % &lt;b&gt;" in page and "x &lt; y" in page and "http" not in page and csv.startswith("a_b & c\n")


def test_no_heavy_imports():
    code = ("import sys, anchoral.study.figures; heavy = {'torch', 'transformers', 'sentence_transformers', "
            "'hnswlib', 'datasets', 'sklearn'} & set(sys.modules); assert not heavy, heavy")
    subprocess.run([sys.executable, "-c", code], check=True)


# pages with results of their own

@pytest.mark.parametrize("page", ["fig1", "table1", "table4", "table5", "missed-cluster"])
def test_one_parameters_cell(page):
    assert sum("parameters" in c.metadata.get("tags", []) for c in source(ROOT/f"nbs/paper/{page}.ipynb")) == 1


@pytest.mark.parametrize("page", ["table1", "table5", "missed-cluster"])
def test_pages_show_the_committed_results(page, tmp_path, monkeypatch):
    monkeypatch.setenv("ANCHORAL_FIGURES", str(tmp_path))
    assert papermill(ROOT/f"nbs/paper/{page}.ipynb", tmp_path/f"{page}.ipynb", {}) == ""
    committed = shown(ROOT/f"nbs/paper/{page}.ipynb")
    assert shown(tmp_path/f"{page}.ipynb") == committed, f"{page} shows other results than results/: make notebooks"
    for f in tmp_path.glob("*.csv"):
        committed = (ROOT/"figures"/f.name).read_text()
        assert f.read_text() == committed, f"figures/{f.name} is not what the results give: make figures"


def test_table5_without_results(tmp_path):
    "What is not there yet is left out and said; nothing at all is an error."
    assert papermill(ROOT/"nbs/paper/table5.ipynb", tmp_path/"p.ipynb", dict(profile="quick nosuch", out="")) == ""
    assert any("Not there yet: `nosuch`" in t for t in shown(tmp_path/"p.ipynb"))
    assert "none of the results ['nosuch']" in papermill(ROOT/"nbs/paper/table5.ipynb", tmp_path/"p.ipynb",
                                                         dict(profile="nosuch", out=""))


def test_settings_without_a_look_are_left_out_and_named():
    df = made_up(variants=("anchoral", "seals"))
    other = made_up(variants=("anchoral",)).assign(variant="index: mpnet", encoder="mpnet")
    other["run"] = "mpnet-" + other["run"]
    rows, said = F.compared(pd.concat([df, other], ignore_index=True))
    assert set(rows.variant) == {"anchoral", "seals"} and "index: mpnet" in said and F.compared(df)[1] == ""
    both = T.by_parameters(pd.concat([df, other], ignore_index=True))
    assert set(both.variant) == {"anchoral", "seals", "index: mpnet"}  # its encoder is not in the table
    same = T.by_parameters(pd.concat([df, other.assign(encoder="minilm", n_anchors=20)], ignore_index=True))
    assert set(same.variant) == {"anchoral", "seals"}


def test_one_setting():
    "A median over several configurations is refused, whatever they differ in."
    from anchoral.study.measures import one_setting, summary
    df = load_results("quick")
    assert one_setting(df) is df
    for column, values in (("model", ["a", "b"]), ("noise", [0., .1]), ("encoder", ["lsa", "minilm"])):
        mixed = df.assign(**{column: np.where(df.data_seed == df.data_seed.min(), *values)})
        with pytest.raises(ValueError, match=f"mixes {column}"): one_setting(mixed)
        if column != "model":
            with pytest.raises(ValueError, match=f"mixes {column}"): summary(mixed)
