# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.testing.balancers import BalancerLaws as BalancerLaws
from taskloom.testing.estimators import EstimatorLaws as EstimatorLaws
from taskloom.testing.models import ModelLaws as ModelLaws

__all__ = [
    "BalancerLaws",
    "EstimatorLaws",
    "ModelLaws",
]
