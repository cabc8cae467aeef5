"""Pieces of a self-contained HTML page: inline style, escaped text, embedded pictures, no script."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from ..errors import UserError
from ..storage.files import read_own

_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".gif": "image/gif", ".mp4": "video/mp4"}
DOTS = 1.5  # of a figure on one of the page, so that the text of all figures has one size
_LARGEST = 32 * 2**20  # bytes of one embedded file; browsers struggle with longer data URIs


def text(value: object) -> str:
    """`value` as text that is safe between tags and in quoted attributes."""
    return escape(str(value), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document. Its content policy forbids scripts and all requests, whatever is in it."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>{text(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<main>
{chr(10).join(body)}
</main>
</body>
</html>
"""


def section(title: str, *parts: str) -> str:
    """A headed part of the page; `parts` are HTML."""
    return f"<section>\n<h2>{text(title)}</h2>\n{chr(10).join(part for part in parts if part)}\n</section>"


def sentence(value: str, kind: str = "") -> str:
    """One paragraph of plain text; `kind` is a style: "quiet", "verdict" or none."""
    return f'<p class="{text(kind)}">{text(value)}</p>'


def card(label: str, value: str, detail: str = "") -> str:
    """A key figure: small label, large value, and a line that says what it rests on."""
    below = f'<div class="detail">{text(detail)}</div>' if detail else ""
    return (
        f'<div class="card"><div class="label">{text(label)}</div><div class="value">{text(value)}</div>{below}</div>'
    )


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """A table that scrolls sideways on a narrow screen; cells are plain text."""
    top = f"<thead><tr>{''.join(f'<th>{text(h)}</th>' for h in head)}</tr></thead>" if head else ""
    lines = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = "figures" if head else "pairs"
    return f'<div class="scroll"><table class="{kind}">{top}<tbody>{lines}</tbody></table></div>'


def finding(severity: str, name: str, sentence_: str, remedy: str) -> str:
    """Something that was found, in the colour of its severity ("error", "warning" or "note"), and its remedy."""
    cure = f'<div class="detail">Remedy: {text(remedy)}</div>' if remedy else ""
    head = f'<span class="mark">{text(severity)}</span> <strong>{text(name)}</strong>'
    return f'<div class="finding {text(severity)}">{head}<div>{text(sentence_)}</div>{cure}</div>'


def folded(label: str, body: str, *, unfolded: bool) -> str:
    """A part that the reader can fold; `body` is HTML."""
    return f"<details{' open' if unfolded else ''}><summary>{text(label)}</summary>{body}</details>"


def commands(lines: Iterable[tuple[str, str]]) -> str:
    """Pairs of what a command does and the command itself."""
    rows = "".join(f"<dt>{text(what)}</dt><dd><code>{text(line)}</code></dd>" for what, line in lines)
    return f'<dl class="commands">{rows}</dl>'


def picture(title: str, path: Path) -> str:
    """An embedded figure, or a sentence that says why there is none."""
    uri = _data_uri(path)
    if not uri.startswith("data:"):
        return sentence(f"{title}: {uri}", "quiet")
    wide = _width(path)
    size = "" if wide is None else f' style="max-width: {round(wide / DOTS)}px"'
    return f'<figure><img src="{uri}" alt="{text(title)}"{size}></figure>'


def _width(path: Path) -> int | None:
    """Pixels that a .png is wide, as its header says; None for other files."""
    with path.open("rb") as file:
        head = file.read(24)
    return int.from_bytes(head[16:20], "big") if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 24 else None


def still(title: str, path: Path) -> str:
    """An embedded picture in its own colours, which scrolls sideways where it is wide, or why there is none."""
    uri = _data_uri(path)
    if not uri.startswith("data:"):
        return sentence(f"{title}: {uri}", "quiet")
    return f'<div class="scroll"><img class="still" src="{uri}" alt="{text(title)}"></div>'


def video(path: Path) -> str:
    """An embedded player (or moving picture, for a GIF), or a sentence that says why there is none."""
    uri = _data_uri(path)
    if not uri.startswith("data:"):
        return sentence(uri, "quiet")
    if uri.startswith("data:video/"):
        return f'<video controls loop muted playsinline preload="auto" src="{uri}"></video>'
    return f'<img class="film" src="{uri}" alt="video of one episode">'


def _data_uri(path: Path) -> str:
    """The file as a data URI, or a sentence about what is wrong with it."""
    kind = _TYPES.get(path.suffix.lower())
    if kind is None:
        return f"{path} cannot be shown here; use one of {', '.join(_TYPES)}."
    try:
        size = path.lstat().st_size
        if size > _LARGEST:
            return f"{path} is {size / 2**20:.0f} MB, too large to embed; open the file itself."
        return f"data:{kind};base64,{base64.b64encode(read_own(path)).decode('ascii')}"
    except UserError as error:
        return f"{error}."
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})."


