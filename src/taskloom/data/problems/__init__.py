"""Generated problems with known answers, and one built from the digits that come with scikit-learn."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "RelatedRegression": "synthetic",
        "overlaid_digits": "digits",
        "related_regression": "synthetic",
    },
)
