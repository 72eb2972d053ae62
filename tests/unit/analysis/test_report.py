"""The report of a small hand-written run: golden figures, a page that stands alone, faults that name their key."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_run import PREFIX, SAMPLES, solution, store_run, tree

from retrograde.analysis.chain_drawing import draw_chain
from retrograde.analysis.report import write_report
from retrograde.analysis.scores import stated_answer
from retrograde.analysis.tree_drawing import draw_tree
from retrograde.analysis.wording import arm_label, headline, lead
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.runtime.errors import InvalidInputError, NotFoundError

_VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    filled = DirectoryStore(tmp_path / "store")
    store_run(filled)
    return filled


@pytest.fixture
def report(store: DirectoryStore) -> dict:
    write_report(store, PREFIX)
    return json.loads(store.get(f"{PREFIX}/report.json"))


class Balance(HTMLParser):
    """Fails on an end tag that does not close the innermost open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def test_contract_keys_are_all_there(report: dict) -> None:
    """report.json has every key of the contract, under its exact name."""
    assert {"run_id", "recipe", "code_version", "arms", "search", "solutions", "rl", "correlation", "cost"} <= set(
        report
    )
    assert set(report["arms"]) == set(SAMPLES)
    for figures in report["arms"].values():
        wanted = {"n", "pass_at_1", "ci95", "maj_at_k", "k", "mean_tokens", "mean_backtracks", "valid_backtracks"}
        assert wanted <= set(figures["countdown"])
    cost = {"prompt_tokens", "generated_tokens", "verifier_calls", "wall_seconds", "accelerator_seconds"}
    assert set(report["cost"]["search"]) == cost


def test_golden_arms(report: dict) -> None:
    """The figures of each arm are those computed by hand from its samples."""
    astro = report["arms"]["astro_sft"]["countdown"]
    assert (astro["n"], astro["num_samples"]) == (4, 8)
    assert astro["pass_at_1"] == pytest.approx(7 / 8)
    assert (astro["mean_tokens"], astro["mean_backtracks"]) == pytest.approx((42.5, 13 / 8))
    assert astro["valid_backtracks"] == 1.0
    assert report["arms"]["base"]["countdown"]["pass_at_1"] == pytest.approx(1 / 8)
    assert report["arms"]["base"]["countdown"]["valid_backtracks"] is None
    assert report["arms"]["base"]["countdown"]["verdicts"] == {"correct": 1 / 8, "incorrect": 7 / 8}


def test_best_of_n_is_one_answer_from_all_samples(report: dict) -> None:
    """Two of four problems have one boxed claim among three samples: it wins, and all three samples' tokens count."""
    best = report["arms"]["best_of_n"]["countdown"]
    assert (best["pass_at_1"], best["any_of_n"], best["k"]) == (0.5, 0.5, 3)
    assert best["mean_tokens"] == pytest.approx(60.0)


def test_equal_tokens_row(report: dict) -> None:
    """42.5 tokens pay for two direct samples of 20; their own vote finds what any of the two found."""
    (row,) = report["equal_tokens"]
    assert (row["astro_arm"], row["direct_arm"], row["k"], row["direct_tokens"]) == ("astro_sft", "direct_sft", 2, 40.0)
    assert row["direct_best_of_k"] == pytest.approx(3 / 4)
    assert row["difference"] == pytest.approx(7 / 8 - 3 / 4)


def test_search_solutions_and_curves(report: dict) -> None:
    """Counts of trees, solutions and refusals, and RL's curves by arm."""
    assert report["search"]["problems"] == 4
    assert (report["search"]["trees"], report["search"]["solved"], report["search"]["valid"]) == (1, 1, 1)
    assert report["solutions"] == {
        "direct": 0,
        "search": 1,
        "rejected": {"duplicate": 2},
        "rewriters": {"template": 1},
    }
    assert report["rl"]["astro_rl"]["reward"] == [-0.5, 0.0, 0.25]
    assert report["rl"]["astro_rl"]["length"] == [41.0, 42.0, 43.0]
    assert report["code_version"] == "0.1.0+deadbee"


def test_correlations_are_reported_raw_and_controlled(report: dict) -> None:
    """The last astro arm's correlations, and those over training steps."""
    correlation = report["correlation"]
    assert correlation["arm"] == "astro_sft"
    assert correlation["backtracks_score"] < 0
    assert set(correlation["arms"]["astro_sft"]) >= {"partial_given_length", "within_problem"}
    assert correlation["across_steps"]["n"] == 3
    assert correlation["across_steps"]["backtracks_score"] == pytest.approx(0.9820, abs=1e-4)


