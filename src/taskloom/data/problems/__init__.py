"""Generated problems with known answers, and pictures of two digits, of scikit-learn's or of MNIST's."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ConvexQuadratics": "quadratics",
        "DenseShapes": "dense_shapes",
        "PlantedGroups": "planted",
        "RelatedRegression": "synthetic",
        "TwoTaskToy": "two_task_toy",
        "convex_quadratics": "quadratics",
        "dense_shapes": "dense_shapes",
        "multi_mnist": "multi_mnist",
        "overlaid_digits": "digits",
        "planted_groups": "planted",
        "related_regression": "synthetic",
    },
)
