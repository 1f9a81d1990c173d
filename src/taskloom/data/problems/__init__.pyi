# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.data.problems.dense_shapes import DenseShapes as DenseShapes
from taskloom.data.problems.dense_shapes import dense_shapes as dense_shapes
from taskloom.data.problems.digits import overlaid_digits as overlaid_digits
from taskloom.data.problems.multi_mnist import multi_mnist as multi_mnist
from taskloom.data.problems.planted import PlantedGroups as PlantedGroups
from taskloom.data.problems.planted import planted_groups as planted_groups
from taskloom.data.problems.quadratics import ConvexQuadratics as ConvexQuadratics
from taskloom.data.problems.quadratics import convex_quadratics as convex_quadratics
from taskloom.data.problems.synthetic import RelatedRegression as RelatedRegression
from taskloom.data.problems.synthetic import related_regression as related_regression
from taskloom.data.problems.two_task_toy import TwoTaskToy as TwoTaskToy

__all__ = [
    "ConvexQuadratics",
    "DenseShapes",
    "PlantedGroups",
    "RelatedRegression",
    "TwoTaskToy",
    "convex_quadratics",
    "dense_shapes",
    "multi_mnist",
    "overlaid_digits",
    "planted_groups",
    "related_regression",
]
