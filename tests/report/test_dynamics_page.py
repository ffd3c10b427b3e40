"""The page of a training, driven in a browser."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from unmask import Game, Interactions
from unmask.interactions import Snapshot, and_interaction
from unmask.lattice import coalitions, sizes
from unmask.report import build_dynamics
from unmask.run import About, Record

STEPS = (0, 2, 5, 11, 25, 60, 130, 300, 700, 1500)
PAIRS = (9.0, 6.0, 4.0, 2.0, 1.0, 0.5, 1.5, 3.0, 5.0, 8.0)
NAMES = ("left", "middle", "right")
TITLES = tuple(f"sample {i}" for i in range(6))


def terms_at(pair, sample):
    """Three players alone, and two of them together: the mean order is known in one's head."""
    lift = 1 + 0.02 * sample
    game = Game(lambda s: s.double().sum(1) + lift * pair * (s[:, 0] & s[:, 1]), NAMES)
    return and_interaction(game)


def written(folder, *, losses=True, titles=TITLES, steps=STEPS):
    record = Record.open(folder, About(titles, (NAMES,) * len(titles), (0,) * 6, "log-odds of a"))
    for step, pair in zip(steps, PAIRS, strict=False):
        train = torch.full((4,), 1 / (1 + step), dtype=torch.float64)
        gap = max(0.0, 0.1 * (step / 100 - 1))
        record.write(
            Snapshot(
                step,
                tuple(terms_at(pair, i) for i in range(len(titles))),
                train if losses else None,
                train + gap if losses else None,
            ),
            ("2 of 6 predictions are others than the class read",) if step == 5 else (),
        )
    return record


@pytest.fixture
def opened(browse, tmp_path):
    def open_page(record, width=1280, **options):
        return browse(build_dynamics(record.path, tmp_path / "page.html", **options), width)

    return open_page


def test_the_switch_is_told_with_its_neighbours(opened, tmp_path):
    page = opened(written(tmp_path / "run"))
    said = re.search(r"second phase began at about step (\d+)", page.inner_text("h2"))
    assert 25 < int(said[1]) < 130  # the lowest course is that of step 60
    sides = re.search(r"checkpoints at steps (\d+) and (\d+) on either", page.inner_text(".lead"))
    assert int(sides[1]) < int(said[1]) < int(sides[2])
    assert {int(sides[1]), int(sides[2])} <= set(STEPS)


def test_the_slider_goes_through_the_steps(opened, tmp_path):
    page = opened(written(tmp_path / "run"))
    slider = page.locator("input[type=range]")
    # At step s: three singles of 1 and a pair of p make a mean order of (3 + 2 p) / (3 + p).
    for at, pair in ((0, 9.0), (5, 0.5)):
        slider.fill(str(at))
        expected = (
            sum((3 + 2 * pair * (1 + 0.02 * i)) / (3 + pair * (1 + 0.02 * i)) for i in range(6)) / 6
        )
        said = page.inner_text("output.kept")
        assert said.startswith(f"Step {STEPS[at]}: mean order")
        assert float(re.search(r"order ([\d.]+)", said)[1]) == pytest.approx(expected, abs=1e-3)
    slider.press("ArrowRight")
    assert page.inner_text("output.kept").startswith("Step 130")
    slider.fill("2")
    assert "2 of 6 predictions are others" in page.inner_text(".through .remark")


def test_a_press_on_a_drawing_goes_to_the_nearest_step(opened, tmp_path):
    page = opened(written(tmp_path / "run"))
    box = page.locator(".course").first.bounding_box()
    page.mouse.click(box["x"] + 47, box["y"] + 60)
    assert page.inner_text("output.kept").startswith("Step 0")


def test_what_is_gained_and_lost_is_that_between_the_two_steps(opened, tmp_path):
    page = opened(written(tmp_path / "run"))
    page.locator("input[type=range]").fill("9")
    page.select_option("select[aria-label='Compare with']", label="step 60")
    gained = page.locator(".moves").first.locator(".move")
    assert gained.count() == 1
    text = gained.first.inner_text()
    assert "left" in text
    assert "middle" in text
    # 0.5 / 3.5 of the strength then, 8 / 11 now, the samples differing by a few per cent
    shares = [float(x) for x in re.findall(r"([\d.]+) %", text)]
    expected = [
        100 * sum(p * (1 + 0.02 * i) / (3 + p * (1 + 0.02 * i)) for i in range(6)) / 6
        for p in (0.5, 8)
    ]
    assert shares == pytest.approx(expected, abs=0.6)  # they are shown in whole per cent
    lost = page.locator(".moves").nth(1).locator(".move")
    assert lost.count() == 3
    page.select_option("select[aria-label='Sample']", label="sample 3")
    assert "+" in page.locator(".moves").first.inner_text()