def test_page_is_well_formed_and_names_every_arm(store: DirectoryStore, report: dict) -> None:
    """Every tag is closed in order, every arm is named, and tree, chain and curves are drawn."""
    page = store.get(f"{PREFIX}/report.html").decode()
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert {"svg", "polyline", "path", "circle", "table"} <= balance.seen
    for arm, figures in report["arms"].items():
        assert arm_label(arm, figures["countdown"]) in page


def test_page_stands_alone(store: DirectoryStore, report: dict) -> None:
    """Nothing on the page is fetched from anywhere: no address, script, import or frame."""
    page = store.get(f"{PREFIX}/report.html").decode()
    assert report["run_id"] in page
    assert re.findall(r"https?:|//[a-z]|<script|<link|<img|<iframe|@import|\bsrc=", page) == []


def test_page_is_the_same_each_time(store: DirectoryStore) -> None:
    """The same artifacts give the same bytes."""
    write_report(store, PREFIX)
    first = store.get(f"{PREFIX}/report.html"), store.get(f"{PREFIX}/report.json")
    write_report(store, PREFIX)
    assert (store.get(f"{PREFIX}/report.html"), store.get(f"{PREFIX}/report.json")) == first


def test_model_text_cannot_become_markup(store: DirectoryStore) -> None:
    """What a policy said is escaped wherever it is shown."""
    rows = store.get(f"{PREFIX}/evaluations/astro_sft.jsonl").decode().replace(" 21 + 7", "<script>alert(1)</script>")
    store.put(f"{PREFIX}/evaluations/astro_sft.jsonl", rows.encode())
    write_report(store, PREFIX)
    page = store.get(f"{PREFIX}/report.html").decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_unfinished_run_is_reported_as_far_as_it_went(tmp_path: Path) -> None:
    """A run that has only begun gives a report without the parts that are not there."""
    store = DirectoryStore(tmp_path / "begun")
    store_run(store)
    for prefix in ("evaluations/", "trees/", "solutions/", "jobs/"):
        for key in list(store.list(f"{PREFIX}/{prefix}")):
            store.delete(key)
    write_report(store, PREFIX)
    report = json.loads(store.get(f"{PREFIX}/report.json"))
    assert (report["arms"], report["equal_tokens"], report["search"]["trees"]) == ({}, [], 0)
    assert headline(report) == "0 of 0 searched problems were solved in their tree."


def test_no_run_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A prefix without a run is refused."""
    with pytest.raises(NotFoundError, match=r"runs/other/run\.pb"):
        write_report(DirectoryStore(tmp_path / "empty"), "runs/other")


def test_damaged_line_is_named(store: DirectoryStore) -> None:
    """An evaluation line that is no JSON is named with its object and number."""
    key = f"{PREFIX}/evaluations/base.jsonl"
    store.put(key, store.get(key) + b"{oops\n")
    with pytest.raises(InvalidInputError, match=r"evaluations/base\.jsonl: line 9 is not JSON"):
        write_report(store, PREFIX)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{28}.", "28"),
        (r"\boxed{1} no, \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("no box", ""),
        (r"\boxed{ 1 2 }", "12"),
    ],
)
def test_stated_answer_is_the_last_box(text: str, answer: str) -> None:
    """The policy's own claim, braces balanced, spaces dropped."""
    assert stated_answer(text) == answer


def test_tree_drawing_shows_walk_and_returns() -> None:
    """Every node stands there once, the path of the solution is marked, and two returns are drawn."""
    drawing = draw_tree(tree(), solution().trace)
    assert drawing.count("<circle") == 7
    assert drawing.count('class="edge walked"') == 2
    assert drawing.count('class="edge off"') == 3
    assert drawing.count('class="back"') == 2


def test_chain_drawing_tells_every_sentence() -> None:
    """A dot for each step told and one for the problem, an arrow for each return, and all the words."""
    told = solution()
    drawing = draw_chain(tree(), told)
    assert drawing.count("<circle") == 1 + sum(sentence.kind.value in ("step", "answer") for sentence in told.sentences)
    assert drawing.count('class="back"') == 2
    assert "restart our solution from the beginning" in drawing


def test_lead_tells_when_parallel_sampling_is_ahead(report: dict) -> None:
    """The row at equal tokens is told whichever way it came out."""
    row = report["equal_tokens"][0] | {"difference_ci95": [-0.3, -0.1]}
    assert "is behind a vote of 2 Direct SFT samples" in lead({"equal_tokens": [row]})
