"""Law suites: what every balancer, model, ... of the library keeps, as test classes for code of your own."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BalancerLaws": "balancers",
        "EstimatorLaws": "estimators",
        "ModelLaws": "models",
        "SmallModel": "small_models",
        "small_models": "small_models",
    },
)
