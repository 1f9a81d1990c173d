# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.data.problems.digits import overlaid_digits as overlaid_digits
from taskloom.data.problems.synthetic import RelatedRegression as RelatedRegression
from taskloom.data.problems.synthetic import related_regression as related_regression

__all__ = [
    "RelatedRegression",
    "overlaid_digits",
    "related_regression",
]