@pytest.mark.parametrize("width", [380, 1280])
def test_nothing_is_wider_than_the_window(opened, tmp_path, width):
    page = opened(written(tmp_path / "run"), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_of_the_user_are_no_markup(opened, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    record = written(tmp_path / "run", titles=(evil, *TITLES[1:]))
    record.skip(9000, evil)
    page = opened(record, title=evil)
    assert page.inner_text("h1") == evil
    assert evil in page.inner_text("footer")
    assert page.locator("img").count() == 0


def test_few_checkpoints_tell_no_phase_but_are_shown(opened, tmp_path):
    page = opened(written(tmp_path / "run", losses=False, steps=STEPS[:2]))
    assert page.inner_text("h2") == "No phase can be told."
    assert page.locator("h4", has_text="Loss").count() == 0
    assert page.inner_text("output.kept").startswith("Step 2")


def test_a_record_of_nothing_is_refused(tmp_path):
    record = Record.open(tmp_path / "run", About(TITLES, (NAMES,) * 6, (0,) * 6, "log-odds"))
    record.skip(0, "the network had diverged")
    with pytest.raises(ValueError, match=r"no step that terms were found for, 1 that were skipped"):
        build_dynamics(tmp_path / "run", tmp_path / "page.html")


def test_samples_with_players_of_their_own_have_no_common_terms(tmp_path):
    titles, names = ("one", "other"), (("a", "b", "c"), ("d", "e", "f"))
    record = Record.open(tmp_path / "run", About(titles, names, (0, 0), "log-odds"))
    terms = [replace(terms_at(2.0, i), names=names[i]) for i in range(2)]
    record.write(Snapshot(0, tuple(terms)))
    page = build_dynamics(tmp_path / "run", tmp_path / "page.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [group["title"] for group in data["groups"]] == ["one", "other"]
    assert data["groups"][1]["names"] == ["d", "e", "f"]


def test_what_the_drawings_show_is_also_said(opened, tmp_path):
    page = opened(written(tmp_path / "run"))
    slider = page.locator("input[type=range]")
    slider.fill("0")
    assert page.inner_text(".profile h3") == "Orders at step 0"
    said = page.get_attribute(".profile .drawing", "aria-label")
    # a pair of 9 beside three singles, the samples differing by a few per cent
    assert said.startswith("Orders at step 0: order 1: 24 % up, 0 % down; order 2: 76 % up")
    slider.focus()
    page.keyboard.press("End")
    assert page.get_attribute("input[type=range]", "aria-valuetext") == "step 1,500"
    assert page.inner_text(".profile h3") == "Orders at step 1,500"


def test_on_paper_it_is_said_what_is_compared(opened, tmp_path):
    page = opened(written(tmp_path / "run"))
    assert not page.is_visible(".between")
    page.select_option("select[aria-label='Compare with']", label="step 60")
    page.emulate_media(media="print")
    assert page.inner_text(".between") == "Of all samples, from step 60 to step 1,500."
    assert not page.is_visible("select[aria-label='Sample']")


def test_the_last_step_is_told_where_there_is_little_room(opened, tmp_path):
    page = opened(written(tmp_path / "run"), width=380)
    labels = page.locator(".course").first.locator("text[text-anchor=middle]")
    assert labels.last.text_content() == "1,500"
    boxes = [labels.nth(i).bounding_box() for i in range(labels.count())]
    assert len(boxes) >= 4
    for one, other in pairwise(boxes):
        assert one["x"] + one["width"] <= other["x"]
    assert boxes[-1]["x"] + boxes[-1]["width"] <= 380


def test_terms_that_grew_are_kept_beside_those_that_shrank(tmp_path):
    """Of a hundred terms that shrink much and a few that grow a little, both are told."""
    names = tuple("abcdefgh")
    record = Record.open(tmp_path / "run", About(("one",) * 60, (names,) * 60, (0,) * 60, "score"))
    members = coalitions(8)[1:]
    falls = torch.where(sizes(8)[1:] == 4, 10.0, 0.0)  # 70 terms
    rises = torch.where(sizes(8)[1:] == 7, 1.0, 0.0)  # 8 terms
    for step in range(60):
        effects = (falls * (60 - step) + rises * step).double()
        terms = Interactions(members, torch.zeros(255).bool(), effects, 0.0, names)
        record.write(Snapshot(step, (terms,) * 60))
    page = build_dynamics(tmp_path / "run", tmp_path / "page.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    orders = [len(term[0]) for term in data["groups"][0]["terms"]]
    assert orders.count(7) == 8
    assert orders.count(4) >= 8
    assert set(orders) == {4, 7}


def test_losses_that_cannot_be_compared_leave_the_phases(tmp_path):
    """As in a record of before they were checked."""
    record = Record.open(tmp_path / "run", About(TITLES, (NAMES,) * 6, (0,) * 6, "score"))
    for i, (step, pair) in enumerate(zip(STEPS, PAIRS, strict=True)):
        loss = torch.ones(3 + i, dtype=torch.float64)
        record.write(Snapshot(step, tuple(terms_at(pair, k) for k in range(6)), loss, loss))
    page = build_dynamics(tmp_path / "run", tmp_path / "page.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert 25 < data["phases"]["numbers"]["switch"] < 130
    assert data["losses"]["train"]["mean"] == [1.0] * 10


def test_where_no_phase_is_seen_it_is_said_how_sure_that_is(opened, tmp_path):
    record = Record.open(tmp_path / "run", About(TITLES, (NAMES,) * 6, (0,) * 6, "score"))
    for step in STEPS:  # a level course
        record.write(Snapshot(step, tuple(terms_at(2.0, i) for i in range(6))))
    page = opened(record)
    assert page.inner_text("h2") == "No two phases are seen."
    said = re.findall(r"p = ([\d.]+) if there is no (fall|rise)", page.inner_text(".lead"))
    assert [what for _, what in said] == ["fall", "rise"]
    assert all(float(p) > 0.05 for p, _ in said)
