"""The claims: the statistics against brute force, the rule unchanged,
and verdicts that move with the numbers they rest on and no others."""
import hashlib
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoral.study.claims import (
    MEASURES,
    PUBLISHED,
    UNIT,
    UNPUBLISHED,
    bootstrap,
    counted,
    cut,
    decide,
    fields,
    holm,
    in_words,
    judge,
    load_claims,
    one,
    pairs,
    published,
    published_cells,
    rows_of,
    saved,
    sign_flip,
    verdicts,
)
from anchoral.study.results import load_results, note_digests, results_files

ROOT = Path(__file__).parents[1]
RESULTS = ROOT/"results"
CLAIMS = load_claims(RESULTS)
FRAMES = saved(CLAIMS, RESULTS)
VERDICTS = {"consistent here", "contrary here", "undecided", "not testable here"}
HERE = pytest.mark.skipif("ablation" not in FRAMES, reason="no saved results of profile ablation")
DIFFERENCES = st.lists(st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def judged(): return judge(CLAIMS, FRAMES)


def test_the_rule_is_the_one_committed_before_the_runs():
    digests = {"claims.csv": "11d486416b2409c35c40d541551f2e6f4e6fee311eb01639182d7999eb268f42",
               "claims.md": "09abb5ce74cb0df41c57fac1c8c8db65332986d9d8babcf2b81df02df0fd32de"}
    for name, digest in digests.items():
        assert hashlib.sha256((RESULTS/name).read_bytes()).hexdigest() == digest, f"{name} differs from commit c641445"


@settings(max_examples=60, deadline=None)
@given(DIFFERENCES)
def test_sign_flip_is_brute_force(d):
    means = [abs(sum(s * x for s, x in zip(signs, d))) for signs in product((1, -1), repeat=len(d))]
    assert sign_flip(d) == pytest.approx(np.mean([m >= abs(sum(d)) - 1e-9 for m in means]))


def test_sign_flip_extremes():
    assert sign_flip(np.full(8, .3)) == 2 / 2**8 and sign_flip([0, 0]) == 1 and np.isnan(sign_flip([]))
    assert sign_flip([.1, .2, .4]) == sign_flip([-.1, -.2, -.4])
    with pytest.raises(ValueError, match="21 pairs.*at most 20"): sign_flip(np.ones(21))


def test_holm_known_example():
    "Four hypotheses, in the order given; a missing one takes no part."
    assert holm([.01, .04, .03, .005]) == pytest.approx([.03, .06, .06, .02])
    assert holm([.5, .6, .7]) == pytest.approx([1, 1, 1])
    assert holm([.01, np.nan, .03])[[0, 2]] == pytest.approx([.02, .03]) and np.isnan(holm([.01, np.nan, .03])[1])
    assert holm([.04]) == pytest.approx([.04])


def test_bootstrap_covers():
    "The mean of 20 draws lies in the interval about 95 times in 100; with 8 pairs it is narrower than it should be."
    rng = np.random.default_rng(0)
    inside = {n: np.mean([lo <= 0 <= hi for lo, hi in (bootstrap(rng.normal(size=n), 1000) for _ in range(400))])
              for n in (8, 20)}
    assert .90 <= inside[20] <= .97 and .84 <= inside[8] <= .95
    d = rng.normal(size=8)
    lo, hi = bootstrap(d)
    assert lo < d.mean() < hi and bootstrap(d) == (lo, hi) and np.isnan(bootstrap([1.])).all()


@pytest.mark.parametrize("mean, p, verdict", [
    ([.02, .03], [.02, .04], "consistent here"), ([.02, .009], [.02, .04], "undecided"),
    ([.02, .03], [.02, .05], "undecided"), ([.02, -.02], [.02, .04], "contrary here"),
    ([.02, -.009], [.02, .001], "undecided"), ([.02, np.nan], [.02, np.nan], "not testable here"),
    ([-.02, np.nan], [.02, np.nan], "contrary here"), ([.01, .01], [.049, .049], "consistent here")])
def test_the_rule(mean, p, verdict):
    assert decide(mean, p, "higher", .01) == verdict
    assert decide(-np.array(mean), p, "lower", .01) == verdict


def test_every_claim_has_measures_or_reasons():
    for c in CLAIMS.itertuples():
        assert (c.claim in PUBLISHED) != (c.claim in UNPUBLISHED)
        assert c.claim in MEASURES or not c.baselines
        for name in (c.compare, *c.baselines): assert fields(name)
    assert set(MEASURES) | {"coleman"} == set(CLAIMS.claim)


def test_one_verdict_per_claim_and_unit_or_a_reason(judged):
    assert list(dict.fromkeys(judged.claim)) == list(CLAIMS.claim) and set(judged.verdict) <= VERDICTS
    assert (judged.groupby(["claim", *UNIT], dropna=False).verdict.nunique() == 1).all()
    v = verdicts(judged)
    assert not v.duplicated(["claim", *UNIT]).any() and ((v.verdict == "not testable here") == (v.reason != "")).all()
    for c in CLAIMS.itertuples():
        for profile in c.profile:
            have = v[(v.claim == c.claim) & v.profile.isin([profile, ""])]
            if profile in FRAMES and c.claim != "agnews":
                settings = FRAMES[profile].groupby(UNIT, dropna=False).variant.nunique()
                assert len(have) == (settings > 1).sum(), (c.claim, profile) # one setting alone compares nothing
            else: assert have.verdict.tolist() == ["not testable here"], (c.claim, profile)


def test_words_name_task_learner_and_budget(judged):
    for name, d in judged.groupby("claim"):
        units = verdicts(d)
        lines = in_words(d)
        assert len(lines) == len(units)
        for line, (_, u) in zip(lines, units.iterrows()):
            assert line.startswith(f"**{u['verdict']}**")
            if u["task"]:
                assert u["task"] in line and f"{u['budget']:,} annotations" in line
                assert ("a head on" if u["learner"] == "head" else "fine-tuned") in line
    tested = judged[judged.pairs > 0]
    assert tested[["mean", "p", "p_holm"]].notna().all(axis=None) and (tested.p_holm >= tested.p).all()
    assert ((tested.low <= tested["mean"] + 1e-12) & (tested["mean"] <= tested.high + 1e-12))[tested.pairs > 1].all()


def test_fine_tuned_claims_are_not_decided_by_the_head():
    time = CLAIMS[CLAIMS.claim == "time"].assign(profile=[("ablation",)])
    v = verdicts(judge(time, FRAMES))
    assert set(v.verdict) == {"not testable here"} and v.reason.str.contains("do not decide").all()


@HERE
def test_pairs_by_hand():
    "One pair from the frame itself: same seeds, both measured over the same iterations."
    df = FRAMES["ablation"]
    df = df[df.task == "news-metals"]
    gap = pairs(df, MEASURES["anchors"], "anchoral", "kmeans++/kmeans++, A=50, K=50")
    assert gap.shape == (8, 1) and list(gap) == ["entropy"]
    def area(variant):
        own = df[(df.variant == variant) & (df.data_seed == 103)].sort_values("iteration")
        return np.trapezoid(own.f1_minority) / 36
    want = area("kmeans++/kmeans++, A=10, K=50") - area("kmeans++/kmeans++, A=50, K=50")
    assert gap.xs(103, level="data_seed").iloc[0, 0] == pytest.approx(want)
    shorter = df[(df.variant != "kmeans++/kmeans++, A=50, K=50") | (df.iteration <= 10)]
    assert pairs(shorter, len, "anchoral", "kmeans++/kmeans++, A=50, K=50").eq(0).all(axis=None)
    assert cut(shorter).iteration.max() == 10


@HERE
def test_pairs_refuse_two_runs_of_the_same_seeds():
    df = rows_of(FRAMES["ablation"], "anchoral")
    df = df[df.task == "news-metals"]
    with pytest.raises(ValueError, match="share seeds and strategy"):
        pairs(pd.concat([df, df.assign(run=df.run + "x"), df.assign(filter="seals")]), len, "anchoral", "seals")


def test_unequal_strategies_are_not_compared():
    "A strategy that only one setting ran says nothing about the difference; a pair that lacks one is left out."
    df = FRAMES["missed-cluster"]
    df = df[(df.task == "news20-sci") & (df["filter"].isin(["anchoral", "seals"]))]
    more = df[df["filter"] == "anchoral"].assign(strategy="badge", run=lambda d: d.run + "b")
    seals = df[(df["filter"] == "seals") & (df.data_seed < 103)].assign(strategy="badge", run=lambda d: d.run + "b")
    plain = pairs(df, MEASURES["clusters"], "anchoral", "seals")
    assert pairs(pd.concat([df, more]), MEASURES["clusters"], "anchoral", "seals").equals(plain)
    assert len(pairs(pd.concat([df, more, seals]), MEASURES["clusters"], "anchoral", "seals")) == 3


def moved(before, after):
    "Claims and units whose numbers differ, and those whose verdict differs."
    key = ["claim", *UNIT, "baseline"]
    a, b = (d.fillna({"budget": 0}).set_index(key) for d in (before, after))
    assert a.index.equals(b.index)
    changed = (a[["mean", "p_holm"]].fillna(-9) != b[["mean", "p_holm"]].fillna(-9)).any(axis=1)
    return {k[:3] for k in a.index[changed]}, {k[:3] for k in a.index[a.verdict != b.verdict]}


@pytest.mark.parametrize("profile, task, setting, shift, rests, flips", [
    ("ablation", "news-metals", "kmeans++/kmeans++, A=50, K=50", .3, {"anchors"}, set()),
    ("ablation", "news20-religion", "kmeans++/kmeans++, A=50, K=50", .3, {"anchors"}, {"anchors"}),
    ("ablation", "news20-religion", "no-anchoring", .3, {"randsub-cost"}, {"randsub-cost"}),
    ("ablation", "news20-religion", "anchoral", .3, {"anchors", "gamma", "neighbours", "randsub-cost"},
     {"anchors", "gamma", "neighbours", "randsub-cost"}),
    ("offline", "news20-multi", "seals", .5, {"performance"}, None)])
def test_verdicts_move_with_their_numbers(judged, tmp_path, profile, task, setting, shift, rests, flips):
    "Alter the F1 of one cell's runs in a copy of the results: what rests on it moves, nothing else does."
    if profile not in FRAMES: pytest.skip(f"no saved results of profile {profile}")
    for path in RESULTS.glob("*.*"): shutil.copy(path, tmp_path)
    df = load_results(profile, tmp_path)
    runs = rows_of(df[df.task == task], setting).run.unique()
    df.loc[df.run.isin(runs), "f1_minority"] += shift
    df.to_parquet(tmp_path/f"{profile}.parquet", index=False)
    note_digests(tmp_path, results_files(profile))  # the copy is a set of its own
    numbers, verdict = moved(judged, judge(load_claims(tmp_path), saved(CLAIMS, tmp_path)))
    assert numbers == {(c, profile, task) for c in rests}
    if flips is not None: assert verdict == {(c, profile, task) for c in flips}
    assert verdict <= numbers


@HERE
def test_one_altered_number_moves_its_unit_alone(judged):
    df = FRAMES["ablation"].copy()
    at = rows_of(df[df.task == "news-metals"], "entropy/entropy, A=10, K=50").index[5]
    df.loc[at, "f1_minority"] += .01
    numbers, verdict = moved(judged, judge(CLAIMS, FRAMES | {"ablation": df}))
    assert numbers == {("gamma", "ablation", "news-metals")} and not verdict


def test_results_that_appear_are_judged():
    "The head's missed-cluster runs under another name stand for results that are not there yet."
    df = FRAMES["missed-cluster"].assign(profile="finetune", learner="finetune")
    v = verdicts(judge(CLAIMS, FRAMES | {"finetune": df}))
    mine = v[v.profile == "finetune"]
    assert set(mine.claim) == {"time", "size", "performance", "discovery", "subpool"}
    assert set(mine.learner) == {"finetune"} and (mine.reason == "").all()


@pytest.mark.parametrize("table, where, value, claims", [
    ("table5", dict(dataset="wikitoxic", strategy="badge", filter="seals", scope="matched", measure="minority"), 190.,
     {"performance"}),
    ("table5", dict(dataset="wikitoxic", strategy="badge", filter="randsub", scope="matched", measure="time"), .1,
     {"time"}),
    ("table5", dict(dataset="agnews-bus", model="ALBERT-base", filter="seals", scope="matched", measure="minority"),
     10., {"performance", "agnews"}),
    ("table3", dict(row=8, measure="minority"), 190., {"randsub-cost"}),
    ("table3", dict(row=4, measure="minority"), 190., {"anchors"}),
    ("table3", dict(row=1, measure="minority"), 10., {"randsub-cost", "anchors", "gamma", "neighbours"})])
def test_published_counts_move_with_their_numbers(tmp_path, table, where, value, claims):
    shutil.copytree(RESULTS/"paper", tmp_path/"paper")
    before = {c.claim: counted(published(c, published_cells(tmp_path))) for c in CLAIMS.itertuples()}
    t = pd.read_csv(tmp_path/f"paper/{table}.csv")
    at = np.logical_and.reduce([t[c] == v for c, v in where.items()])
    assert at.sum() == 1
    column = "value" if table == "table3" else "median"
    t[column] = t[column].astype(float)
    t.loc[at, column] = value
    t.to_csv(tmp_path/f"paper/{table}.csv", index=False)
    after = {c.claim: counted(published(c, published_cells(tmp_path))) for c in CLAIMS.itertuples()}
    assert {c for c in before if before[c] != after[c]} == claims


def test_tables_that_contradict_each_other_are_refused(tmp_path):
    shutil.copytree(RESULTS/"paper", tmp_path/"paper")
    t = pd.read_csv(tmp_path/"paper/table2.csv")
    t.loc[t["median"].notna().idxmax(), "median"] += 1
    t.to_csv(tmp_path/"paper/table2.csv", index=False)
    with pytest.raises(ValueError, match="Tables 2 and 5 differ at"): published_cells(tmp_path)


def test_published_cells_that_cannot_be_compared():
    "No-Op's limit is no time, and its short run no area to compare; nothing else is set apart."
    cells = published_cells(RESULTS)
    time, area = (published(one(CLAIMS, c), cells) for c in ("time", "performance"))
    assert set(time[time.holds == "limit"].baseline) == {"none"} and (time[time.holds == "limit"].text == "6h").all()
    assert set(area[area.holds == "shorter"].baseline) == {"none"}
    assert not (area[area.baseline == "none"].holds == "yes").any()
    assert (area[(area.model == "GPT-2")].holds == "tie").all()
