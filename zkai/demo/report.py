"""report.html: one self-contained page that shows what the demo did."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from zkai.demo import aggregation, assurance, encrypted
from zkai.demo.comparison import FIGURES, rows
from zkai.demo.report_ledger import ledger_part
from zkai.encoding import write_atomic
from zkai.errors import ToolError

INK, GRID = "#1c2430", "#d9dee6"
COLOURS = ("#2f6fdf", "#d9722e", "#2b9a66")

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #f6f7f9; margin: 0; }
main { max-width: 1060px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 40px 0 10px; }
p { margin: 6px 0; max-width: 76ch; } .lead { color: #49566a; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 24px 0 0; }
.card, figure, .scroll { background: #fff; border: 1px solid #e1e5ec; border-radius: 10px; }
.card { padding: 12px 16px; } .card b { display: block; font-size: 23px; white-space: nowrap; }
.card span { color: #49566a; font-size: 13.5px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(310px, 1fr)); gap: 14px; }
figure { margin: 0; padding: 10px; } figure svg { width: 100%; height: auto; }
figcaption { color: #49566a; font-size: 13.5px; padding: 0 6px 4px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th, td { text-align: left; padding: 6px 12px; border-bottom: 1px solid #eceff4; }
th { color: #49566a; font-weight: 600; white-space: nowrap; }
td:first-child { min-width: 15em; } td:last-child { overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:last-child td { border-bottom: 0; } code { font-size: 13px; overflow-wrap: anywhere; }
.ok { color: #1c7c4c; font-weight: 600; } .bad { color: #b3261e; font-weight: 600; }
"""


def write(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the report of a demo's summary.

    Raises ToolError if matplotlib is not installed, InvalidInput if the file cannot be written.
    """
    example = next(p for p in summary["proofs"] if p["statement"] == "training_step")
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>zkai demo</title><style>{_STYLE}</style></head><body><main>
<h1>Private fine-tuning, every step proven</h1>
<p class="lead">{_lead(summary)}</p>
<div class="cards">{_cards(summary)}</div>
<h2>What happened</h2>
<div class="plots">{_plots(summary)}</div>
<h2>Proofs</h2>
<p>Each was verified in Python and by a Solidity contract on an embedded EVM. Check one again,
from this folder: <code>zkai verify {escape(example["file"])} --key
{escape(example["key"])}</code></p>
{_proof_table(summary["proofs"])}
<h2>Examinations</h2>
<p>An examiner committed to other samples before the training. Once each user's last state was on
the chain, a new round of the beacon drew {summary["certificates"][0]["samples"]} of them, and the
user proved one bit: whether the trained head answers at least as many of them correctly as the base
model does. How many is not shown.</p>
{_certificate_table(summary["certificates"])}
<h2>Two proof formats</h2>
<p>{_saving(summary["comparison"])}</p>
{_comparison_table(summary["comparison"])}
<h2>Trained under encryption</h2>
<p>{encrypted.sentence(summary["encrypted_training"])}</p>
<h2>Summed under encryption</h2>
<p>{aggregation.sentence(summary["aggregate"])}</p>
<h2>Sampled, and disputed</h2>
<p>{assurance.sentence(summary["assurance"])}</p>
<h2>Receipts and the ledger</h2>
<p>{_logbook(summary)}</p>
{ledger_part(summary)}
<p>Check one again, without zkai: <code>python verify_receipt.py receipts/ada-step-1.receipt
--trust trust.json --proof proofs/ada-step-1.json --inclusion receipts/ada-step-1.tlog-proof
--policy policy.json</code>, or in a browser, proof and all, with <a
href="verify.html">verify.html</a>.</p>
<h2>Forgeries</h2>
<p>Each attempt was made beside its honest twin, which was accepted.</p>
{_forgery_table(summary["tampered"]["forgeries"])}
<h2>What this shows, and what it does not</h2>
<p>Every key here is a <b>development key</b>: it was made by one party, who could forge. The code
has not been audited. The proofs bind integers: the weights, the samples that a step took, and that
the beacon drew them from the dataset that the fork's number names. They say nothing about where the
samples come from, nor about the public backbone. The beacon's rounds were drawn on this machine
after the forks had been opened; in earnest they would be a public beacon's. The accuracies are
measured here in the open; of them only the examinations' bits are proven.</p>
</main></body></html>
"""
    write_atomic(path, page.encode())


def _lead(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['users']} users fine-tuned a digit classifier's head on samples that only they"
        f" see, {summary['rounds']} steps each. Nobody else learns samples or weights; everybody"
        " can check that each step follows from the one before, on samples of a dataset that was"
        " fixed at the start, in an order that nobody chose."
    )


