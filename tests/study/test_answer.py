"""The answer in two sentences, in each of its cases."""

import pytest

from taskloom.metrics import transfer_report
from taskloom.study.answer import answer_text

SECOND = {
    "is_together": "It is also the best of all candidates on the validation rows.",
    "is_reference": "On the validation rows the single-task networks are the best of all candidates.",
    "other": "The best of all candidates on the validation rows is another one: ridge.",
}


def report(seeds=8, **factors):
    single = {task: {seed: 1.0 + 0.01 * seed for seed in range(seeds)} for task in factors}
    joint = {
        task: {seed: single[task][seed] * (factor + 0.001 * (-1) ** seed) for seed in range(seeds)}
        for task, factor in factors.items()
    }
    return transfer_report(single, joint, lower_is_better=True)


def answer(gains, *, is_together=True, is_reference=False):
    return answer_text(
        gains, title="sharing", overall="ridge", overall_is_together=is_together, overall_is_reference=is_reference
    )


APART = "tuned single-task networks"


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        (
            report(a=0.8, b=1.2),
            f"It depends on the task: sharing is better than {APART} for 'a' and worse (negative transfer) for 'b'",
        ),
        (report(a=0.8, b=0.9), f"Yes: sharing is better than {APART} for all 2 tasks (mean gain +1"),
        (report(a=0.8, b=1.0), f"Yes: sharing is better than {APART} for 'a' (mean gain +10.0 %, 95 % interval "),
        (report(a=0.8), f"Yes: sharing is better than {APART} for the only task (mean gain +20.0 %"),
        (
            report(a=1.2, b=1.0),
            f"No: sharing, the best way of learning together, is worse than {APART} (negative transfer) for 'a'",
        ),
        (report(a=1.0, b=1.0), f"It makes no difference that matters: sharing equals {APART} (mean gain "),
        (
            report(seeds=2, a=0.8, b=1.2),
            f"Not settled: with 2 seeds no test at the 5 % level is possible for sharing against {APART} (mean gain ",
        ),
        (report(seeds=1, a=0.8, b=0.8), "Not settled: with 1 seed no test"),
    ],
)
def test_the_first_sentence(gains, expected):
    found = answer(gains)
    assert found.startswith(expected)
    assert found.endswith(". " + SECOND["is_together"])


def test_no_difference_found():
    single = {"a": dict.fromkeys(range(8), 1.0)}
    joint = {"a": {seed: 1.0 + 0.1 * (-1) ** seed * seed for seed in range(8)}}
    found = answer(transfer_report(single, joint, lower_is_better=True))
    assert found.startswith("No difference was found between sharing and tuned single-task networks (mean gain ")


def test_which_is_best_of_all():
    gains = report(a=0.8)
    assert answer(gains, is_together=False).endswith(SECOND["other"])
    assert answer(gains, is_together=False, is_reference=True).endswith(SECOND["is_reference"])


def test_tasks_are_named_up_to_three():
    assert " for 'a', 'b' and 'c' (" in answer(report(seeds=12, a=0.8, b=0.8, c=0.8, d=1.0))
    assert " for 4 of 5 tasks (" in answer(report(seeds=12, a=0.8, b=0.8, c=0.8, d=0.8, e=1.0))


def test_too_few_seeds_say_how_many_are_needed():
    gains = report(seeds=3, a=0.8)
    assert answer(gains).split(";")[1].startswith(f" use {gains.seeds_needed} seeds.")


def test_gains_that_are_not_relative_have_no_percent_sign():
    single = {"a": dict.fromkeys(range(8), 0.0)}
    joint = {"a": {seed: 0.5 + 0.01 * seed for seed in range(8)}}
    gains = transfer_report(single, joint, lower_is_better=False, denominator="absolute")
    assert "(mean gain +0.5, 95 % interval +0.5 to +0.6)" in answer(gains)
