"""taskloom: is it better to learn these tasks together?

Every public name is imported when it is first used, so that ``import taskloom`` itself is quick and loads none of
the heavy packages. The names, with their types, are in ``__init__.pyi``.
"""

from taskloom._lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BalanceError": "errors",
        "Binary": "task",
        "Budget": "study.budget",
        "Candidate": "study.candidate",
        "Conditioned": "nn.conditioned",
        "DataError": "errors",
        "EngineError": "errors",
        "ExportError": "errors",
        "GroupedSplit": "data.split",
        "HardSharing": "nn.hard",
        "HardSoftMix": "nn.hardsoft",
        "Independent": "nn.independent",
        "Kind": "task",
        "MLP": "nn.encoders.mlp",
        "MultiTaskData": "data.multitask",
        "Multiclass": "task",
        "OptimiserSettings": "fit.training",
        "Pooled": "nn.pooled",
        "RandomSplit": "data.split",
        "Regression": "task",
        "Results": "study.results",
        "Schedule": "fit.training",
        "SoftSharing": "nn.soft",
        "Study": "study.run",
        "StudyError": "errors",
        "Task": "task",
        "TaskError": "errors",
        "TaskloomError": "errors",
        "TimeSplit": "data.split",
        "TrainerOptions": "fit.trainer",
        "balance": "engine.combine",
        "chain": "balance.base",
        "compare": "study.compare",
        "delta_m": "metrics.delta_m",
        "demo": "study.demo",
        "equal": "balance.reduce.sum",
        "fit": "fit.fit",
        "fixed": "balance.scale.fixed",
        "fork": "nn.fork",
        "measure": "engine.measure",
        "pcgrad": "balance.mix.pcgrad",
        "read_table": "data.table",
        "transfer_report": "metrics.gains",
        "uncertainty": "balance.scale.uncertainty",
    },
    modules=["couplings", "data", "engine", "losses", "metrics", "nn", "report", "study", "testing"],
)