def _saving(comparison: Mapping[str, Any]) -> str:
    ratios = comparison["ratios"]
    return (
        "All proofs here have one commitment round (<code>groth16-commit</code>): products and"
        " ranges are checked at random points that are hashed from a commitment to the values. The"
        " same training step in plain Groth16 takes"
        f" <b>{ratios['constraints']:.1f} times</b> the constraints, a proving key"
        f" {ratios['proving_key_bytes']:.1f} times as large and {ratios['prove_s']:.1f} times as"
        " long to prove; its proof is 64 bytes shorter."
    )


def _comparison_table(comparison: Mapping[str, Any]) -> str:
    head = ("One training step", "groth16", "groth16-commit", "Ratio")
    cells = [tuple(map(escape, row)) for row in rows(comparison)]
    return _table(head, cells, numbers_from=1)


def _logbook(summary: Mapping[str, Any]) -> str:
    receipts, ledger = summary["receipts"], summary["ledger"]
    anchored = "anchored on the chain" if ledger["anchored"] else "not anchored on the chain"
    return (
        f"{receipts['signed']} receipts, one for each proof, were signed with ML-DSA-65 and"
        f" Ed25519 and logged; {receipts['verified']} were verified by zkai and by a verifier that"
        f" shares no code with it. The log has {ledger['entries']} entries, the rules and a"
        f" training block among them, and the root <code>{escape(ledger['root'])}</code>. A"
        f" witness cosigned it, and it is {anchored}; every entry was then admitted anew from its"
        " exported files. The signer, the log and the witness are all this machine."
    )


def _cards(summary: Mapping[str, Any]) -> str:
    proofs, accuracy, forged = summary["proofs"], summary["accuracy"], summary["tampered"]
    steps = [p for p in proofs if p["statement"] == "training_step"]
    cards = [
        (f"{len(proofs)}", "proofs made, verified twice each"),
        (f"{_median([p['prove_s'] for p in steps]):.2f} s", "to prove a training step (median)"),
        (f"{1000 * _median([p['verify_s'] for p in proofs]):.1f} ms", "to verify in Python"),
        (f"{_median([p['gas'] for p in steps]):,.0f}", "gas to verify a step on chain"),
        (
            f"{100 * accuracy['base']:.0f} → {100 * accuracy['personalised']:.0f} %",
            "accuracy on held-out samples",
        ),
        (f"{summary['receipts']['verified']}", "receipts signed, logged, checked again"),
        (f"{forged['rejected']} of {forged['tried']}", "forgeries refused"),
        (
            f"{summary['comparison']['ratios']['constraints']:.1f} ×",
            "fewer constraints than plain Groth16",
        ),
    ]
    return "".join(f'<div class="card"><b>{b}</b><span>{escape(s)}</span></div>' for b, s in cards)


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[~middle]) / 2


def _proof_table(proofs: Sequence[Mapping[str, Any]]) -> str:
    head = ("Proof", "Statement", "Constraints", "Prove", "Verify", "Bytes", "Gas")
    rows = [
        (
            f"<code>{escape(p['file'])}</code>",
            escape(p["statement"]),
            f"{p['constraints']:,}",
            f"{p['prove_s']:.2f} s",
            f"{1000 * p['verify_s']:.1f} ms",
            f"{p['proof_bytes']}",
            f"{p['gas']:,}",
        )
        for p in proofs
    ]
    return _table(head, rows, numbers_from=2)


def _certificate_table(certificates: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            escape(c["user"]),
            f"<code>{escape(c['proof'])}</code>",
            f"<code>{escape(c['set'])}</code>",
            '<span class="ok">certified</span>'
            if c["outcome"] == "certified"
            else escape(c["outcome"]),
        )
        for c in certificates
    ]
    return _table(("User", "Proof", "Examiner's commitment", "Outcome"), rows, numbers_from=4)


