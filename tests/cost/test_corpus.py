"""The classifier is measured on labelled steps of all ecosystems and their cheap look-alikes."""

from __future__ import annotations

import pytest

from devloop.cost.priors import PRIORS
from support.classify import load_corpus, measure, over_all

CORPUS = load_corpus()
ANSWERS, KINDS, WRONG = measure(CORPUS)


def test_the_corpus_is_large_and_covers_every_family_of_the_table() -> None:
    families = {prior.kind: prior.family for prior in PRIORS}
    covered = {families[step.kind] for step in CORPUS if step.kind in families}
    rare = {"other", "distro", "jvm", "interpreter"}  # collections of single commands
    assert len(CORPUS) >= 200
    assert covered >= {prior.family for prior in PRIORS} - rare


@pytest.mark.parametrize("answer", ["yes", "no", "unknown"])
def test_an_answer_to_expensive_is_right_and_complete(answer: str) -> None:
    rate = ANSWERS[answer]
    assert rate.true >= 20
    assert rate.precision >= 0.98, WRONG
    assert rate.recall >= 0.98, WRONG


def test_the_kind_of_a_step_is_recognised() -> None:
    overall = over_all(KINDS)
    assert overall.precision >= 0.98, WRONG
    assert overall.recall >= 0.98, WRONG


def test_each_kind_with_several_labels_is_recognised_on_its_own() -> None:
    poor = {kind: rate for kind, rate in KINDS.items() if rate.true >= 4 and rate.recall < 0.9}
    assert poor == {}


def test_a_classifier_that_calls_everything_expensive_would_fail_this_corpus() -> None:
    expensive = sum(1 for step in CORPUS if step.expensive)
    assert expensive / len(CORPUS) < 0.7
