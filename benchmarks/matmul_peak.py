"""This machine's own float32 peak: the fastest product of two square matrices in any library here.

    python -m benchmarks.matmul_peak

About a minute. Shares of the peak in the other tables are of the peak measured in the same run as they are.
"""

from . import arms, options
from .record import Recorder

SIZES = (512, 1024, 2048, 3072)


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.with_peers(options.parser(__doc__, "matmul_peak"))
    parser.add_argument("--rounds", type=options.positive, default=9, help="timings of each (%(default)s)")
    parser.add_argument("--sizes", type=options.positive, nargs="+", default=SIZES, help="of matrices %(default)s")
    given = parser.parse_args(argv)
    settings = {"threads": given.threads, "rounds": given.rounds}
    recorder = Recorder(given.out, benchmark="matmul_peak", settings=settings, quiet=given.quiet)
    every = arms.peak_arms(None if given.no_peers else given.venv, tuple(given.sizes))
    found = arms.alternate(recorder, every, rounds=given.rounds, threads=given.threads)
    name, peak = arms.best_peak(found)
    recorder.say(f"{name}: {peak['median']:.1f} GFLOP/s ({peak['min']:.1f} to {peak['max']:.1f})")


if __name__ == "__main__":
    main()
