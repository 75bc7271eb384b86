"""The page about a release: what it says, that all of it is escaped, and that it loads nothing."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from infra.git import git
from lineage.report import facts, report
from lineage.report_graph import SHOWN, Graph, Layer, Node, layout
from tests.lineage.history import History, Night, digest, landed, uri

AT = datetime(2027, 3, 1, 12, 30, tzinfo=UTC)
ONE = Night(days=(("2026-01-01", 1), ("2026-01-02", 1)))
TWO = Night(days=(("2026-01-02", 2), ("2026-01-03", 1)), code=1, numpy="2.4.1", passed=False)
VOID = {"meta", "br", "hr", "link", "img", "input"}


class Page(HTMLParser):
    """Tables by the heading above them, as rows of cell texts; and every tag and attribute."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[list[str]]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.heading = ""
        self.said = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h2", "h3"):
            self.heading = ""
        if tag == "table":
            self.tables.setdefault(self.heading, []).append([])
        if tag == "tr":
            self.tables[self.heading][-1].append([])
        if tag in ("td", "th"):
            self.tables[self.heading][-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.said += data
        if self.open and self.open[-1] in ("h2", "h3"):
            self.heading += data
        if "td" in self.open or ("th" in self.open and "tr" in self.open):
            self.tables[self.heading][-1][-1][-1] += data

    @property
    def text(self) -> str:
        """All that is to be read, blanks collapsed."""
        return " ".join(self.said.split())

    def table(self, heading: str, at: int = 0) -> list[list[str]]:
        """Rows below the head, blanks collapsed."""
        return [[" ".join(cell.split()) for cell in row] for row in self.tables[heading][at][1:]]


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Night 1 goes live; night 2 is refused, overridden, and rolled back from."""
    history = History(tmp_path)
    first, second = history.night(ONE), history.night(TWO)
    history.enter("override", second.release)
    history.enter("rollback", first.release)
    return history


def page_of(history: History, night: int, repository: Path | None = None) -> Page:
    release = history.runs[night].release
    return Page(report(release, books=history.books, repository=repository or history.root, at=AT))


def test_facts_of_a_live_release(history: History) -> None:
    page, run = page_of(history, 0), history.runs[0]
    assert f"movielens: release {run.release[:12]} live" in page.text
    for known in (run.release, run.commit, run.code, run.snapshot, run.run, "Written 2027-03-01 12:30 UTC"):
        assert known in page.text
    assert "override" not in page.text
    assert page.table("Verdict") == [["primary", "✓", "0.125", "0.1", "0", "a > b & c"]]
    assert page.table("Slices") == [["all viewers", "9", "0.125", "0.5"], ["activity=low", "4", "0.5", "0.25"]]
    assert "Of all lists together: coverage@10 0.75." in page.text
    assert page.table("Validation") == [["events", "5", "6", "2"]]
    assert page.table("Faults in quarantine") == [["events: rating is NaN or infinite", "2"]]
    assert page.table("Checks of the data set") == [["schema", "✓", "0", "at most 0", "columns are right"]]
    assert page.table("Stages") == [
        ["prepare", "data/prepared", "bb.dir"],
        ["validate", "data/accepted", "aa.dir"],
    ]
    assert page.table("Snapshot") == [["data/accepted/events.parquet", "6", "3", digest(str(ONE))]]
    assert "No other release was live before it." in page.text


def test_ledger_and_signatures(history: History) -> None:
    page = page_of(history, 0)
    key = history.books.trust.described(history.books.signer.keyid)
    assert page.table("Signatures") == [
        [what, "✓", key] for what in ("attestation", "ledger entry 1", "ledger entry 3")
    ]
    ledger = page.table("Ledger")
    assert [row[:2] for row in ledger] == [["1", "release"], ["3", "rollback"]]
    assert ledger[0][3].endswith("(entry 2)")
    assert ledger[1][3:] == ["live now", "ada", "so"]


def test_a_signature_that_does_not_hold_is_said(history: History) -> None:
    (history.root / "store/attestations" / f"{history.runs[0].release}.json").unlink()
    (what, mark, fault), *others = page_of(history, 0).table("Signatures")
    assert (what, mark, fault) == ("attestation", "✗", f"Release {history.runs[0].release[:12]} has no attestation.")
    assert [row[1] for row in others] == ["✓", "✓"]


def test_sources_stand_beside_what_landed_of_them(history: History) -> None:
    page = page_of(history, 0)
    parts = [landed(day, version) for day, version in ONE.days]
    assert page.table("Landed files and their sources") == [
        ["events", part.sha256, "9", "3", part.days[0], f"{part.days[0]} 02:00"] for part in parts
    ]
    origins = [part.origins[0] for part in parts]
    assert page.table("Landed files and their sources", 1) == [
        [origin.uri, "7", origin.sha256, str(origin.etag)] for origin in origins
    ]


def test_what_changed_since_the_release_before(history: History) -> None:
    page = page_of(history, 1)
    assert f"Compared with release {history.runs[0].release[:12]}." in page.text
    added = [landed(day, version) for day, version in TWO.days]
    removed = [landed(day, version) for day, version in ONE.days]
    assert page.table("Data") == [
        [word, "events", part.sha256[:12], "3", part.days[0]]
        for word, parts in (("new", added), ("gone", removed))
        for part in parts
    ]
    for said in ("Days new: 2026-01-03", "Days gone: 2026-01-01", "Days from another file: 2026-01-02"):
        assert said in page.text
    assert page.table("Parameters") == [["train.ease.l2", "100", "101"]]
    assert page.table("Packages") == [["NumPy", "2.4.0", "2.4.1"]]
    assert page.table("Metrics") == [
        ["coverage@10", "0.75", "0.75"],
        ["hit@10", "0.5", "0.5"],
        ["ndcg@10", "0.125", "1.125"],
        ["ndcg@5", "0.1", "0.1"],
    ]
    assert "does not hold both" in page.text


def test_code_is_compared_in_the_repository(tmp_path: Path) -> None:
    repository = tmp_path / "code"
    repository.mkdir()
    git("init", "-q", at=repository)
    commits = []
    for text in ("one\n", "one\ntwo\n"):
        (repository / "train.py").write_text(text)
        git("add", "-A", at=repository)
        git("commit", "-q", "-m", f"Write <i>{len(text)}</i>\tletters", at=repository)
        commits.append(git("rev-parse", "HEAD", at=repository))
    history = History(tmp_path)
    for number, commit in enumerate(commits):
        history.night(Night(days=(("2026-01-01", 1),), videos=(number,), commit=commit))
    page = page_of(history, 1, repository)
    assert page.tables["Code"][0][1:] == [[commits[1][:12], "Write <i>8</i>\tletters"]]
    assert page.table("Code", 1) == [["train.py", "1", "0"]]


def test_an_override_is_shown_as_one_and_lapses(history: History) -> None:
    page = page_of(history, 1)
    assert "Ledger entry 2 is an override: ada made this release live on" in page.text
    assert "It lapsed on 2026-12-31. The reason given: so" in page.text
    assert page.table("Ledger")[0][1] == "override, lapsed 2026-12-31"
    early = report(history.runs[1].release, books=history.books, repository=history.root, at=AT.replace(year=2026))
    assert "It expires on 2026-12-31." in Page(early).text
    assert page.table("Verdict")[0][1] == "✗"


def test_of_a_retired_release_the_books_are_left(history: History) -> None:
    history.erase(1)
    page = page_of(history, 1)
    assert f"Release {history.runs[1].release[:12]} was retired, because it held the data of a viewer" in page.text
    assert "Its files are gone, so parameters, rows and metrics cannot be compared" in page.text
    assert {"Verdict", "Slices", "Snapshot", "Stages"} & page.tables.keys() == set()
    assert page.table("Packages") == [["NumPy", "2.4.0", "2.4.1"]]
    assert [row[1] for row in page.table("Ledger")] == ["override, lapsed 2026-12-31"]


def test_a_release_that_was_never_live_is_held_against_what_was(tmp_path: Path) -> None:
    history = History(tmp_path)
    refused = history.night(Night(days=ONE.days, passed=False))
    page = page_of(history, 0)
    assert f"release {refused.release[:12]} never live" in page.text
    assert "It was never live." in page.text
    assert "No other release was live before it." in page.text


HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"


def test_all_that_people_write_is_escaped(tmp_path: Path) -> None:
    history = History(tmp_path)
    record = history.night(ONE)
    history.night(TWO)
    history.enter("rollback", record.release, reason=HOSTILE)
    html = report(record.release, books=history.books, repository=history.root, at=AT)
    assert "<script" not in html
    assert HOSTILE in Page(html).text


def test_the_page_loads_nothing_and_runs_nothing(history: History) -> None:
    html = report(history.runs[0].release, books=history.books, repository=history.root, at=AT)
    page = Page(html)
    assert {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, _ in page.tags
    } == set()
    names = {name for _, attributes in page.tags for name in attributes}
    assert {name for name in names if name.startswith("on") or name in ("src", "href", "srcset", "data")} == set()
    assert re.findall(r"url\((.*?)\)", html) == ["#head"] * html.count("marker-end")
    assert "@import" not in html
    assert "://" not in html
    assert (
        "meta",
        {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"},
    ) in page.tags


def test_the_graph_leads_from_the_sources_to_the_ledger(history: History) -> None:
    graph = facts(history.runs[0].release, books=history.books, repository=history.root)["graph"]
    assert isinstance(graph, Graph)
    assert [label for label, _ in graph.labels] == [
        "Sources", "Landed", "Snapshot", "Candidates", "Challenger", "Verdict", "Release", "Ledger",
    ]  # fmt: skip
    titles = [box.node.title for box in graph.boxes]
    run = history.runs[0]
    assert titles == [
        *(uri(day).rpartition("/")[2] for day, _ in ONE.days),
        *("events" for _ in ONE.days),
        run.snapshot[:12],
        *("ease", "popularity", "sasrec"),
        *("ease", "popularity"),
        "passed",
        run.release[:12],
        *("1: release", "3: rollback"),
    ]
    # 2 sources to their files, 2 files to the snapshot, 3 candidates, 2 of them on, 2 sides, 1 verdict, 2 entries
    assert len(graph.arrows) == 2 + 2 + 3 + 2 + 2 + 1 + 2
    assert all(box.x >= 0 and box.x + box.width <= graph.width for box in graph.boxes)
    kinds = {box.node.title: box.node.kind for box in graph.boxes}
    assert (kinds["passed"], kinds["sasrec"], kinds["3: rollback"]) == ("good", "dim", "good")


def test_a_layer_of_many_shows_the_newest_and_what_the_others_went_into() -> None:
    sources = tuple(Node(f"s{at}", f"day {at}", feeds=frozenset({f"f{at % 2}"})) for at in range(20))
    graph = layout(
        [Layer("Sources", sources), Layer("Landed", (Node("f0", "even"), Node("f1", "odd"), Node("f2", "new")))]
    )
    titles = [box.node.title for box in graph.boxes]
    assert titles == ["16 older", *(f"day {at}" for at in range(20 - SHOWN, 20)), "even", "odd", "new"]
    assert graph.boxes[0].node.feeds == {"f0", "f1"}
    assert len(graph.arrows) == 2 + SHOWN
    assert layout([Layer("Sources", sources), Layer("Empty", ()), Layer("Files", sources)]).labels[-1][0] == "Files"


def test_long_names_keep_their_end_and_stay_in_their_box() -> None:
    (box,) = layout([Layer("One", (Node("k", "x" * 100 + "end", ("y" * 100 + ".csv",)),))]).boxes
    title, line = box.texts
    assert (title.text[0], title.text[-3:], line.text[0], line.text[-4:]) == ("…", "end", "…", ".csv")
    assert len(title.text) < 26 < len(line.text) < 32


def test_it_looks_as_it_should_in_a_browser(history: History, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed, so nobody can look at the page")
    html = report(history.runs[1].release, books=history.books, repository=history.root, at=AT)
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    kept = Path(__file__).parents[2] / "build/report.png"
    kept.parent.mkdir(exist_ok=True)
    kept.unlink(missing_ok=True)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    target = (tmp_path / "report.html").as_uri()
    subprocess.run(
        [browser, *flags, "--window-size=1000,4600", f"--screenshot={kept}", target],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert kept.stat().st_size > 50_000
