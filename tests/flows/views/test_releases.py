"""The ledger and a release, with whole ids and whole reasons."""

from flows.views.releases import show_manifest, show_releases
from tests.flows.views.terminal import RELEASE, rows, seen

OTHER = "46ada14df3a7" + "1" * 52
ENTRY = {
    "seq": 7,
    "action": "release",
    "release": RELEASE,
    "model_version": "9",
    "at": "2026-11-22T02:00:07.258579Z",
    "by": "ada",
    "reason": "passed the gate",
    "expires": None,
}


def test_the_ledger_shows_whole_ids_and_whole_reasons() -> None:
    reason = "viewers complained about [sport] " * 4
    back = ENTRY | {"seq": 8, "action": "rollback", "release": OTHER, "reason": reason, "model_version": None}
    printed = seen(show_releases, [ENTRY, back])
    first, second, *rest = rows(printed)
    forced = rows(seen(show_releases, [ENTRY | {"action": "override", "expires": "2026-12-01"}]))
    assert " ".join([forced[0][1], *(row[1] for row in forced[1:])]).strip() == "override until 2026-12-01"
    assert first == ["7", "release", "3118b1999708", "9", "2026-11-22 02:00", "ada", "passed the gate"]
    assert second[:6] == ["8", "rollback", "46ada14df3a7", "", "2026-11-22 02:00", "ada"]
    assert " ".join([second[6], *(row[6] for row in rest)]) == reason.strip()


def test_a_release_shows_facts_parts_checks_and_when_it_was_live() -> None:
    check = {"name": "primary", "challenger": 0.0434, "champion": None, "bound": 0, "passed": False, "reason": "worse"}
    manifest = {"name": "movielens", "candidate": "ease", "as_of": "2016-10-16", "code": "c" * 40} | {
        "space": "a" * 64,
        "verdict": "b" * 64,
        "parts": {"model/weights.safetensors": {"bytes": 5_250_292, "sha256": "e" * 64}},
    }
    verdict = {"against": "popularity", "checks": [check]}
    release = {"release": RELEASE, "live": True, "entries": [ENTRY], "manifest": manifest, "verdict": verdict}
    release["signature"] = "f00 (a local key, generated on this machine)"
    printed = seen(show_manifest, release)
    assert f"release          {RELEASE}\nlive             yes\nrecommender      movielens\n" in printed
    assert rows(printed) == [
        ["model/weights.safetensors", "5,250,292", "e" * 16],
        ["primary", "0.0434", "", "0", "✗", "worse"],
        ["7", "release", "3118b1999708", "9", "2026-11-22 02:00", "ada", "passed the gate"],
    ]
    assert "popularity" in printed
