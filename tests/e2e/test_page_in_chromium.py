"""The verifier page in a real browser, opened from a file, with files chosen and dropped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.services import require_service
from tests.unit.receipt_support import PLACE, fork_proofs, store, verifying_keys
from tests.unit.test_verifiers import RECEIPTS
from tests.unit.verifier_support import good, logged
from zkai.cli import main

pytestmark = pytest.mark.node
DRIVER = Path(__file__).resolve().parent.parent / "web" / "browser.mjs"
FORGERIES = ("ML-DSA stripped", "algorithms swapped", "a key twice in the payload", "stray bits")
PROBES = {
    "eval": "require-trusted-types-for", "fetch": "connect-src", "image": "img-src",
    "html": "require-trusted-types-for", "script": "require-trusted-types-for",
}  # fmt: skip
"""What is tried in the page, and the directive of its policy that stops it."""
PLACE_FIELDS = {"chain": str(PLACE.chain_id), "ledger": "0x" + PLACE.ledger.hex(),
                "recipient": PLACE.recipient.hex()[24:]}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every file by name: the page as the command writes it, what is good, what is forged."""
    folder = tmp_path_factory.mktemp("page")
    case, key = good(), verifying_keys()["training_step/1"]
    content = {
        "receipt": case.receipt, "proof": case.proof, "inclusion": case.inclusion,
        "trust": json.dumps(store().to_json()).encode(),
        "policy": json.dumps(logged()[1].to_json()).encode(),
        "key": key.file_bytes(), "other proof": fork_proofs()[2].file_bytes(),
        "junk": b"\x00\xff",
    }  # fmt: skip
    content |= {name: RECEIPTS[name][0]() for name in FORGERIES}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    assert main(["receipt", "page", "-o", str(folder / "verify.html")]) == 0
    return {path.name: str(path) for path in folder.iterdir()}


def scenes(files: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What is done in the page, by name."""
    given = [files[n] for n in ("receipt", "proof", "inclusion")]
    trusted = [files[n] for n in ("trust", "policy", "key")]
    found: dict[str, dict[str, Any]] = {
        "all": {"given": given, "trusted": trusted, "fields": PLACE_FIELDS},
        "dropped": {"dropped": given, "trusted": trusted},
        "signed only": {"given": given[:1], "trusted": trusted[:1]},
        "another chain": {"given": given, "trusted": trusted, "fields": {"chain": "8"}},
        "production": {"given": given, "trusted": trusted, "fields": {"production": True}},
        "another proof": {"given": [given[0], files["other proof"]], "trusted": trusted},
        "their trust store": {"given": [given[0], files["trust"]], "trusted": []},
        "junk": {"given": [given[0], files["junk"]], "trusted": trusted[:1]},
        "nothing": {},
    }
    for name in FORGERIES:
        found[name] = {"given": [files[name], files["proof"]], "trusted": trusted}
    return found


@pytest.fixture(scope="module")
def seen(files: dict[str, str], node_modules: Path) -> dict[str, dict[str, Any]]:
    """What Chromium showed, by scene; the probes under "probes"."""
    chromium = require_service("Chromium (apt-get install chromium)", shutil.which("chromium"))
    wanted = scenes(files)
    request = {"chromium": str(chromium), "page": files["verify.html"],
               "scenes": list(wanted.values()), "probes": list(PROBES)}  # fmt: skip
    done = subprocess.run(
        ["node", str(DRIVER)], input=json.dumps(request), capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return dict(zip(wanted, answers["scenes"], strict=True)) | {"probes": answers["probes"]}


def test_a_valid_receipt_is_accepted(seen: dict[str, Any]) -> None:
    for name in ("all", "dropped"):
        assert seen[name]["heading"] == "Accepted: proven (development key)", seen[name]
        assert seen[name]["verdict"] == "accepted"
        assert seen[name]["focused"] == "verdict"
    states = {row[0]: row[1] for row in seen["all"]["rows"]}
    assert states["It was in the log"] == states["The proof holds"] == "passed"
    assert states["It is for this place"] == "passed"
    assert states["The key comes from a ceremony"] == "not checked"
    assert "valid as of checkpoint 4" in str(seen["all"]["rows"])
    assert "Zürich" in seen["all"]["said"]


def test_without_a_proof_it_is_signed_only(seen: dict[str, Any]) -> None:
    assert seen["signed only"]["heading"] == "Accepted: signed only"
    states = {row[0]: row[1] for row in seen["signed only"]["rows"]}
    assert [name for name, state in states.items() if state == "passed"] == [
        "The receipt is well formed", "It is signed by those whom you trust",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scene", "reason"),
    [(name, RECEIPTS[name][1]) for name in FORGERIES]
    + [("another chain", "another chain"), ("another proof", "a different proof"),
       ("production", "development key"), ("their trust store", "no trust store"),
       ("nothing", "no receipt")],
)  # fmt: skip
def test_forgeries_are_refused(seen: dict[str, Any], scene: str, reason: str) -> None:

    found = seen[scene]
    assert (found["verdict"], found["heading"]) == ("refused", "Refused")
    assert re.search(reason, found["reason"]), found["reason"]
    assert found["said"] == ""


def test_files_are_told_apart_and_strange_ones_left_out(seen: dict[str, Any]) -> None:
    assert "trust: not used; a trust store belongs to what you trust" in str(
        seen["their trust store"]["lists"]
    )
    assert "junk: not used" in str(seen["junk"]["lists"])
    assert seen["junk"]["verdict"] == "accepted"


def test_the_page_asks_for_nothing_and_logs_nothing(seen: dict[str, Any]) -> None:
    for name in scenes_of(seen):
        found = seen[name]
        assert len(found["requests"]) == 1, found["requests"]
        assert found["requests"][0].startswith("file://")
        assert found["errors"] == []


def scenes_of(seen: dict[str, Any]) -> list[str]:
    """Every scene's name."""
    return [name for name in seen if name != "probes"]


@pytest.mark.parametrize("probe", PROBES)
def test_its_policy_stops_scripts_and_requests(seen: dict[str, Any], probe: str) -> None:
    found = seen["probes"][probe]
    assert found["ran"] is False, found
    assert PROBES[probe] in found["blocked"], found
