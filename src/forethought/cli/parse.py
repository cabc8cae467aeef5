"""Options from typed configs, by tyro; everything that is wrong with a command line comes out as one line."""

import contextlib
import dataclasses
import io
import re
import types
import typing
from typing import Annotated, Any, TypeVar

from ..errors import UserError, near_names
from ..presets.values import checked

Options = TypeVar("Options")

_BOX = "│╭╮╰╯─|+-= "
_PLAINER = (
    (r"Error parsing (\S+?): ", r"\1: "),
    (r"invalid literal for int\(\) with base 10: ", "wanted a whole number, got "),
    (r"no type matching .+? could be instantiated from \['(.*)'\]", r"wanted a number, got '\1'"),
    (r"Could not find valid parse for arguments: \[(.+)\]", r"wanted numbers, got \1"),
    (r"could not convert string to float: ", "wanted a number, got "),
    (r"invalid choice (.+?) for argument '(.+?)'\. Expected one of \((.*)\)\.", r"\2: got \1, wanted one of \3"),
    (r"Missing from (.+?): (\S+).*", r"\2 is missing"),
    (r"Missing value for argument '(\S+?)'\. Expected 1 values\.", r"\1 needs a value"),
)


def parse(kind: type[Options], argv: list[str], *, command: str, help: str, default: Any = None) -> Options:
    """An instance of the dataclass `kind` from the arguments of `command`.

    `--help` prints the options and raises SystemExit(0). Raises UserError, with the nearest names, for what is
    unknown, missing or of the wrong type.
    """
    import tyro

    prog = f"forethought {command}"
    if {"-h", "--help"} & set(argv):
        _unbreak(kind)
    _refuse_empty(argv, prog)
    complaint = io.StringIO()
    extra = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            options, unknown = tyro.cli(
                kind, prog=prog, description=help, args=argv, return_unknown_args=True, use_underscores=False, **extra
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{_one_line(complaint.getvalue())}; see {prog} --help") from None
    if unknown:
        raise UserError(_unknown(unknown, kind, prog))
    return checked(options)


def _unbreak(kind: Any) -> None:
    """Gives tyro each field's text as one line: it would break it where ours is broken, amid a sentence."""
    import docstring_parser

    texts = {p.arg_name: p.description for p in docstring_parser.parse_from_object(kind).params if p.description}
    for field in dataclasses.fields(kind):
        if field.name in texts:
            field.metadata = types.MappingProxyType({**field.metadata, "help": " ".join(texts[field.name].split())})
    for hint in typing.get_type_hints(kind).values():
        if dataclasses.is_dataclass(hint):
            _unbreak(hint)


def _refuse_empty(argv: list[str], prog: str) -> None:
    """Raises UserError for an empty word, which as a path would mean the current folder."""
    before = "an argument"
    for word in argv:
        name, equals, value = word.partition("=")
        if not word.strip() or (name.startswith("--") and equals and not value.strip()):
            raise UserError(f"{name if equals else before} is empty; give a value, or leave it out; see {prog} --help")
        before = name if name.startswith("--") else "an argument"


def flat(name: str, parts: dict[str, tuple[type, Any]]) -> tuple[type, Any]:
    """One dataclass of several configs whose options carry no prefix, and its default."""
    import tyro

    fields = [(field, Annotated[part, tyro.conf.arg(name="")]) for field, (part, _) in parts.items()]
    kind = dataclasses.make_dataclass(name, fields)
    return kind, kind(**{field: value for field, (_, value) in parts.items()})


def option_names(kind: type, prefix: str = "") -> list[str]:
    """Long options of a config, as `parse` takes them; positional arguments are left out."""
    import tyro

    positional, single = (
        typing.get_args(mark[bool])[1] for mark in (tyro.conf.Positional, tyro.conf.FlagCreatePairsOff)
    )
    names = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        notes = getattr(hint, "__metadata__", ())
        bare = typing.get_args(hint)[0] if notes else hint
        renamed = [note.name for note in notes if getattr(note, "name", None) is not None]
        if positional in notes:
            continue
        own = renamed[0] if renamed else name.replace("_", "-")
        path = f"{prefix}{own}"
        if dataclasses.is_dataclass(bare):
            names += option_names(typing.cast(type, bare), f"{path}." if path else "")
        elif bare is bool and single not in notes:
            stem, _, leaf = path.rpartition(".")
            names += [f"--{path}", f"--{stem}.no-{leaf}" if stem else f"--no-{leaf}"]
        else:
            names.append(f"--{path}")
    return names


def _unknown(words: list[str], kind: type, prog: str) -> str:
    """What to say about words that no option takes."""
    for word in words:
        if word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            name = word.partition("=")[0]
            known = {option.lstrip("-"): option for option in option_names(kind)}
            close = near_names(name.lstrip("-").replace("_", "-"), list(known))
            hint = f"did you mean {' or '.join(known[c] for c in close)}?" if close else f"see {prog} --help"
            return f"unknown option {name}; {hint}"
    return f"unexpected argument {words[0]!r}; see {prog} --help"


def _one_line(box: str) -> str:
    """The message in tyro's box, up to its first rule."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()
    said: list[str] = []
    for line in lines[1:]:  # the first holds the title
        text = line.strip("│| ")
        if text.strip(_BOX):
            said.append(text)
        elif said:
            break
    message = " ".join(said)
    for pattern, plainer in _PLAINER:
        message = re.sub(pattern, plainer, message)
    return message.rstrip(".")
