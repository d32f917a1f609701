"""Who is asked whether it is still there, when, and what is made of the silence."""

from __future__ import annotations

from mobileip.forwarding.paths import Finding, OneWay, Paths, Probing

NOW = 1_700_000_000.0
PROBING = Probing(interval=8.0, timeout=1.0, attempts=3)


def paths(packets: int = 0) -> Paths[str]:
    made: Paths[str] = Paths(PROBING)
    made.put("node", packets, NOW)
    return made


def run(watched: Paths[str], counts: dict[float, int], until: float) -> list[tuple[float, Finding]]:
    """Every look that is due until then, with the counter's last value, but for those that found nothing."""
    found: list[tuple[float, Finding]] = []
    moments = sorted(counts)
    for tick in range(int((until - NOW) * 4) + 1):
        now = NOW + tick / 4
        for key in watched.due(now, 10):
            packets = max((counts[moment] for moment in moments if moment <= now), default=0)
            finding = watched.look(key, packets, now)
            if finding is not Finding.QUIET:
                found.append((now - NOW, finding))
    return found


def test_a_node_that_sends_is_never_asked() -> None:
    watched = paths()
    assert run(watched, {NOW + second: second for second in range(60)}, NOW + 60) == []
    path = watched.get("node")
    assert path is not None
    assert path.heard is not None
    assert NOW + 60 - path.heard <= PROBING.glance


def test_a_silent_node_is_asked_three_times_then_lost_and_asked_on() -> None:
    watched = paths()
    found = run(watched, {}, NOW + 28)
    asked = [(8.0, Finding.ASK), (9.0, Finding.ASK), (10.0, Finding.ASK)]
    assert found == [*asked, (11.0, Finding.LOST), (19.0, Finding.ASK), (27.0, Finding.ASK)]
    path = watched.get("node")
    assert path is not None
    assert (path.lost, path.heard, watched.lost()) == (NOW, None, 1)


def test_a_node_that_answers_is_asked_once_a_silence() -> None:
    # Each answer is a packet out of its tunnel.
    found = run(paths(), {NOW + 8.1: 1, NOW + 17.1: 2}, NOW + 19)
    assert found == [(8.0, Finding.ASK), (17.0, Finding.ASK)]


def test_a_lost_path_that_carries_packets_again_is_back() -> None:
    watched = paths(packets=7)
    counts = {NOW: 7, NOW + 20: 8}
    found = run(watched, counts, NOW + 28)
    assert (27.0, Finding.BACK) in found or (20.0, Finding.BACK) in found
    assert [finding for _, finding in found].count(Finding.BACK) == 1
    assert watched.lost() == 0


def test_another_registration_begins_anew_and_the_end_of_one_ends_it() -> None:
    watched = paths()
    run(watched, {}, NOW + 12)
    assert watched.lost() == 1
    watched.put("node", 5, NOW + 12)
    assert watched.lost() == 0
    assert watched.due(NOW + 12.5, 10) == [], "what was due before is not"
    assert watched.due(NOW + 14, 10) == ["node"]
    watched.remove("node")
    assert (len(watched), watched.due(NOW + 100, 10)) == (0, [])


def test_so_many_at_a_time_and_the_longest_overdue_first() -> None:
    watched: Paths[int] = Paths(PROBING)
    for number in range(10):
        watched.put(number, 0, NOW + number / 100)
    assert watched.due(NOW + 5, 4) == [0, 1, 2, 3]
    assert watched.due(NOW + 5, 100) == [4, 5, 6, 7, 8, 9]


def test_packets_that_leave_while_none_comes_back_are_noticed() -> None:
    way = OneWay(patience=2.0)
    assert not way.look(0, 0, NOW)
    assert not way.look(5, 5, NOW + 1), "both ways"
    assert not way.look(9, 5, NOW + 2), "an answer may take its time"
    assert not way.look(9, 5, NOW + 3)
    assert way.look(9, 5, NOW + 4)
    assert way.look(12, 5, NOW + 5)
    assert not way.look(12, 6, NOW + 6), "there it is"
    assert not way.look(12, 6, NOW + 60), "nothing is sent: nothing is missed"
    assert not way.look(13, 6, NOW + 61)
    assert way.look(13, 6, NOW + 63)
