"""Configuration files, flags over them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from taskloom.cli._config import CompareConfig, FitConfig, resolve, to_yaml
from taskloom.errors import StudyError

TABLE = {"data": Path("marks.csv"), "targets": ["maths"]}


@pytest.fixture
def write(tmp_path):
    def write_config(text: str) -> Path:
        file = tmp_path / "study.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_config


def test_flags_win_over_the_file_and_the_file_over_defaults(write):
    file = write(
        "data: a.csv\ntargets: [수학, reading/1]\nseeds: 3\nbudget: 12\nkinds: {zip: categorical, age: numeric}"
    )
    config = resolve(CompareConfig, file, {"seeds": 7, "targets": [], "main": None, "kinds": {"zip": "numeric"}})
    assert config.seeds == 7
    assert config.targets == ["수학", "reading/1"]
    assert config.budget == "12"
    assert config.kinds == {"zip": "numeric", "age": "numeric"}
    assert config.alpha == 0.05


@pytest.mark.parametrize(
    ("given_candidates", "expected"),
    [("all", "all"), ("default", "default"), ("a, b", ["a", "b"]), (["a"], ["a"])],
)
def test_candidates_are_a_word_or_names(given_candidates, expected):
    assert resolve(CompareConfig, None, {**TABLE, "candidates": given_candidates}).candidates == expected


@pytest.mark.parametrize(("typed", "meant"), [("\\t", "\t"), ("tab", "\t"), (";", ";")])
def test_a_separator_is_one_character(typed, meant):
    assert resolve(CompareConfig, None, {**TABLE, "separator": typed}).separator == meant


def test_an_unknown_key_names_the_nearest(write):
    with pytest.raises(StudyError, match=r"unknown key 'budgte'. Did you mean 'budget'\?"):
        resolve(CompareConfig, write("data: a.csv\ntargets: a\nbudgte: 10m"), {})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"seeds": 0}, "seeds: input should be greater than or equal to 1, found 0"),
        ({"workers": -1}, "workers"),
        ({"alpha": 1.5}, "alpha"),
        ({"separator": ";;"}, "separator"),
        ({"candidates": {"a": 1}}, "taskloom methods"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_was_found(flags, words):
    with pytest.raises(StudyError, match=words):
        resolve(CompareConfig, None, {**TABLE, **flags})


def test_all_problems_are_told_at_once():
    with pytest.raises(StudyError, match=r"seeds.*alpha"):
        resolve(CompareConfig, None, {**TABLE, "seeds": 0, "alpha": 2.0})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: [unclosed", "not valid YAML"),
        ("- a\n- b", "holds a list"),
        ("just words", "holds a str"),
        ("seeds: 3\nseeds: 4", "'seeds' occurs twice"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(write, text, words):
    with pytest.raises(StudyError, match=words):
        resolve(CompareConfig, write(text), TABLE)


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(StudyError, match="no such file"):
        resolve(CompareConfig, tmp_path / "missing.yaml", TABLE)
    (tmp_path / "latin.yaml").write_bytes("data: caf\xe9.csv".encode("latin-1"))
    with pytest.raises(StudyError, match="not UTF-8"):
        resolve(CompareConfig, tmp_path / "latin.yaml", TABLE)


def test_an_empty_file_gives_the_defaults(write):
    assert resolve(FitConfig, write(""), TABLE) == FitConfig(**TABLE)


def test_data_and_targets_must_be_there_unless_only_shown():
    with pytest.raises(StudyError, match="'data' is missing"):
        resolve(CompareConfig, None, {"targets": ["a"]})
    with pytest.raises(StudyError, match=r"'targets' is missing.*--target"):
        resolve(CompareConfig, None, {"data": "a.csv"})
    assert resolve(CompareConfig, None, {}, complete=False) == CompareConfig()


@given(
    targets=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=3),
    seeds=st.integers(1, 50),
    separator=st.sampled_from([None, ";", "\t", "|"]),
    candidates=st.sampled_from(["all", "default", ["hard_sharing", "ridge"]]),
)
def test_what_is_printed_is_read_back_the_same(tmp_path_factory, targets, seeds, separator, candidates):
    config = CompareConfig(
        data="a b.csv", targets=targets, seeds=seeds, separator=separator, candidates=candidates, kinds={"x: y": "date"}
    )
    file = tmp_path_factory.mktemp("config") / "printed.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert resolve(CompareConfig, file, {}) == config.model_copy(update={"out": Path("taskloom-runs/a b")})
    assert list(yaml.safe_load(file.read_text(encoding="utf-8")))[:2] == ["data", "targets"]