_CSS = """
:root { --ground: #f6f7f9; --sheet: #ffffff; --ink: #1c2127; --muted: #5b6570; --rule: #e3e7ec;
  --accent: #0b63a8; --soft: #eaf2f9; --good: #1a7f4b; --warn: #9a6200; --bad: #b3261e; --code: #f1f3f6; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1215; --sheet: #171b20; --ink: #e7ebf0;
  --muted: #98a3af; --rule: #2a3038; --accent: #6cb6ee; --soft: #17293a; --good: #5ccb92; --warn: #e0b050;
  --bad: #f2857d; --code: #1f252c; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 64px; }
header { margin-bottom: 28px; }
h1 { margin: 0 0 6px; font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h1 .on { color: var(--muted); font-weight: 400; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; color: var(--muted);
  font-size: 14.5px; }
.status { padding: 1px 11px; border-radius: 99px; font-size: 13.5px; font-weight: 600;
  border: 1px solid currentColor; color: var(--muted); }
.status.finished { color: var(--good); } .status.running { color: var(--accent); }
.status.interrupted { color: var(--warn); } .status.failed { color: var(--bad); }
h2 { margin: 0 0 14px; font-size: 18px; font-weight: 650; }
h3 { margin: 20px 0 8px; font-size: 14px; font-weight: 600; color: var(--muted); }
section { background: var(--sheet); border: 1px solid var(--rule); border-radius: 12px; padding: 22px 24px;
  margin: 0 0 18px; }
p { margin: 0 0 12px; overflow-wrap: anywhere; } p:last-child { margin-bottom: 0; }
p.quiet { color: var(--muted); }
p.verdict { background: var(--soft); border-left: 3px solid var(--accent); border-radius: 0 8px 8px 0;
  padding: 11px 15px; }
.finding { border-left: 3px solid var(--muted); padding: 4px 0 4px 14px; margin: 0 0 14px; overflow-wrap: anywhere; }
.finding:last-child { margin-bottom: 0; } .finding .mark { color: var(--muted); font-size: 13.5px; font-weight: 600; }
.finding.error { border-color: var(--bad); } .finding.error .mark { color: var(--bad); }
.finding.warning { border-color: var(--warn); } .finding.warning .mark { color: var(--warn); }
p.message { margin: 14px 0 0; padding: 10px 14px; border-radius: 8px; background: var(--sheet);
  border: 1px solid var(--rule); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 12px;
  margin-bottom: 18px; }
.card { background: var(--sheet); border: 1px solid var(--rule); border-radius: 12px; padding: 14px 16px; }
.label { color: var(--muted); font-size: 13px; }
.value { font-size: 25px; line-height: 1.3; font-weight: 650; letter-spacing: -0.01em;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.detail { color: var(--muted); font-size: 13px; line-height: 1.4; margin-top: 2px; overflow-wrap: anywhere; }
figure { margin: 0 0 16px; overflow-x: auto; } figure:last-child { margin-bottom: 0; }
figure img { display: block; width: 100%; max-width: 860px; margin: 0 auto; height: auto;
  mix-blend-mode: multiply; }
@media (prefers-color-scheme: dark) { figure img { filter: invert(1) hue-rotate(180deg);
  mix-blend-mode: screen; } }
video, img.film { display: block; width: 100%; max-width: 640px; max-height: 520px; margin: 0 auto;
  border-radius: 8px; background: #000; object-fit: contain; }
img.still { display: block; max-width: none; margin: 0 0 16px; border-radius: 8px; background: #fff; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--muted); font-weight: 600; font-size: 13px; white-space: nowrap; }
th, td { padding: 7px 18px 7px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
table.figures { width: 100%; } table.figures td { white-space: nowrap; }
table.figures th:not(:first-child), table.figures td:not(:first-child) { text-align: right; }
table.figures th:last-child, table.figures td:last-child { padding-right: 0; }
table.pairs { width: 100%; } table.pairs td:first-child { color: var(--muted); width: 34%; min-width: 130px; }
table.pairs td { overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 0 40px; }
.columns h3:first-child { margin-top: 0; }
details summary { cursor: pointer; color: var(--accent); font-size: 14.5px; }
details[open] summary { margin-bottom: 8px; }
.commands { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 8px 20px; margin: 0; }
.commands dt { color: var(--muted); font-size: 14.5px; padding-top: 4px; } .commands dd { margin: 0; }
code { display: block; font: 13.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: var(--code); border-radius: 6px; padding: 5px 10px; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 20px; } li { margin: 3px 0; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: 13px; text-align: center; margin-top: 26px; }
@media (max-width: 600px) { main { padding: 24px 14px 40px; } h1 { font-size: 24px; }
  section { padding: 16px; } .value { font-size: 21px; } .cards { grid-template-columns: 1fr 1fr; gap: 10px; }
  .card { padding: 12px 13px; } .commands { grid-template-columns: minmax(0, 1fr); gap: 2px; }
  .commands dd { margin-bottom: 8px; } figure img { min-width: 440px; }
  .columns > div + div h3 { margin-top: 20px; } }
@media print { body { background: #fff; } section, .card { break-inside: avoid; } }
"""
