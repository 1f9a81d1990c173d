"""Generated problems with known answers, and one built from the digits that come with scikit-learn."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ConvexQuadratics": "quadratics",
        "RelatedRegression": "synthetic",
        "TwoTaskToy": "two_task_toy",
        "convex_quadratics": "quadratics",
        "overlaid_digits": "digits",
        "related_regression": "synthetic",
    },
)
