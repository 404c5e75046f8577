"""Concrete ML behind lines of JSON: run by the interpreter of its own environment, not by ours.

    {"op": "make", "data", "folder", "bits"}            train and compile: client.zip, server.zip
    {"op": "keys", "folder", "keys"}                    the client's key, and evaluation keys
    {"op": "encrypt", "folder", "row", "query"}         a row as a ciphertext
    {"op": "run", "folder", "query", "keys", "answer"}  the server's part: no secret key
    {"op": "decrypt", "folder", "answer", "out"}        class probabilities

Everything but the operation's name is a path. One answer a line: {"ok": true, ...} or {"ok": false,
"error"}. It imports nothing of zkai, and zkai imports nothing of it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

KEYS = "secret-keys"


def _legacy_export() -> None:
    """Make torch export models as Concrete ML expects: its default changed since."""
    onnx: Any = importlib.import_module("torch.onnx")
    export = onnx.export

    def legacy(*args: Any, **options: Any) -> Any:
        options.setdefault("dynamo", False)
        return export(*args, **options)

    onnx.export = legacy


def _client(folder: str) -> Any:
    deployment = importlib.import_module("concrete.ml.deployment")
    client = deployment.FHEModelClient(folder, key_dir=str(Path(folder) / KEYS))
    # Reads the keys of an earlier call where there are some.
    client.generate_private_and_evaluation_keys()
    return client


def make(data: str, folder: str, bits: int) -> dict[str, Any]:
    """Train a logistic regression on x and labels, quantise and compile it."""
    learners = importlib.import_module("concrete.ml.sklearn")
    deployment = importlib.import_module("concrete.ml.deployment")
    with np.load(data, allow_pickle=False) as arrays:
        x, labels = arrays["x"], arrays["labels"]
    model = learners.LogisticRegression(n_bits=bits)
    model.fit(x, labels)
    model.compile(x)
    deployment.FHEModelDev(folder, model).save()
    return {"accuracy": float((model.predict(x) == labels).mean())}


def keys(folder: str, keys: str) -> dict[str, Any]:
    """Make the client's key in its folder and write the evaluation keys."""
    client = _client(folder)
    os.chmod(Path(folder) / KEYS, 0o700)
    Path(keys).write_bytes(client.get_serialized_evaluation_keys())
    return {}


def encrypt(folder: str, row: str, query: str) -> dict[str, Any]:
    """Quantise and encrypt one row."""
    Path(query).write_bytes(
        _client(folder).quantize_encrypt_serialize(np.load(row, allow_pickle=False).reshape(1, -1))
    )
    return {}


def run(folder: str, query: str, keys: str, answer: str) -> dict[str, Any]:
    """Compute on a ciphertext."""
    deployment = importlib.import_module("concrete.ml.deployment")
    server = deployment.FHEModelServer(folder)
    server.load()
    Path(answer).write_bytes(server.run(Path(query).read_bytes(), Path(keys).read_bytes()))
    return {}


def decrypt(folder: str, answer: str, out: str) -> dict[str, Any]:
    """Decrypt an answer."""
    found = _client(folder).deserialize_decrypt_dequantize(Path(answer).read_bytes())
    np.save(out, np.asarray(found, np.float64), allow_pickle=False)
    return {}


OPERATIONS = {function.__name__: function for function in (make, keys, encrypt, run, decrypt)}


def main() -> int:
    """Answer one line after another."""
    os.umask(0o077)  # keys and decrypted answers are their owner's alone
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # What the libraries print must not get among the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _legacy_export()
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            result = {"ok": True, **OPERATIONS[asked.pop("op")](**asked)}
        except Exception as error:  # noqa: BLE001 - whatever goes wrong there is told, not raised
            result = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(result) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
