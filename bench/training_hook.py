"""What the training hook costs: steps of a small transformer on the CPU, recorded and not.

    python -m bench.training_hook [--every 100] [--layers 4] [--width 256] [--json] [--quick]

Two equal models train on the same data, one with the hook, and take turns step by step in one
process. A recorded step counts until its record is durable on disk, with nothing beside it: in use,
hashing and writing run while training goes on. For medians of many records every --sampled-th step
is recorded here; overhead_percent is what one record in --every steps and the hook's work in all
others add to a step, by the clock and in CPU time of all threads:

    ((every - 1) (ordinary - plain) + recorded - plain) / (every plain)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import harness
from zkai.compute.hook import TrainingHook, initial_root
from zkai.compute.kept import Run
from zkai.compute.task import LEAF_BYTES, Task
from zkai.receipt.signer import generate

VOCABULARY, TOKENS, BATCH, HEADS = 1024, 128, 8, 4


class Language(nn.Module):
    """A decoder of a few layers: tokens to scores of the next one."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        layer = nn.TransformerEncoderLayer(
            width, HEADS, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.scores = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (batch, tokens, vocabulary)."""
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        found: torch.Tensor = self.scores(self.layers(self.embed(tokens), mask, is_causal=True))
        return found


class Subject:
    """One model in training, with or without the hook."""

    def __init__(self, layers: int, width: int, sampled: int, folder: Path | None) -> None:
        torch.manual_seed(1)
        self.model = Language(layers, width)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.tokens = torch.randint(0, VOCABULARY, (BATCH, TOKENS + 1))
        self.hook: TrainingHook | None = None
        if folder is not None:
            initial = initial_root(self.model, LEAF_BYTES)
            task = Task("bench", bytes(32), initial, bytes(32), sampled)
            self.hook = TrainingHook(self.model, self.optimizer, folder, task, generate())

    def step(self) -> harness.Stopwatch:
        """Train one step, and wait for its record."""
        with harness.Stopwatch() as watch:
            scores = self.model(self.tokens[:, :-1])
            loss = nn.functional.cross_entropy(
                scores.reshape(-1, VOCABULARY), self.tokens[:, 1:].reshape(-1)
            )
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if self.hook is not None:
                self.hook.observe(loss, {"tokens": self.tokens})
            self.optimizer.step()
            if self.hook is not None:
                self.hook.flush()
        return watch


def measure(plain: Subject, hooked: Subject, steps: int, sampled: int) -> dict[str, list[Any]]:
    """Return the times of plain, ordinary and recorded steps, taken in turns."""
    found: dict[str, list[Any]] = {"plain": [], "ordinary": [], "recorded": []}
    for step in range(steps):
        if step % 20 == 0:
            harness.note(f"step {step} of {steps}")
        kind = "ordinary" if step % sampled else "recorded"
        turns = [("plain", plain), (kind, hooked)]
        for name, subject in turns if step % 2 else turns[::-1]:
            watch = subject.step()
            # Both models' first steps allocate.
            if step:
                found[name].append({"step_s": watch.wall_s, "step_cpu_s": watch.cpu_s})
    return found


def overhead(figures: dict[str, harness.Figures], key: str, every: int) -> float:
    """Return what the hook adds to a step, in percent; see the module."""
    plain, ordinary, recorded = (
        float(figures[name][key] or 0) for name in ("plain", "ordinary", "recorded")
    )
    return 100 * ((every - 1) * (ordinary - plain) + recorded - plain) / (every * plain)


def main() -> None:
    """Measure in one process, in turn, and print the medians."""
    parser = harness.arguments("training_hook", __doc__ or "")
    parser.add_argument("--every", type=int, default=100, help="steps between records (100)")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=120, help="of each model")
    parser.add_argument("--sampled", type=int, default=10, help="every so manieth is recorded")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if options.quick:
        options.layers, options.width, options.steps = 1, 64, min(options.steps, 40)
    torch.set_num_threads(options.threads)
    # Deterministic in both: that is the trainer's choice, and no cost of the hook.
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Subject(options.layers, options.width, options.sampled, None)
        hooked = Subject(options.layers, options.width, options.sampled, Path(scratch) / "run")
        samples = measure(plain, hooked, options.steps, options.sampled)
        assert hooked.hook is not None
        hooked.hook.abandon()
        run = Run(Path(scratch) / "run")
        record_bytes = len(run.signed(0).to_bytes())
        kept_bytes = run.kept_path(0).stat().st_size
    figures = {name: harness.medians(found) for name, found in samples.items()}
    ours: harness.Figures = {
        "step_s": figures["ordinary"]["step_s"],
        "step_cpu_s": figures["ordinary"]["step_cpu_s"],
        "recorded_step_s": figures["recorded"]["step_s"],
        "recorded_step_cpu_s": figures["recorded"]["step_cpu_s"],
        "record_bytes": record_bytes,
        "kept_bytes": kept_bytes,
        "overhead_percent": overhead(figures, "step_s", options.every),
        "overhead_cpu_percent": overhead(figures, "step_cpu_s", options.every),
    }
    for kind, prefix in (("ordinary", ""), ("recorded", "recorded_")):
        for key in ("step_s", "step_cpu_s"):
            ours[f"{prefix}{key}_spread"] = figures[kind][f"{key}_spread"]
    parameters = {
        "parameters": sum(p.numel() for p in plain.model.parameters()),
        "layers": options.layers,
        "width": options.width,
        "batch": BATCH,
        "tokens": TOKENS,
        "every": options.every,
        "steps": options.steps,
        "sampled": options.sampled,
        "threads": options.threads,
        "leaf_bytes": LEAF_BYTES,
    }
    peers: dict[str, harness.Figures | None] = {"plain": figures["plain"]}
    ratios = {
        key[:-2]: harness.ratio(ours, peers["plain"], key) for key in ("step_s", "step_cpu_s")
    }
    harness.show(harness.report("training_hook", parameters, ours, peers, ratios), options.json)


if __name__ == "__main__":
    main()
