"""sheeprl at work, on command: a gradient step of Dreamer v3, one matrix product."""

from .. import work
from . import sheeprl_dreamer
from .jobs import peak, serve


def dreaming(task: dict, compiled: bool = False) -> sheeprl_dreamer.Update:
    """One gradient step at the sizes in `task`."""
    return sheeprl_dreamer.Update(work.Dreaming(**task), compiled=compiled)


if __name__ == "__main__":
    notes = lambda job: {"parameters": job.parameters} if isinstance(job, sheeprl_dreamer.Update) else {}
    serve({"dreaming": dreaming, "peak": peak}, sheeprl_dreamer.versions(), notes)
