"""Constants of the regularised multi-task learning of Evgeniou and Pontil, as those of a support vector machine."""

from __future__ import annotations

from dataclasses import dataclass

from taskloom.task_column import check_number, check_whole

__all__ = ["EvgeniouPontil", "evgeniou_pontil"]


@dataclass(frozen=True)
class EvgeniouPontil:
    """What :class:`MultiTaskSVC` and :class:`MultiTaskSVR` call the two constants.

    Args:
        C: weight of the losses.
        mu: how free the tasks are; small: alike.

    Example:
        >>> EvgeniouPontil(C=1.0, mu=0.5).mu
        0.5
    """

    C: float
    mu: float


def evgeniou_pontil(lambda_1: float, lambda_2: float, *, n_tasks: int) -> EvgeniouPontil:
    """Constants ``C`` and ``mu`` for the two constants of the paper.

    With functions ``w_0 + v_t``, the paper minimises

        sum_ti loss(y_ti, x_ti . (w_0 + v_t)) + (lambda_1 / T) sum_t ||v_t||^2 + lambda_2 ||w_0||^2

    which is a support vector machine with the kernel ``(1 / mu + [s = t]) x . x'``:

        C = T / (2 lambda_1),     mu = T lambda_2 / lambda_1

    Args:
        lambda_1: weight of what tasks have of their own, positive.
        lambda_2: weight of what they share, positive.
        n_tasks: T.

    Raises:
        DataError: constants that are not positive.

    Source:
        T. Evgeniou, M. Pontil, Regularized Multi-Task Learning, KDD 2004, section 2.2.

    Example:
        >>> evgeniou_pontil(2.0, 1.0, n_tasks=4)
        EvgeniouPontil(C=1.0, mu=2.0)
    """
    check_number("lambda_1", lambda_1, is_open=True)
    check_number("lambda_2", lambda_2, is_open=True)
    check_whole("n_tasks", n_tasks)
    return EvgeniouPontil(C=n_tasks / (2 * lambda_1), mu=n_tasks * lambda_2 / lambda_1)
