"""Kernel methods for several tasks: kernels that know which task a row belongs to, and estimators with them.

:class:`MultiTaskKernel` goes into scikit-learn's own machines; :class:`MultiTaskSVC`, :class:`MultiTaskSVR` and
:class:`MultiTaskKernelRidge` also read data frames, text labels of tasks and one column of y per task.
"""

from taskloom._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "EvgeniouPontil": "evgeniou_pontil",
        "MultiTaskKernel": "multitask_kernel",
        "MultiTaskKernelRidge": "ridge",
        "MultiTaskKernelRidgeCV": "ridge_cv",
        "MultiTaskSVC": "svc",
        "MultiTaskSVR": "svr",
        "evgeniou_pontil": "evgeniou_pontil",
        "multitask_gram": "gram",
    },
)
