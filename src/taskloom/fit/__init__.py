"""Training: one network by Lightning's Trainer, or many small ones in one batched computation."""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "FitResult": "result",
        "History": "result",
        "Objective": "training",
        "OptimiserSettings": "training",
        "Schedule": "training",
        "Training": "training",
        "fit": "fit",
        "load": "checkpoint",
        "save": "checkpoint",
        "train": "train",
        "TrainerOptions": "trainer",
    },
)
