# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.balance.base import Balancer as Balancer
from taskloom.balance.base import Link as Link
from taskloom.balance.base import Mix as Mix
from taskloom.balance.base import Reduce as Reduce
from taskloom.balance.base import RowRule as RowRule
from taskloom.balance.base import Scale as Scale
from taskloom.balance.base import chain as chain
from taskloom.balance.flow import Combination as Combination
from taskloom.balance.flow import Flow as Flow
from taskloom.balance.flow import Need as Need
from taskloom.balance.flow import Rows as Rows
from taskloom.balance.flow import Signals as Signals
from taskloom.balance.mix.pcgrad import pcgrad as pcgrad
from taskloom.balance.mix.pcgrad import project_conflicts as project_conflicts
from taskloom.balance.reduce.mean import mean as mean
from taskloom.balance.reduce.sum import equal as equal
from taskloom.balance.reduce.sum import sum_ as sum_
from taskloom.balance.scale.fixed import fixed as fixed
from taskloom.balance.scale.fixed import scale_by as scale_by
from taskloom.balance.scale.uncertainty import uncertainty as uncertainty
from taskloom.balance.wrap.every import every as every

__all__ = [
    "Balancer",
    "Combination",
    "Flow",
    "Link",
    "Mix",
    "Need",
    "Reduce",
    "RowRule",
    "Rows",
    "Scale",
    "Signals",
    "chain",
    "equal",
    "every",
    "fixed",
    "mean",
    "pcgrad",
    "project_conflicts",
    "scale_by",
    "sum_",
    "uncertainty",
]
