from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.nn._wiring import Wiring


@st.composite
def wirings(draw: st.DrawFn) -> Wiring:
    """Three stages of two to four networks, for as many tasks or one less, units anywhere, random links and taps."""
    n_networks = draw(st.integers(2, 4))
    networks = draw(st.sampled_from([tuple(range(n_networks)), tuple(range(1, n_networks))]))
    units = draw(st.sets(st.integers(0, 2), min_size=1))
    last = max(units)
    links = []
    for place in range(3):
        n_rows = len(networks) if place == last else n_networks
        row = st.lists(st.booleans(), min_size=n_networks, max_size=n_networks).filter(any)
        links.append(draw(st.lists(row, min_size=n_rows, max_size=n_rows)) if place in units else None)
    taps = [draw(st.lists(st.booleans(), min_size=3, max_size=3).filter(any)) for _ in networks]
    return Wiring(links, networks, taps)


@given(wirings())
@settings(deadline=None)
def test_what_a_task_needs_is_what_its_loss_reaches(wiring: Wiring) -> None:
    readers = wiring.readers()
    for task in range(len(wiring.networks)):
        for (before, behind), (columns, rows) in zip(readers, wiring.needed(task), strict=True):
            assert columns == [index for index, tasks in enumerate(before) if tasks >> task & 1]
            assert rows == [index for index, tasks in enumerate(behind) if tasks >> task & 1]


def test_a_row_without_weights_keeps_its_own_network() -> None:
    """Its result is zero, but it needs the shape of something."""
    wiring = Wiring([[[False, False], [True, True]], None], (0, 1), [[False, True]] * 2)
    assert wiring.needed(0) == [([0], [0]), ([0], [0])]
    assert wiring.readers()[0] == ([2, 2], [1, 2])
