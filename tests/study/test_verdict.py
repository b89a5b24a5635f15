from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.studies import Truth, simulate

from torchliquid.errors import InputError
from torchliquid.study.results import Finding, Interval, PartResult, StudyResults, Verdict
from torchliquid.study.stats.verdict import answer, with_verdict


def verdicts(n: int, truth: Truth) -> Counter[str]:
    found: Counter[str] = Counter()
    for i in range(n):
        verdict = with_verdict(*simulate(np.random.default_rng(i), truth)).verdict
        found.update([verdict.answer, *verdict.tags])
    return found


def finding(verdict: Verdict, question: str) -> Finding:
    return next(f for f in verdict.findings if f.question == question)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [None, 0.95, 0.99], ids=["many series", "one recording", "one slow recording"])
@pytest.mark.parametrize("seed_spread", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("n_seeds", [3, 5])
def test_no_true_difference_is_rarely_called_worth_it(n_seeds, seed_spread, memory):
    """200 studies of nine contenders, no liquid one better than another: at most 5 % may say "worth it"."""
    found = verdicts(200, Truth(n_seeds=n_seeds, seed_spread=seed_spread, memory=memory))
    assert found["worth it"] <= 10
    assert found["nothing_learnt"] == 0


def test_no_true_difference_is_rarely_called_worth_it_in_short():
    assert verdicts(60, Truth(seed_spread=0.1))["worth it"] <= 4


@pytest.mark.parametrize("memory", [None, 0.95])
def test_a_large_difference_is_found(memory):
    assert verdicts(25, Truth(liquid=0.8, memory=memory))["worth it"] >= 23
    assert verdicts(25, Truth(liquid=-0.8, memory=memory))["not worth it"] >= 23


def test_on_noise_nothing_was_learnt():
    """Models that learnt from noise are a little worse than the naive answer: the whole interval lies below."""
    found = verdicts(40, Truth(naive=0.4, memory=None))
    assert found["nothing_learnt"] >= 35
    assert found["worth it"] == 0
    verdict = with_verdict(*simulate(np.random.default_rng(0), Truth(naive=0.4, probe=0.0))).verdict
    assert verdict.sentence.startswith("Nothing was learnt here")
    assert verdict.answer == "not worth it"


def test_no_gain_seen_is_no_proof_that_nothing_was_learnt():
    """Equal on average, with intervals wider than what matters; or better, but the seeds differ too much to show it."""
    found = verdicts(40, Truth(naive=0.0, memory=None))
    assert found["learning_not_shown"] >= 30
    assert found["nothing_learnt"] <= 4
    assert found["worth it"] == 0
    few = Truth(naive=-0.6, seed_spread=0.4, n_seeds=3)
    found = verdicts(20, few)
    assert found["learning_not_shown"] >= 5
    assert found["worth it"] == 0


def test_one_seed_does_not_show_that_nothing_was_learnt():
    verdict = with_verdict(*simulate(np.random.default_rng(0), Truth(n_seeds=1, classical=-0.8, liquid=0.3))).verdict
    assert verdict.answer == "not shown"
    assert verdict.tags == ("learning_not_shown",)


def test_one_sensor_that_does_as_well_is_named():
    truth = Truth(probe=0.0, seed_spread=0.02, memory=None, n_samples=16_000)
    verdict = with_verdict(*simulate(np.random.default_rng(1), truth)).verdict
    assert verdict.tags == ("one_sensor",)
    assert verdict.answer == "not worth it"
    assert "one sensor does it (a linear model on Light alone)" in verdict.sentence
    worse = with_verdict(*simulate(np.random.default_rng(1), replace(truth, probe=-1.0))).verdict
    assert worse.tags == ()


def test_one_sensor_does_it_only_where_the_interval_is_known():
    """A network trained once might owe its place to luck; nor is a naive answer there to be beaten."""
    results, scores = simulate(np.random.default_rng(1), Truth(n_seeds=1, probe=0.0, memory=None, n_samples=16_000))
    results = replace(results, contenders=tuple(c for c in results.contenders if c.family != "naive"))
    verdict = with_verdict(results, scores).verdict
    assert verdict.tags == ()
    assert verdict.answer == "not shown"


def test_a_win_over_the_rival_is_none_where_a_probe_does_as_well():
    """The rival is weak, the liquid network beats it, but so does a linear model on one sensor."""
    truth = Truth(liquid=0.8, probe=0.8, seed_spread=0.02)
    results, scores = simulate(np.random.default_rng(2), truth)
    verdict = with_verdict(results, scores).verdict
    assert finding(verdict, "accuracy").difference.low > 0
    assert finding(verdict, "accuracy").answer == "not shown"  # equal needs proof as better does
    assert verdict.answer == "not shown"
    assert "Light alone may do as well" in finding(verdict, "accuracy").sentence
    better = with_verdict(*simulate(np.random.default_rng(2), replace(truth, probe=1.6))).verdict
    assert finding(better, "accuracy").answer == "not worth it"
    assert "Light alone does as well" in finding(better, "accuracy").sentence
    assert better.answer == "not worth it"


def test_cost_alone_can_be_worth_it_where_nothing_is_lost():
    cheap = Truth(n_samples=40_000, memory=0.5, seed_spread=0.01, cheap=0.3)
    verdict = with_verdict(*simulate(np.random.default_rng(0), cheap)).verdict
    assert finding(verdict, "cost").answer == "worth it"
    assert finding(verdict, "cost").ratios["bytes"] == pytest.approx(0.3)
    assert verdict.answer == "worth it"
    assert verdict.sentence.startswith("A liquid network is worth it here: ")
    assert "is cheaper than" in verdict.sentence
    dear = with_verdict(*simulate(np.random.default_rng(0), replace(cheap, cheap=3.0))).verdict
    assert finding(dear, "cost").answer == "not worth it"
    worse = with_verdict(*simulate(np.random.default_rng(0), replace(cheap, liquid=-0.8))).verdict
    assert worse.answer == "not worth it"


def with_doubt(results: StudyResults, name: str, doubt: str, seeds: int) -> StudyResults:
    def mark(c):
        return replace(c, trials=tuple(replace(t, doubt=doubt if i < seeds else "") for i, t in enumerate(c.trials)))

    return replace(results, contenders=tuple(mark(c) if c.name == name else c for c in results.contenders))


@pytest.mark.parametrize("liquid", [0.8, -0.8])
@pytest.mark.parametrize(
    ("doubt", "words"), [("plateau", "never left the naive answer"), ("falling", "was still impr")]
)
def test_no_answer_rests_on_a_contender_that_was_not_trained(liquid, doubt, words):
    results, scores = simulate(np.random.default_rng(1), Truth(liquid=liquid))
    verdict = with_verdict(results, scores).verdict
    assert verdict.answer == ("worth it" if liquid > 0 else "not worth it")
    loser, winner = (verdict.rival, verdict.liquid) if liquid > 0 else (verdict.liquid, verdict.rival)
    doubted = with_verdict(with_doubt(results, loser, doubt, 3), scores).verdict
    assert doubted.answer == "not shown"
    assert words in doubted.sentence
    assert f"{results.contender(loser).label}, the best" in doubted.sentence
    assert any(words in sentence for sentence in doubted.evidence)
    fewer = (len(results.contender(loser).trials) - 1) // 2
    for same in (with_doubt(results, loser, doubt, fewer), with_doubt(results, winner, doubt, 5)):
        assert with_verdict(same, scores).verdict.answer == verdict.answer


def test_nothing_is_worth_it_where_a_linear_model_on_the_last_samples_does_as_well():
    """On validation another rival is ahead by luck; on the test part the linear model is as good as the liquid one."""
    results, scores = simulate(np.random.default_rng(3), Truth(liquid=0.8, seed_spread=0.02))
    verdict = with_verdict(results, scores).verdict
    assert verdict.answer == "worth it"
    assert verdict.rival != "linear"
    as_good = scores | {"linear": scores[verdict.liquid]}
    again = with_verdict(results, as_good).verdict
    assert again.answer == "not shown"
    assert "but Linear may do as well" in finding(again, "accuracy").sentence


def test_the_pair_is_chosen_on_validation_alone():
    results, scores = simulate(np.random.default_rng(3), Truth())
    verdict = with_verdict(results, scores).verdict
    swapped = {name: replace(s, clean=s.clean * [1.0, 0.0]) for name, s in scores.items()}
    again = with_verdict(results, swapped).verdict
    assert (again.liquid, again.rival) == (verdict.liquid, verdict.rival)
    best = max((c for c in results.contenders if c.family == "liquid"), key=lambda c: c.validation)
    assert verdict.liquid == best.name


def test_answers_follow_interval_and_margin():
    assert answer(Interval(0.03, 0.01, 0.05), 0.02) == "worth it"
    assert answer(Interval(0.01, 0.001, 0.03), 0.02) == "not shown"  # better, but not by what matters
    assert answer(Interval(0.01, 0.001, 0.019), 0.02) == "not worth it"
    assert answer(Interval(0.03, -0.01, 0.07), 0.02) == "not shown"
    assert answer(Interval(-0.03, -0.05, -0.01), 0.02) == "not worth it"
    assert answer(Interval(0.1, -np.inf, np.inf), 0.02) == "not shown"


def test_results_survive_json():
    results = with_verdict(*simulate(np.random.default_rng(0), Truth(n_samples=400, probe=0.0)))
    text = results.to_json()
    assert StudyResults.from_json(text) == results
    assert StudyResults.from_json(text.replace('"horizon":', '"unit": "", "horizon":')) == results  # an older version's
    with pytest.raises(InputError, match="update torchliquid"):
        StudyResults.from_json(text.replace('"schema": 1', '"schema": 2'))
    for broken in (text[:500], "[]", "{}", text.replace('"trials"', '"trails"')):
        with pytest.raises(InputError):
            StudyResults.from_json(broken)


@pytest.mark.parametrize(("part", "classes"), [("later", {"0": 0, "1": 900}), ("validation", {"0": 400, "1": 0})])
def test_nothing_is_judged_by_a_part_of_one_class(part, classes):
    results, scores = simulate(np.random.default_rng(0), Truth(liquid=0.8))
    assert with_verdict(results, scores).verdict.answer == "worth it"
    told = replace(results, data=replace(results.data, parts=(PartResult(part, 1, 900, 900, classes=classes),)))
    verdict = with_verdict(told, scores).verdict
    assert verdict.answer == "not shown"
    assert "has one class only" in verdict.sentence


def test_a_small_study_says_that_it_is_none():
    results, scores = simulate(np.random.default_rng(0), Truth(liquid=0.8, n_seeds=2))
    assert with_verdict(results, scores).verdict.evidence[0] == "Too small to trust: 2 seeds."
    results, scores = simulate(np.random.default_rng(0), Truth(liquid=0.8))
    assert not any("Too small" in sentence for sentence in with_verdict(results, scores).verdict.evidence)
