# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.kernel.evgeniou_pontil import EvgeniouPontil as EvgeniouPontil
from taskloom.kernel.evgeniou_pontil import evgeniou_pontil as evgeniou_pontil
from taskloom.kernel.gram import multitask_gram as multitask_gram
from taskloom.kernel.multitask_kernel import MultiTaskKernel as MultiTaskKernel
from taskloom.kernel.ridge import MultiTaskKernelRidge as MultiTaskKernelRidge
from taskloom.kernel.ridge_cv import MultiTaskKernelRidgeCV as MultiTaskKernelRidgeCV
from taskloom.kernel.svc import MultiTaskSVC as MultiTaskSVC
from taskloom.kernel.svr import MultiTaskSVR as MultiTaskSVR

__all__ = [
    "EvgeniouPontil",
    "MultiTaskKernel",
    "MultiTaskKernelRidge",
    "MultiTaskKernelRidgeCV",
    "MultiTaskSVC",
    "MultiTaskSVR",
    "evgeniou_pontil",
    "multitask_gram",
]
