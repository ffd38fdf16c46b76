"""The claims: the statistics against brute force, the rule unchanged,
and verdicts that move with the numbers they rest on and no others."""
import hashlib
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchoral.study import second_rule
from anchoral.study.claims import UNIT, Unit, label, load_claims, rows_of, saved_frames, unit_verdicts
from anchoral.study.first_rule import FIRST_MEASURES, apply_first_rule, first_verdict, in_words, pairs_by_strategy
from anchoral.study.measures import SEEDS, by_seeds, mean_score, paired
from anchoral.study.printed import UNPRINTED, counted, on_printed
from anchoral.study.results import load_results, note_digests, results_files
from anchoral.study.second_rule import apply_second_rule
from anchoral.study.statistics import bootstrap, holm, sign_flip, t_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT/"results"
CLAIMS = load_claims(1, RESULTS)
FRAMES = saved_frames(CLAIMS, RESULTS)
VERDICTS = {"consistent here", "contrary here", "undecided", "not testable here"}
HERE = pytest.mark.skipif("ablation" not in FRAMES, reason="no saved results of profile ablation")
DIFFERENCES = st.lists(st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def compared():
    return apply_first_rule(CLAIMS, FRAMES)


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
    assert first_verdict(mean, p, "higher", .01) == verdict
    assert first_verdict(-np.array(mean), p, "lower", .01) == verdict


def test_every_claim_has_measures_or_reasons():
    for name, claim in CLAIMS.items():
        assert len(on_printed(claim, RESULTS)) > 0 or name in UNPRINTED
        assert len(on_printed(claim, RESULTS)) == 0 or name not in UNPRINTED
        assert name in FIRST_MEASURES or not claim.baselines
        for setting in (claim.compare, *claim.baselines):
            assert label(setting)
    assert set(FIRST_MEASURES) | {"coleman"} == set(CLAIMS)


def test_one_verdict_per_claim_and_unit_or_a_reason(compared):
    assert list(dict.fromkeys(compared.claim)) == list(CLAIMS) and set(compared.verdict) <= VERDICTS
    assert (compared.groupby(["claim", *UNIT], dropna=False).verdict.nunique() == 1).all()
    v = unit_verdicts(compared)
    assert not v.duplicated(["claim", *UNIT]).any() and ((v.verdict == "not testable here") == (v.reason != "")).all()
    for name, claim in CLAIMS.items():
        for profile in claim.profiles:
            have = v[(v.claim == name) & v.profile.isin([profile, ""])]
            if profile in FRAMES and name != "agnews":
                settings = FRAMES[profile].groupby(UNIT, dropna=False).variant.nunique()
                assert len(have) == (settings > 1).sum(), (name, profile) # one setting alone compares nothing
            else: assert have.verdict.tolist() == ["not testable here"], (name, profile)


def test_words_name_task_learner_and_budget(compared):
    for name, d in compared.groupby("claim"):
        units = unit_verdicts(d)
        lines = in_words(d)
        assert len(lines) == len(units)
        for line, (_, u) in zip(lines, units.iterrows()):
            assert line.startswith(f"**{u['verdict']}**")
            if u["task"]:
                assert u["task"] in line and f"{u['budget']:,} annotations" in line
                assert ("a head on" if u["learner"] == "head" else "fine-tuned") in line
    tested = compared[compared.pairs > 0]
    assert tested[["mean", "p", "p_holm"]].notna().all(axis=None) and (tested.p_holm >= tested.p).all()
    assert ((tested.low <= tested["mean"] + 1e-12) & (tested["mean"] <= tested.high + 1e-12))[tested.pairs > 1].all()


def test_fine_tuned_claims_are_not_decided_by_the_head():
    time = replace(CLAIMS["time"], profiles=("ablation",))
    v = unit_verdicts(apply_first_rule({"time": time}, FRAMES))
    assert set(v.verdict) == {"not testable here"} and v.reason.str.contains("do not decide").all()


def pairs_of(df, *compared):
    return pairs_by_strategy(Unit({}, df, [*SEEDS, "strategy"]), *compared)


@HERE
def test_pairs_by_hand():
    "One pair from the frame itself: same seeds, both measured over the same iterations."
    df = FRAMES["ablation"]
    df = df[df.task == "news-metals"]
    gap = pairs_of(df, FIRST_MEASURES["anchors"], "anchoral", "kmeans++/kmeans++, A=50, K=50")
    assert gap.shape == (8, 1) and list(gap) == ["entropy"]
    def area(variant):
        own = df[(df.variant == variant) & (df.data_seed == 103)].sort_values("iteration")
        return np.trapezoid(own.f1_minority) / 36
    want = area("kmeans++/kmeans++, A=10, K=50") - area("kmeans++/kmeans++, A=50, K=50")
    assert gap.xs(103, level="data_seed").iloc[0, 0] == pytest.approx(want)
    shorter = df[(df.variant != "kmeans++/kmeans++, A=50, K=50") | (df.iteration <= 10)]
    assert pairs_of(shorter, len, "anchoral", "kmeans++/kmeans++, A=50, K=50").eq(0).all(axis=None)
    ends = []

    def last_iteration(run):
        ends.append(run.iteration.max())
        return 0.
    pairs_of(shorter, last_iteration, "anchoral", "kmeans++/kmeans++, A=50, K=50")
    assert max(ends) == 10


@HERE
def test_pairs_refuse_two_runs_of_the_same_seeds():
    df = rows_of(FRAMES["ablation"], "anchoral")
    df = df[df.task == "news-metals"]
    twice = pd.concat([df, df.assign(run=df.run + "x"), df.assign(filter="seals")])
    with pytest.raises(ValueError, match="share seeds and strategy"):
        pairs_of(twice, len, "anchoral", "seals")


def test_unequal_strategies_are_not_compared():
    "A strategy that only one setting ran says nothing about the difference; a pair that lacks one is left out."
    df = FRAMES["missed-cluster"]
    df = df[(df.task == "news20-sci") & (df["filter"].isin(["anchoral", "seals"]))]
    more = df[df["filter"] == "anchoral"].assign(strategy="badge", run=lambda d: d.run + "b")
    seals = df[(df["filter"] == "seals") & (df.data_seed < 103)].assign(strategy="badge", run=lambda d: d.run + "b")
    plain = pairs_of(df, FIRST_MEASURES["clusters"], "anchoral", "seals")
    assert pairs_of(pd.concat([df, more]), FIRST_MEASURES["clusters"], "anchoral", "seals").equals(plain)
    assert len(pairs_of(pd.concat([df, more, seals]), FIRST_MEASURES["clusters"], "anchoral", "seals")) == 3


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
def test_verdicts_move_with_their_numbers(compared, tmp_path, profile, task, setting, shift, rests, flips):
    "Alter the F1 of one cell's runs in a copy of the results: what rests on it moves, nothing else does."
    if profile not in FRAMES: pytest.skip(f"no saved results of profile {profile}")
    for path in RESULTS.glob("*.*"): shutil.copy(path, tmp_path)
    df = load_results(profile, tmp_path)
    runs = rows_of(df[df.task == task], setting).run.unique()
    df.loc[df.run.isin(runs), "f1_minority"] += shift
    df.to_parquet(tmp_path/f"{profile}.parquet", index=False)
    note_digests(tmp_path, results_files(profile))  # the copy is a set of its own
    numbers, verdict = moved(compared, apply_first_rule(load_claims(1, tmp_path), saved_frames(CLAIMS, tmp_path)))
    assert numbers == {(c, profile, task) for c in rests}
    if flips is not None: assert verdict == {(c, profile, task) for c in flips}
    assert verdict <= numbers


@HERE
def test_one_altered_number_moves_its_unit_alone(compared):
    df = FRAMES["ablation"].copy()
    at = rows_of(df[df.task == "news-metals"], "entropy/entropy, A=10, K=50").index[5]
    df.loc[at, "f1_minority"] += .01
    numbers, verdict = moved(compared, apply_first_rule(CLAIMS, FRAMES | {"ablation": df}))
    assert numbers == {("gamma", "ablation", "news-metals")} and not verdict


def test_results_that_appear_are_judged():
    "The head's missed-cluster runs under another name stand for results that are not there yet."
    df = FRAMES["missed-cluster"].assign(profile="finetune", learner="finetune")
    v = unit_verdicts(apply_first_rule(CLAIMS, FRAMES | {"finetune": df}))
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
    before = {name: counted(on_printed(claim, tmp_path)) for name, claim in CLAIMS.items()}
    t = pd.read_csv(tmp_path/f"paper/{table}.csv")
    at = np.logical_and.reduce([t[c] == v for c, v in where.items()])
    assert at.sum() == 1
    column = "value" if table == "table3" else "median"
    t[column] = t[column].astype(float)
    t.loc[at, column] = value
    t.to_csv(tmp_path/f"paper/{table}.csv", index=False)
    after = {name: counted(on_printed(claim, tmp_path)) for name, claim in CLAIMS.items()}
    assert {c for c in before if before[c] != after[c]} == claims


def test_tables_that_contradict_each_other_are_refused(tmp_path):
    shutil.copytree(RESULTS/"paper", tmp_path/"paper")
    t = pd.read_csv(tmp_path/"paper/table2.csv")
    t.loc[t["median"].notna().idxmax(), "median"] += 1
    t.to_csv(tmp_path/"paper/table2.csv", index=False)
    with pytest.raises(ValueError, match="Tables 2 and 5 differ at"): on_printed(CLAIMS["time"], tmp_path)


def test_published_cells_that_cannot_be_compared():
    "No-Op's limit is no time, and its short run no area to compare; nothing else is set apart."
    time, area = (on_printed(CLAIMS[name], RESULTS) for name in ("time", "performance"))
    assert set(time[time.holds == "limit"].baseline) == {"none"} and (time[time.holds == "limit"].text == "6h").all()
    assert set(area[area.holds == "shorter"].baseline) == {"none"}
    assert not (area[area.baseline == "none"].holds == "yes").any()
    assert (area[(area.model == "GPT-2")].holds == "tie").all()


def test_t_interval_is_scipys():
    from scipy import stats
    d = np.array([.1, .4, -.2, .3, .25, .0, .5, .1])
    want = stats.ttest_1samp(d, 0).confidence_interval(.95)
    assert t_interval(d) == pytest.approx((want.low, want.high)) and np.isnan(t_interval(d[:1])).all()


@HERE
def test_paired_is_by_hand():
    "Same seeds, both runs over the iterations that both completed; a run without a partner is left out."
    df = FRAMES["ablation"]
    df = df[df.task == "news-metals"]
    ours = rows_of(df, "anchoral")
    theirs = rows_of(df, "no-anchoring")
    short = theirs[(theirs.data_seed != 103) | (theirs.iteration <= 10)]
    gaps = paired(ours, short[short.data_seed != 104], mean_score)
    assert list(gaps.index.names) == list(SEEDS) and 104 not in gaps.index.get_level_values("data_seed")
    for seeds, gap in gaps.items():
        last = 10 if seeds[0] == 103 else 36
        areas = [np.trapezoid(rows[(rows.data_seed == seeds[0]) & (rows.iteration <= last)].sort_values("iteration")
                              .f1_minority) / last for rows in (ours, theirs)]
        assert gap == pytest.approx(areas[0] - areas[1])
    assert paired(ours, theirs.iloc[:0], mean_score).empty
    assert paired(ours, ours.assign(run=ours.run + "x"), mean_score).eq(0).all()
    assert by_seeds(ours, len).eq(37).all()
    with pytest.raises(ValueError, match="share seeds: "):
        by_seeds(pd.concat([ours, ours.assign(run=ours.run + "x")]), len)


def test_the_second_rule_is_the_one_committed_before_the_runs():
    digests = {
        "claims-2.csv": "8552f17d0885e966f9d150a6ea639e238fcee3eae471f3ac86c0b23ce7c28cb2",
        "claims-2.md": "31d6683660dd68d400de078e6cbc03d0c60fb51ce86e9739b2fd02f843cf1918"}
    for name, digest in digests.items():
        assert hashlib.sha256((RESULTS/name).read_bytes()).hexdigest() == digest, f"{name} has been edited"


def test_second_rule_has_one_verdict_per_claim_and_unit_or_a_reason():
    claims = load_claims(2, RESULTS)
    compared = apply_second_rule(claims, saved_frames(claims, RESULTS), RESULTS)
    assert list(dict.fromkeys(compared.claim)) == list(claims)
    assert set(compared.verdict) <= VERDICTS | {"too few runs", "true by construction"}
    units = unit_verdicts(compared)
    assert (compared.groupby(["claim", *UNIT, "strategy"], dropna=False).verdict.nunique() == 1).all()
    assert ((units.reason != "") | ~units.verdict.str.contains("not testable|construction")).all()
    tested = compared[compared.pairs > 1]
    assert (tested.low <= tested["mean"]).all() and (tested["mean"] <= tested.high).all()
    ran = load_results("wordnet")
    ran = set(zip(ran.task, ran.strategy)) - {(task, "random") for task in ran.task}
    for name in ("time", "minority", "discovery", "balance", "random"): # none is left out in silence
        mine = units[(units.claim == name) & (units.profile == "wordnet")]
        assert set(zip(mine.task, mine.strategy)) == ran, name


def test_random_is_counted_in_every_strategy_of_its_model():
    "Random has no strategy: by hand, its printed F1 beside AnchorAL's with each strategy."
    t = pd.read_csv(RESULTS/"paper/table5.csv")
    t = t[(t.scope == "matched") & (t.measure == "minority")]
    at_random = t[t.strategy == "random"].set_index(["dataset", "model"])["median"]
    ours = t[t["filter"] == "anchoral"].set_index(["dataset", "model"])
    by_hand = ours["median"][ours.index.isin(at_random.index)]
    ahead = sum(value > at_random[place] for place, value in by_hand.items())
    counts = counted(on_printed(load_claims(2)["random"], RESULTS))
    assert counts == f"holds in {ahead} of {len(by_hand)} cells"


@pytest.mark.parametrize("kind, means, verdict, against", [
    ("higher", (.1, .1), "consistent here", (False, False)),
    ("higher", (.1, -.1), "contrary here", (False, True)),
    ("lower", (.1, -.1), "contrary here", (True, False)),
    ("unharmed", (.1, -.1), "contrary here", (False, True)),
    ("higher", (.1, .01), "undecided", (False, False))])
def test_a_contrary_verdict_names_the_baselines_that_contradict(kind, means, verdict, against):
    rows = pd.DataFrame({"mean": means, "pairs": 8, "p_holm": .01})
    rows = rows.assign(low=rows["mean"] - .005, high=rows["mean"] + .005)
    judged = second_rule._judged(kind, rows, .03)
    assert set(judged.verdict) == {verdict} and tuple(judged.against) == against
