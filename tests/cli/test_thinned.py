"""What a raw file keeps of a long run."""

from forethought.cli.reproduce import thinned


def rows(kind: str, count: int) -> list[dict]:
    return [{"kind": kind, "env_steps": step} for step in range(count)]


def test_evaluations_are_all_kept_and_of_the_others_every_so_manieth_with_the_last():
    run = rows("episode", 25) + rows("eval", 30) + rows("update", 7) + rows("event", 3)
    kept = thinned(run, most=10)
    steps = lambda kind: [row["env_steps"] for row in kept if row["kind"] == kind]
    assert steps("episode") == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert steps("eval") == list(range(30)) and steps("update") == list(range(7)) and steps("event") == []


def test_short_runs_are_kept_whole_and_in_order():
    run = rows("episode", 3) + rows("update", 2) + rows("eval", 1)
    assert thinned(run) == run
