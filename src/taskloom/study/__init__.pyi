# Written by tools/write_stubs.py from the names in __init__.py; run `make stubs` after changing those.

from taskloom.study.balanced import balanced as balanced
from taskloom.study.budget import Budget as Budget
from taskloom.study.candidate import Candidate as Candidate
from taskloom.study.candidate import Learned as Learned
from taskloom.study.candidate import Plan as Plan
from taskloom.study.catalogue import catalogue as catalogue
from taskloom.study.compare import compare as compare
from taskloom.study.demo import demo as demo
from taskloom.study.models import StoredModel as StoredModel
from taskloom.study.models import load_model as load_model
from taskloom.study.results import Results as Results
from taskloom.study.run import Study as Study

__all__ = [
    "Budget",
    "Candidate",
    "Learned",
    "Plan",
    "Results",
    "StoredModel",
    "Study",
    "balanced",
    "catalogue",
    "compare",
    "demo",
    "load_model",
]
