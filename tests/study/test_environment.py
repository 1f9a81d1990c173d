"""The environment names what takes part."""

import platform

import taskloom as tl
from taskloom.study import environment as module
from taskloom.study.environment import environment


def test_versions_of_what_takes_part(monkeypatch):
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["cores"] >= 1
    assert found["torch"] == found["versions"]["torch"]
    monkeypatch.setattr(module, "_PACKAGES", (*module._PACKAGES, "no-such-package"))
    assert environment()["versions"]["no-such-package"] == "not installed"
    assert tl.__version__
