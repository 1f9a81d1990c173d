"""Comparisons: candidates, budgets, tuning, and results."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Budget": "budget",
        "Candidate": "candidate",
        "Learned": "candidate",
        "Plan": "candidate",
        "Results": "results",
        "StoredModel": "models",
        "Study": "run",
        "balanced": "balanced",
        "catalogue": "catalogue",
        "compare": "compare",
        "demo": "demo",
        "load_model": "models",
    },
)
