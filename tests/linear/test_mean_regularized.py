from __future__ import annotations

from taskloom.linear import MeanRegularized, MeanRegularizedClassifier
from taskloom.testing import EstimatorLaws


class TestLaws(EstimatorLaws):
    def make_estimator(self) -> MeanRegularized:
        return MeanRegularized(0.1, coupling=5.0)



class TestClassifierLaws(EstimatorLaws):
    def make_estimator(self) -> MeanRegularizedClassifier:
        return MeanRegularizedClassifier(0.05, coupling=5.0, tol=1e-12)
