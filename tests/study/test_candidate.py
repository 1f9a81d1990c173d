"""Candidates are named so that files can be named by them."""

import pytest

from taskloom.errors import StudyError


@pytest.mark.parametrize("name", ["", "Mine", "my-own", "a/b", "../x", "1a", "수학", "a" * 81, "a\n"])
def test_names_that_files_cannot_have_are_refused(constant, name):
    with pytest.raises(StudyError, match="put other words into title="):
        constant(name)


def test_a_plain_name_is_taken(constant):
    assert constant("my_own_2").name == "my_own_2"
