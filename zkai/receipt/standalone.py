"""Verifies a zkai receipt without zkai: this one file, the standard library and `cryptography`.

    python standalone.py RECEIPT --trust TRUST.json [--proof PROOF.json]
                         [--inclusion FILE.tlog-proof --policy POLICY.json]

Checks who signed (DSSE, ML-DSA-65, Ed25519), that the receipt is of exactly this proof file and its
public values, the context recomputed, and that the receipt is in the log of a checkpoint that the
log signed and the policy's witnesses cosigned. It does not check the proof itself: that takes
Groth16's verifier. Exit status: 0 verified, 1 refused, 2 unusable. Written apart from zkai's own
code and shares none with it; needs cryptography 48 or newer.
"""

import argparse
import base64
import hashlib
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

R = 21888242871839275222246405745257275088548364400416034343698204186575808495617
SKEW = 300
IN_TOTO = "application/vnd.in-toto+json"
FIELDS = {
    "kind", "model", "fork", "user", "step", "parent", "proof", "hyperparameters", "environment",
    "metering", "privacy", "sources", "tee", "times", "signers", "critical", "extensions",
}  # fmt: skip


class Refused(Exception):  # noqa: N818 - no error of the program
    """A check ran and failed."""


def need(condition: object, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def keccak256(data: bytes) -> bytes:
    """FIPS 202's permutation with Keccak's own padding, as Ethereum has it."""
    mask, rate = (1 << 64) - 1, 136
    rounds, lfsr = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            constant ^= (lfsr & 1) << ((1 << j) - 1)
            lfsr = lfsr << 1 ^ (0x171 if lfsr & 0x80 else 0)
        rounds.append(constant)
    padded = bytearray(data + b"\x01" + bytes(-(len(data) + 1) % rate))
    padded[-1] |= 0x80
    a = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), rate):
        for i in range(rate // 8):
            a[i % 5][i // 5] ^= int.from_bytes(padded[start + 8 * i : start + 8 * i + 8], "little")
        for constant in rounds:
            c = [x[0] ^ x[1] ^ x[2] ^ x[3] ^ x[4] for x in a]
            d = [c[x - 1] ^ (c[(x + 1) % 5] << 1 | c[(x + 1) % 5] >> 63) & mask for x in range(5)]
            a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
            x, y, moved = 1, 0, a[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                turn = (t + 1) * (t + 2) // 2 % 64
                moved, a[x][y] = a[x][y], (moved << turn | moved >> (64 - turn)) & mask
            for y in range(5):
                row = [a[x][y] for x in range(5)]
                for x in range(5):
                    a[x][y] = row[x] ^ ~row[(x + 1) % 5] & mask & row[(x + 2) % 5]
            a[0][0] ^= constant
    return b"".join(a[i][0].to_bytes(8, "little") for i in range(4))


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len(dict(pairs)) == len(pairs), "a JSON object repeats a key")
    return dict(pairs)


def parse(data: bytes) -> Any:
    def no(text: str) -> Any:
        raise Refused("a number is not an integer")

    return json.loads(data, object_pairs_hook=unique, parse_float=no, parse_constant=no)


def b64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 is not canonical")
    return data


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_key(jwk: Any) -> tuple[str, Any, str, bytes]:
    """Return (algorithm, key, key id, raw bytes) of a JWK; the algorithm comes from here alone."""
    name, member = ("ML-DSA-65", "pub") if jwk.get("kty") == "AKP" else ("Ed25519", "x")
    raw = base64.urlsafe_b64decode(jwk[member] + "=" * (-len(jwk[member]) % 4))
    load: Any = MLDSA65PublicKey if name == "ML-DSA-65" else Ed25519PublicKey
    pure = {"alg": name, "kty": "AKP"} if name == "ML-DSA-65" else {"crv": name, "kty": "OKP"}
    need(jwk == {**pure, member: b64url(raw)}, "an unknown or private key")
    keyid = b64url(sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()))
    return name, load.from_public_bytes(raw), keyid, raw


def check_signature(key: Any, signature: bytes, message: bytes, who: str) -> None:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise Refused(f"the signature of {who} does not verify") from None


def seconds(text: str) -> int:
    return int(datetime.strptime(text + "+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp())


def verify_receipt(data: bytes, trust: Any, now: int, logged_at: int | None = None) -> Any:
    """Return the statement of a receipt that everyone whom `trust` requires has signed."""
    envelope = parse(data)
    form = json.dumps(envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    need(form.encode() == data, "the envelope is not in its one byte form")
    need(set(envelope) == {"payload", "payloadType", "signatures"}, "not a DSSE envelope")
    need(envelope["payloadType"] == IN_TOTO, "unknown payload type")
    payload, kind = b64(envelope["payload"]), IN_TOTO.encode()
    statement = parse(payload)
    need(statement["_type"] == "https://in-toto.io/Statement/v1", "unknown statement")
    need(statement["predicateType"] == "urn:zkai:compute-receipt/v1", "unknown predicate")
    need(set(statement) == {"_type", "subject", "predicateType", "predicate"}, "unknown field")
    predicate = statement["predicate"]
    need(set(predicate) == FIELDS, "a field of the predicate is missing or unknown")
    need(not predicate["critical"], "a critical extension is not understood")
    signers, signatures = predicate["signers"], envelope["signatures"]
    need(all(set(s) == {"keyid", "sig"} for s in signatures), "a signature has unknown fields")
    listed = [s["keyid"] for s in signers]
    need([s["keyid"] for s in signatures] == listed, "not the signatures of the signed list")
    need(len(set(listed)) == len(listed), "a signer is listed twice")
    need(trust.get("format") == "zkai.trust/1" and trust["required"], "not a trust store")
    known = {public_key(key["jwk"])[2]: key for key in trust["keys"]}
    strong = {k for k, v in known.items() if v["jwk"].get("kty") == "AKP"}
    need(any(g and set(g) <= strong for g in trust["required"]), "ML-DSA-65 is not required")
    for group in trust["required"]:
        need(set(group) & set(listed), "a required signer is missing")
    reference = now if logged_at is None else logged_at
    signed = seconds(predicate["times"]["signed"])
    need(signed <= reference + SKEW, "signed later than it was seen")
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    for signer, item in zip(signers, signatures, strict=True):
        need(signer["keyid"] in known, "a signer is not in the trust store")
        trusted = known[signer["keyid"]]
        alg, key, _, _ = public_key(trusted["jwk"])
        need(signer["alg"] == alg, "a signer is listed under another algorithm")
        check_signature(key, b64(item["sig"]), message, trusted["name"])
        for moment in (signed, reference):
            need(moment >= trusted["not_before"], "a key was not yet valid")
            need(trusted["not_after"] is None or moment < trusted["not_after"], "a key had expired")
            void = trusted["revoked"]
            need(void is None or moment < void["at"], "a key was revoked")
    return statement


def verify_proof_digest(statement: Any, data: bytes) -> None:
    """Check that a statement is of this proof file, and says of it what it says itself."""
    said = statement["predicate"]["proof"]
    need(said is not None, "the receipt names no proof")
    first = statement["subject"][0]
    need(first == {"name": "proof", "digest": {"sha256": sha256(data).hex()}}, "another proof")
    proof = parse(data)
    for name in ("format", "statement", "circuit_digest", "vk_digest"):
        need(proof[name] == said[name], f"{name} is not the proof's")
    need(proof["key_status"] == said["key"]["status"], "key status is not the proof's")
    need(set(proof["public"]) == set(said["public"]), "public signals are not the proof's")
    for name, value in proof["public"].items():
        if isinstance(value, list) and len(value) > 64:
            words = b"".join(int(v).to_bytes(32, "big") for v in value)
            value = {"count": len(value), "sha256": "0x" + sha256(words).hex()}
        need(said["public"][name] == value, f"public signal {name} is not the proof's")
    for name in ("model", "fork", "user"):
        value = proof["public"].get(name)
        need(statement["predicate"][name] == (None if isinstance(value, list) else value), name)
    if "context" in proof["public"]:
        check_context(proof, said["destination"])


def check_context(proof: Any, place: Any) -> None:
    fork, step = (int(proof["public"].get(name, "0")) for name in ("fork", "step"))
    words = [
        keccak256(b"zkai/context/1"),
        keccak256(proof["statement"].encode()),
        place["chain_id"].to_bytes(32, "big"),
        bytes.fromhex(place["ledger"][2:]),
        fork.to_bytes(32, "big"),
        step.to_bytes(32, "big"),
        bytes.fromhex(place["recipient"][2:]),
        bytes.fromhex(proof["vk_digest"][2:]),
    ]
    context = int.from_bytes(keccak256(b"".join(words)), "big") % R
    need(proof["public"]["context"] == str(context), "the context is another destination's")


def note_key(name: str, jwk: Any, cosigner: bool) -> tuple[Any, bytes]:
    alg, key, _, raw = public_key(jwk)
    kinds = {
        "Ed25519": (b"\x01", b"\x04"),
        "ML-DSA-65": (b"\xffzkai/ml-dsa-65/1", b"\xffzkai/ml-dsa-65/cosignature/1"),
    }
    return key, sha256(name.encode() + b"\n" + kinds[alg][cosigner] + raw)[:4]


def verify_checkpoint(note: bytes, policy: Any) -> tuple[int, bytes, int | None]:
    """Return (size, root, when the quorum had seen it) of a checkpoint that a policy accepts."""
    need(policy.get("format") == "zkai.log-policy/1", "not a log policy")
    text, blank, tail = note.decode().rpartition("\n\n")
    text += "\n"
    need(blank and tail.endswith("\n"), "not a signed note")
    found: dict[tuple[str, bytes], bytes] = {}
    for line in tail[:-1].split("\n"):
        dash, name, signature = line.split(" ")
        data = b64(signature)
        need(dash == "\u2014" and (name, data[:4]) not in found, "a signature line is malformed")
        found[name, data[:4]] = data[4:]
    key, key_id = note_key(policy["origin"], policy["key"], False)
    need((policy["origin"], key_id) in found, "the log did not sign the checkpoint")
    check_signature(key, found[policy["origin"], key_id], text.encode(), "the log")
    seen = []
    for witness in policy["witnesses"]:
        key, key_id = note_key(witness["name"], witness["key"], True)
        if (cosigned := found.get((witness["name"], key_id))) is not None:
            at = int.from_bytes(cosigned[:8], "big")
            message = f"cosignature/v1\ntime {at}\n{text}".encode()
            check_signature(key, cosigned[8:], message, witness["name"])
            seen.append(at)
    quorum = policy["quorum"]
    need(0 <= quorum <= len(seen), "too few witnesses cosigned")
    origin, size, root, map_root, end = text.split("\n")
    need(origin == policy["origin"] and str(int(size)) == size and not end, "a wrong checkpoint")
    need(map_root.startswith("zkai-map/1 ") and len(b64(map_root[11:])) == 32, "no map's root")
    return int(size), b64(root), sorted(seen)[quorum - 1] if quorum else None


def verify_inclusion(data: bytes, entry: bytes, policy: Any) -> tuple[int, int, int | None]:
    """Return (index, size, when seen) of an entry in a log (C2SP tlog-proof, RFC 9162)."""
    head, _, note = data.partition(b"\n\n")
    lines = head.decode("ascii").split("\n")
    need(lines[0] == "c2sp.org/tlog-proof@v1", "not an inclusion proof")
    need(lines[1].startswith("index ") and str(int(lines[1][6:])) == lines[1][6:], "no index")
    index, path = int(lines[1][6:]), [b64(line) for line in lines[2:]]
    size, root, seen = verify_checkpoint(note, policy)
    need(0 <= index < size and all(len(h) == 32 for h in path), "the index is outside the log")
    fn, sn, found = index, size - 1, sha256(b"\0" + entry)
    for sibling in path:
        need(sn, "the path is too long")
        if fn & 1 or fn == sn:
            found = sha256(b"\1" + sibling + found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = sha256(b"\1" + found + sibling)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and found == root, "the path does not lead to the log's root")
    return index, size, seen


def verify(
    receipt: bytes, trust: Any, proof: bytes | None = None, inclusion: bytes | None = None,
    policy: Any = None, now: int | None = None,
) -> tuple[Any, str]:  # fmt: skip
    """Return what was shown, as text, or raise."""
    logged, shown = None, ["signed"]
    if inclusion is not None:
        index, size, logged = verify_inclusion(inclusion, receipt, policy)
        shown.append(f"entry {index}, valid as of checkpoint {size}")
    statement = verify_receipt(receipt, trust, int(time.time()) if now is None else now, logged)
    if proof is not None:
        verify_proof_digest(statement, proof)
        shown.append("of this proof")
    return statement, "; ".join(shown)


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify a zkai receipt.")
    parser.add_argument("receipt")
    parser.add_argument("--trust", required=True)
    for name in ("proof", "inclusion", "policy"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args()
    try:
        need((options.inclusion is None) == (options.policy is None), "--inclusion needs --policy")
        given = {n: p for n, p in vars(options).items() if p is not None}
        files: Any = {n: Path(p).read_bytes() for n, p in given.items()}
        files |= {n: parse(files[n]) for n in ("trust", "policy") if n in files}
        statement, shown = verify(**files)
    except Refused as reason:
        print(f"refused: {reason}")
        return 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        print(f"unusable: {type(error).__name__}: {error}")
        return 2
    print(f"verified: {statement['predicate']['kind']}; {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
