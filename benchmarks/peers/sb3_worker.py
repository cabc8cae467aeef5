"""stable-baselines3 at work, on command: gradient steps of SAC, one matrix product."""

from .. import work
from . import sb3_sac
from .jobs import peak, serve


def sac_updates(task: dict) -> sb3_sac.Updates:
    """Gradient steps at the sizes in `task`."""
    return sb3_sac.Updates(work.SacUpdates(**task))


if __name__ == "__main__":
    notes = lambda job: {"parameters": job.parameters} if isinstance(job, sb3_sac.Updates) else {}
    serve({"sac_updates": sac_updates, "peak": peak}, sb3_sac.versions(), notes)