def _forgery_table(outcomes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            escape(o["name"]),
            '<span class="ok">refused</span>' if o["refused"] else '<span class="bad">NOT</span>',
            escape(o["message"]),
        )
        for o in outcomes
    ]
    return _table(("Attempt", "Outcome", "Reason given"), rows, numbers_from=3)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["" if i < numbers_from else ' class="n"' for i in range(len(cells))]
        return "".join(f"<{tag}{k}>{c}</{tag}>" for k, c in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{line(head, "th")}</tr>{body}</table></div>'


def _plots(summary: Mapping[str, Any]) -> str:
    plots = (
        (_draw_accuracy, "Each user's accuracy on their own held-out samples, by proven step."),
        (_draw_seconds, "Where the demo's time went, on this machine."),
        (_draw_gas, "Gas of a whole verifying transaction (median), by statement."),
        (_draw_ratios, "One training step: plain Groth16's figures over groth16-commit's."),
    )
    return "".join(
        f"<figure>{_svg(draw, summary, f'p{number}')}<figcaption>{escape(caption)}</figcaption>"
        "</figure>"
        for number, (draw, caption) in enumerate(plots)
    )


def _svg(draw: Callable[[Any, Mapping[str, Any]], None], summary: Any, prefix: str) -> str:
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolError("the report needs matplotlib: pip install matplotlib") from error
    style: Any = {
        "svg.fonttype": "path",
        "svg.hashsalt": prefix,
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GRID,
        "axes.axisbelow": True,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with rc_context(style):
        figure = Figure(figsize=(4.6, 3.3), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        draw(axes, summary)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Several drawings share one page: keep their ids apart.
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)


def _draw_accuracy(axes: Any, summary: Mapping[str, Any]) -> None:
    for fork, colour in zip(summary["forks"], COLOURS, strict=False):
        values = [100 * value for value in fork["accuracies"]]
        axes.plot(range(len(values)), values, "o-", color=colour, label=fork["user"], linewidth=2)
    axes.set(xlabel="proven steps", ylabel="accuracy (%)", xticks=range(summary["rounds"] + 1))
    axes.grid(axis="y", color=GRID)
    axes.legend(frameon=False)


def _draw_seconds(axes: Any, summary: Mapping[str, Any]) -> None:
    names = {"backbone": "train backbone", "setup": "make keys", "prove": "prove"}
    names["verify"] = "verify"
    values = [summary["seconds"][name] for name in names]
    bars = axes.barh(list(names.values())[::-1], values[::-1], color=COLOURS[0], height=0.6)
    axes.bar_label(bars, fmt="%.2f s", padding=3)
    axes.set(xlabel="seconds", xlim=(0, 1.25 * max(values)))
    axes.grid(axis="x", color=GRID)


def _draw_gas(axes: Any, summary: Mapping[str, Any]) -> None:
    gas: dict[str, list[float]] = {}
    for proof in summary["proofs"]:
        gas.setdefault(proof["statement"], []).append(proof["gas"] / 1000)
    values = [_median(group) for group in gas.values()]
    bars = axes.barh(list(gas)[::-1], values[::-1], color=COLOURS[2], height=0.55)
    axes.bar_label(bars, fmt="%.0f k", padding=3)
    axes.set(xlabel="thousand gas", xlim=(0, 1.25 * max(values)))
    axes.grid(axis="x", color=GRID)


def _draw_ratios(axes: Any, summary: Mapping[str, Any]) -> None:
    ratios = summary["comparison"]["ratios"]
    names = [FIGURES[figure][0] for figure in ratios]
    values = list(ratios.values())
    colours = [COLOURS[2] if value >= 1 else COLOURS[1] for value in values]
    bars = axes.barh(names[::-1], values[::-1], color=colours[::-1], height=0.6)
    axes.bar_label(bars, fmt="%.1f x", padding=3)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set(xlabel="times (above 1: the commitment round is better)", xlim=(0, 1.2 * max(values)))
    axes.grid(axis="x", color=GRID)
