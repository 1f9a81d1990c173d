# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.testing.balancers import BalancerLaws as BalancerLaws
from taskloom.testing.estimators import EstimatorLaws as EstimatorLaws
from taskloom.testing.models import ModelLaws as ModelLaws
from taskloom.testing.small_models import SmallModel as SmallModel
from taskloom.testing.small_models import small_models as small_models

__all__ = [
    "BalancerLaws",
    "EstimatorLaws",
    "ModelLaws",
    "SmallModel",
    "small_models",
]
