"""``tl.demo``: the whole job on handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

from taskloom.data.problems import overlaid_digits
from taskloom.study.budget import Budget
from taskloom.study.compare import compare
from taskloom.study.results import Results
from taskloom.study.run import Progress

__all__ = ["demo"]

_CANDIDATES = (
    "hard_sharing",
    "hard_sharing_tuned_weights",
    "hard_sharing_uncertainty",
    "hard_sharing_pcgrad",
    "linear",
    "boosted_trees",
)
_SEEDS = 10  # with 8, the fewest for five tasks, one seed of the other sign would leave every verdict open


def demo(
    out: str | Path | None = None, seed: int = 0, *, quick: bool = False, progress: bool | Progress = True
) -> Results:
    """Compare on overlaid handwritten digits: one task has few labels and gains, another one loses.

    Every picture shows two digits side by side that overlap. Whether the right digit is even, is 5 or more, and is
    divisible by 3 is known for all pictures, which digit it is for few: it gains from the others. The brightness of
    the picture has nothing to do with them: it loses.

    Args:
        out: folder of the run; an unfinished run in it is continued. Default: a temporary one.
        seed: base seed of the comparison; the pictures are always the same.
        quick: two seeds, one trial, three candidates: to see that everything works, not to learn anything.
        progress: as in :func:`taskloom.compare`.

    Returns:
        the results.

    Example:
        >>> import taskloom as tl
        >>> results = tl.demo(quick=True, progress=False)
        >>> "hard_sharing" in results.candidates
        True
    """
    return compare(
        overlaid_digits(400 if quick else 1796),
        candidates=("hard_sharing", "linear") if quick else _CANDIDATES,
        seeds=2 if quick else _SEEDS,
        seed=seed,
        budget=Budget(trials=1 if quick else 4),
        out=out,
        progress=progress,
        title="Two digits on one picture",
        command=f"taskloom demo --seed {seed}" + (" --quick" if quick else ""),
    )
