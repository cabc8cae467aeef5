"""The report page: complete, harmless, and whole when parts are missing."""

import base64
import dataclasses
import html.parser
import re

import numpy as np
import pytest
from PIL import Image

from forethought.diagnostics import doctor_page, page
from forethought.diagnostics.figures import save_figure
from forethought.diagnostics.heads import Heads
from forethought.diagnostics.report import last_evaluations, write_report
from forethought.errors import StorageFault

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
VOID = {"meta", "img", "br", "link", "input"}


class Page(html.parser.HTMLParser):
    """The tags with their attributes and the visible text; fails on tags that do not nest."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def evaluation(seed, returns, env_steps=2000, final=True):
    return {
        "kind": "eval",
        "seed": seed,
        "env_steps": env_steps,
        "wall_s": 83.0,
        "returns": returns,
        "lengths": [200] * len(returns),
        "mean_return": float(np.mean(returns)),
        "final": final,
    }


RECORD = {
    "format": 1,
    "status": "finished",
    "agent": "pets",
    "env": "pets-cartpole",
    "preset": "cartpole",
    "seed": 3,
    "num_seeds": 1,
    "config": {"planner": {"horizon": 25, "elites": None}, "random_steps": 200},
    "given": {"reward": "env", "termination": "learned"},
    "total_steps": 2000,
    "versions": {"jax": "0.10.2"},
    "hardware": {"cores": 2},
    "created": "2026-11-21T06:10:22+00:00",
    "command": ["forethought", "train", "pets", "my env"],
    "message": "",
}


def write(tmp_path, record=RECORD, rows=(), figures=None, **more):
    path = write_report(tmp_path / "report.html", record=record, rows=list(rows), figures=figures or {}, **more)
    return Page(path.read_text(encoding="utf-8"))


def test_page_holds_what_the_run_did(tmp_path):
    update = {"kind": "update", "seed": 3, "env_steps": 2000, "wall_s": 80.0, "model/loss": -1.25}
    event = {"kind": "event", "seed": 3, "env_steps": 1230, "wall_s": 61.0, "message": "resumed"}
    page = write(
        tmp_path,
        rows=[evaluation(3, [170.0, 180.0]), update, event],
        summary={"oracle_return": 180.0, "planner calls": 1234567},
        verdict="One-step error is 0.04.",
        notes=["evaluates 2 episodes, the card 20"],
    )
    for words in (
        "pets on pets-cartpole",
        "finished",
        "2026-11-21 06:10 UTC",
        "175.0 ± 7.1",
        "standard deviation of 2 episodes",
        "97 % of it",
        "1 min 23 s",
        "-1.25",
        "1,234,567",
        "One-step error is 0.04.",
        "planner.horizon 25",
        "planner.elites none",
        "given: the environment's own function",
        "learned from data",
        "jax 0.10.2",
        "cores 2",
        "forethought evaluate",
        "forethought train pets 'my env'",
        "evaluates 2 episodes, the card 20",
        "Step 1,230, after 1 min 01 s: resumed",
    ):
        assert words in page.text


def test_a_run_with_parts_that_have_no_name_is_gone_on_with_from_python(tmp_path):
    page = write(tmp_path, {**RECORD, "own": ["env", "reward"], "status": "interrupted"})
    for call in (".evaluate()", ".video()", ".doctor()", ".export()"):
        assert f", env=env, reward=reward){call}" in page.text
    assert "forethought.resume('" in page.text and "forethought evaluate" not in page.text


def test_several_seeds_are_summed_up_with_an_interval_over_seeds(tmp_path):
    rows = [evaluation(s, [100.0 + s, 102.0 + s]) for s in range(8)]
    page = write(tmp_path, {**RECORD, "seed": 0, "num_seeds": 8}, rows)
    assert "interquartile mean of 8 seeds" in page.text and "104.5" in page.text
    assert "16 episodes" in page.text and "seeds 0 to 7" in page.text


def test_a_negative_return_is_placed_between_random_and_oracle(tmp_path):
    rows = [evaluation(3, [-200.0])]
    page = write(tmp_path, rows=rows, summary={"oracle_return": -150.0, "random_return": -1150.0})
    assert "95 % of the way from random actions" in page.text


def test_figures_and_video_are_embedded_and_nothing_is_loaded(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "v.mp4").write_bytes(b"film")
    page = write(tmp_path, figures={"Curve": tmp_path / "a.png", "Model": tmp_path / "a.png"}, video=tmp_path / "v.mp4")
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(sources) == 3 and all(source.startswith("data:") for source in sources)
    png = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    assert f"data:image/png;base64,{png}" in sources
    assert f"data:video/mp4;base64,{base64.b64encode(b'film').decode()}" in sources
    assert not any("href" in attrs for _, attrs in page.tags)
    source = (tmp_path / "report.html").read_text()
    assert "http" not in re.sub(r"http-equiv", "", source) and "@import" not in source and "url(" not in source


def test_hostile_text_anywhere_becomes_no_tag(tmp_path):
    record = {name: HOSTILE for name in RECORD}
    record["config"] = {HOSTILE: {HOSTILE: [HOSTILE]}}
    record["given"] = {HOSTILE: HOSTILE}
    record["versions"] = {HOSTILE: HOSTILE}
    event = {"kind": "event", "seed": 0, "env_steps": 1, "wall_s": HOSTILE, "message": HOSTILE}
    odd = {"kind": "eval", "seed": 0, "env_steps": 1, "returns": [HOSTILE, 1.0], "final": HOSTILE}
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    page = write(
        tmp_path,
        record,
        [event, odd, {"kind": HOSTILE, "seed": HOSTILE, "env_steps": HOSTILE}],
        {HOSTILE: tmp_path / "a.png", "gone": tmp_path / f"{HOSTILE.replace('/', '')}.png"},
        video=tmp_path / "<script>.mp4",
        summary={HOSTILE: HOSTILE},
        verdict=HOSTILE,
        notes=[HOSTILE],
    )
    assert not any(tag == "script" for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert not any(attrs.get("src") == "x" for _, attrs in page.tags)
    assert page.text.count(HOSTILE) >= 10
    assert [attrs["alt"] for tag, attrs in page.tags if tag == "img"] == [HOSTILE]


def test_the_page_forbids_scripts_and_requests_by_policy(tmp_path):
    policy = next(a["content"] for t, a in write(tmp_path).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src" not in policy


@pytest.mark.parametrize("record", [{}, {name: None for name in RECORD}])
def test_an_empty_run_gets_plain_sentences(tmp_path, record):
    page = write(tmp_path, record)
    for words in ("not evaluated yet", "No episode has finished yet", "There is no video", "No evaluation"):
        assert words in page.text


def test_a_figure_that_is_gone_is_named(tmp_path):
    page = write(tmp_path, figures={"Curve": tmp_path / "gone.png"}, video=tmp_path / "gone.mp4")
    assert "gone.png cannot be read (No such file or directory)" in page.text
    assert "gone.mp4 cannot be read" in page.text


def test_only_an_unfinished_run_is_offered_to_be_resumed(tmp_path):
    assert "forethought resume" not in write(tmp_path).text
    assert "forethought resume" in write(tmp_path, {**RECORD, "status": "interrupted"}).text


def test_a_final_evaluation_outranks_later_periodic_ones():
    rows = [evaluation(0, [1.0]), evaluation(0, [2.0], final=False), evaluation(1, [3.0], final=False)]
    found = last_evaluations(rows)
    assert (found[0]["mean_return"], found[1]["mean_return"]) == (1.0, 3.0)


def test_non_finite_returns_do_not_reach_the_mean(tmp_path):
    page = write(tmp_path, rows=[evaluation(3, [10.0, float("nan"), 12.0])])
    assert "11.00 ± 1.41" in page.text and "nan" not in page.text.lower()


def test_a_place_that_cannot_be_written_is_a_storage_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFault, match="cannot write the report"):
        write(tmp_path / "file")


def test_the_text_of_all_figures_has_one_size(tmp_path):
    for inches, pixels in ((7.2, 720), (4.5, 450)):
        path = save_figure(tmp_path / f"{pixels}.png", lambda figure: None, size=(inches, 3))
        assert f'style="max-width: {pixels}px"' in page.picture("a figure", path)
    vector = save_figure(tmp_path / "figure.svg", lambda figure: None)
    assert "max-width" not in page.picture("a figure", vector)


def test_heads_without_ends_say_nothing_of_pairs():
    nan = float("nan")
    heads = Heads(200, 0.1, 0.2, nan, 0, 0.0, 0.0, nan, ())
    assert doctor_page._heads(heads, None)[0] == page.sentence(
        "One step ahead of what was filtered, over 200 steps with 0 terminations."
    )
    seen = dataclasses.replace(heads, reward_correlation=0.9, terminations=4, told_apart=0.75)
    assert (
        "correlation of 0.9. A real end is held likelier than a step that went on in 75 % of pairs."
        in (doctor_page._heads(seen, None)[0])
    )


def test_the_report_names_random_actions_and_what_was_learned(tmp_path):
    random = {"returns": [-230.0, -212.0], "source": "episodes of random actions"}
    record = {"random": random, "outcome": "above random actions by 196 (-25.0 against -221 ± 114)"}
    figure = save_figure(tmp_path / "curve.png", lambda figure: None)
    path = write_report(tmp_path / "report.html", record=record, rows=[], figures={"Learning curve": figure})
    said = path.read_text()
    assert "Above random actions by 196 (-25.0 against -221 ± 114)." in said
    assert "-221 ± 114" in said and "mean and 95 % interval of it, 2 episodes of random actions" in said
