"""One user's head fine-tuned by a server that sees only ciphertexts, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from zkai.demo.digits import BATCH, CLASSES, FEATURES
from zkai.demo.stage import Stage
from zkai.errors import ToolError

EPOCHS, RATE, MOMENTUM = 2, 10.0, 0.9
"""The rate is for rows of unit length."""


def fine_tune(stage: Stage) -> dict[str, Any] | None:
    """Train the first user's head under encryption and in clear, and compare.

    Returns None if the extra `he` is not installed.
    """
    from zkai.he.finetune import HeadClient
    from zkai.he.head_task import HeadTask, polynomial_gap, predict, train_in_clear
    from zkai.he.seal_context import sealapi
    from zkai.he.worker import Worker

    try:
        sealapi()
    except ToolError:
        return None
    head, user, label = stage.setting.head, stage.setting.users[0], "train under encryption"
    unit = 2.0**-head.input_scale_bits
    x, y = np.asarray(user.features * unit, np.float64), user.labels
    norm = float(np.sqrt((x**2).sum(1).max() + 1))
    base = np.asarray(stage.setting.base.weights * 2.0**-head.weight_scale_bits, np.float64)
    task = HeadTask(FEATURES, CLASSES, BATCH, RATE / norm**2, norm, MOMENTUM)
    started, sent, received = time.perf_counter(), 0, 0
    client = HeadClient(task, x, y, base)
    with Worker("finetune") as server:
        opening = client.open()
        client.ready(server.answer(opening))
        opened = time.perf_counter()
        steps = EPOCHS * client.steps_per_epoch
        for step in range(steps):
            stage.report(f"{label}: {user.name}", step / steps)
            request = client.request()
            answer = server.answer(request)
            client.update(answer)
            sent, received = sent + len(request), received + len(answer)
    ended = time.perf_counter()
    stage.report(label, 1.0)
    clear = train_in_clear(task, x, y, EPOCHS, weights=base)
    clear_s = time.perf_counter() - ended
    held_out = np.asarray(user.held_out * unit, np.float64), user.held_out_labels
    gap = polynomial_gap(task, x, y, EPOCHS, held_out, base)
    right = predict(task, client.weights, held_out[0]) == held_out[1]
    return {
        "user": user.name,
        "rows": len(x),
        "features": FEATURES,
        "classes": CLASSES,
        "steps": steps,
        "opening_bytes": len(opening),
        "bytes_up_per_step": sent // steps,
        "bytes_down_per_step": received // steps,
        "opening_s": round(opened - started, 3),
        "step_s": round((ended - opened) / steps, 4),
        "in_clear_s": round(clear_s, 6),
        "max_abs_error": float(np.abs(client.weights - clear).max()),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_in_clear": round(gap.polynomial, 4),
        "accuracy_softmax": round(gap.softmax, 4),
    }


def row(found: Mapping[str, Any]) -> list[str]:
    """Return the line of the demo's table."""
    return [
        found["user"],
        str(found["steps"]),
        f"{found['opening_bytes'] / 1e6:.1f} MB",
        f"{(found['bytes_up_per_step'] + found['bytes_down_per_step']) / 1e6:.1f} MB,"
        f" {found['step_s']:.2f} s",
        f"{found['max_abs_error']:.0e}",
        f"{100 * found['accuracy']:.1f} %",
        f"{100 * found['accuracy_in_clear']:.1f} %",
        f"{100 * found['accuracy_softmax']:.1f} %",
    ]


def sentence(found: Mapping[str, Any] | None) -> str:
    """Return what the report says of it."""
    if found is None:
        return "Left out here: the extra <code>he</code> is not installed."
    step = (found["bytes_up_per_step"] + found["bytes_down_per_step"]) / 1e6
    return (
        f"A server in a process of its own took {found['steps']} more steps from the base model on"
        f" {found['user']}'s samples, all of it encrypted (CKKS): samples and labels once,"
        f" {found['opening_bytes'] / 1e6:.1f} MB with the keys, then {step:.1f} MB and"
        f" {found['step_s']:.2f} s a step. The weights are within {found['max_abs_error']:.0e} of"
        f" those of the same training in clear, which took {1000 * found['in_clear_s']:.1f} ms:"
        " encryption is for whoever must not hold the head, or the samples. Accuracy"
        f" {100 * found['accuracy']:.1f} %; with an exact softmax instead of the polynomial"
        f" {100 * found['accuracy_softmax']:.1f} %. This training is not proven."
    )


COLUMNS = ("user", "steps", "sent once", "a step", "error", "accuracy", "in clear", "softmax")
"""`row`'s columns."""
