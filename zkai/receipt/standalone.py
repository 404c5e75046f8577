"""Verifies a zkai receipt without zkai: this one file, the standard library and `cryptography`.

    python standalone.py RECEIPT --trust TRUST.json [--proof PROOF.json] [--chain-id N]
        [--ledger HEX] [--recipient HEX] [--inclusion FILE.tlog-proof --policy POLICY.json]

Checks who signed, that the receipt is of exactly this proof file, its public values and context,
that it is for the place named, and that it is in the log of a checkpoint that the log signed and
the policy's witnesses cosigned. The proof itself takes Groth16's verifier. Exit status: 0 verified,
1 refused, 2 unusable. Shares no code with zkai; needs cryptography 48 or newer.
"""

import argparse
import json
import sys
import time
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

R = 21888242871839275222246405745257275088548364400416034343698204186575808495617
TYPE, IN_TOTO = "https://in-toto.io/Statement/v1", "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:zkai:compute-receipt/v1"
PREDICATE = """kind model fork user step parent proof hyperparameters environment metering privacy
    sources tee times signers critical extensions"""
KINDS = {n: n for n in ("inference", "genesis", "training_step", "evaluation", "query")}
KINDS |= {"skip_step": "skipped_step", "apply_aggregate": "aggregation"}
KINDS |= {"onnx_inference": "inference", "onnx_step": "training_step"}
PLAIN, COSIGNED = b"\xffzkai/ml-dsa-65/1", b"\xffzkai/ml-dsa-65/cosignature/1"


class Refused(Exception):  # noqa: N818 - no error of the program
    """A check ran and failed."""


def need(condition: object, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def keccak256(data: bytes) -> bytes:
    """FIPS 202's permutation with Keccak's own padding, as Ethereum has it."""
    mask, padded = (1 << 64) - 1, bytearray(data + b"\x01" + bytes(-(len(data) + 1) % 136))
    padded[-1] |= 0x80
    a = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), 136):
        for i in range(17):
            a[i % 5][i // 5] ^= int.from_bytes(padded[start + 8 * i : start + 8 * i + 8], "little")
        lfsr = 1
        for _ in range(24):
            c = [x[0] ^ x[1] ^ x[2] ^ x[3] ^ x[4] for x in a]
            d = [c[x - 1] ^ (c[(x + 1) % 5] << 1 | c[(x + 1) % 5] >> 63) & mask for x in range(5)]
            b, x, y = [[0] * 5 for _ in range(5)], 1, 0
            b[0][0] = a[0][0] ^ d[0]
            for t in range(24):
                lane, turn = a[x][y] ^ d[x], (t + 1) * (t + 2) // 2 % 64
                x, y = y, (2 * x + 3 * y) % 5
                b[x][y] = (lane << turn | lane >> (64 - turn)) & mask
            for x, y in ((x, y) for x in range(5) for y in range(5)):
                a[x][y] = b[x][y] ^ ~b[(x + 1) % 5][y] & mask & b[(x + 2) % 5][y]
            for j in range(7):
                a[0][0] ^= (lfsr & 1) << ((1 << j) - 1)
                lfsr = lfsr << 1 ^ (0x171 if lfsr & 0x80 else 0)
    return b"".join(a[i][0].to_bytes(8, "little") for i in range(4))


def parse(data: bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "a JSON object repeats a key")
        return dict(pairs)

    refuse: Any = lambda text: need(False, f"{text} is not an integer")  # noqa: E731
    return json.loads(data, object_pairs_hook=unique, parse_float=refuse, parse_constant=refuse)


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def b64(text: str) -> bytes:
    data = b64decode(text, validate=True)
    need(b64encode(data).decode() == text, "base64 is not canonical")
    return data


class Key:
    """A public JWK; the algorithm comes from here alone."""

    def __init__(self, jwk: Any) -> None:
        self.strong = jwk.get("kty") == "AKP"
        self.alg, member = ("ML-DSA-65", "pub") if self.strong else ("Ed25519", "x")
        self.raw = urlsafe_b64decode(jwk[member] + "=" * (-len(jwk[member]) % 4))
        kind = {"kty": "AKP", "alg": self.alg} if self.strong else {"kty": "OKP", "crv": self.alg}
        text, name = map(urlsafe_b64encode, (self.raw, sha256(canonical(jwk)).digest()))
        need(jwk == kind | {member: text.decode().rstrip("=")}, "an unknown or private key")
        self.id = name.decode().rstrip("=")
        self.note_types = (PLAIN, COSIGNED) if self.strong else (b"\x01", b"\x04")

    def check(self, signature: bytes, message: bytes, who: str) -> None:
        load: Any = MLDSA65PublicKey if self.strong else Ed25519PublicKey
        try:
            load.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            raise Refused(f"the signature of {who} does not verify") from None


def open_envelope(data: bytes) -> tuple[Any, bytes, list[bytes]]:
    """Return (statement, what is signed, signatures in the signed list's order) of a receipt."""
    envelope = parse(data)
    payload = b64(envelope["payload"])
    listed = [(s["keyid"], b64(s["sig"])) for s in envelope["signatures"]]
    envelope |= {"payloadType": IN_TOTO}
    envelope["signatures"] = [{"keyid": k, "sig": b64encode(s).decode()} for k, s in listed]
    need(len(envelope) == 3 and canonical(envelope) == data, "the envelope is not in its one form")
    statement = parse(payload)
    predicate = statement["predicate"]
    known = {"_type": TYPE, "predicateType": PREDICATE_TYPE, "predicate": predicate}
    need(statement == known | {"subject": statement["subject"]}, "unknown statement")
    need(set(predicate) == set(PREDICATE.split()), "unknown or missing field of the predicate")
    need(predicate["critical"] == [], "a critical extension is not understood")
    need(predicate["kind"] in {*KINDS.values(), "merge"}, "an unknown kind of receipt")
    listed_names = [subject["name"] for subject in statement["subject"]]
    first = (predicate["proof"] is not None) == (listed_names[0] == "proof")
    need(
        first and "proof" not in listed_names[1:], "the proof comes first, exactly if there is one"
    )
    need(type(predicate["step"]) in (int, type(None)), "step is not a number")
    need(all(set(s) == {"alg", "keyid"} for s in predicate["signers"]), "unknown field of a signer")
    names = [s["keyid"] for s in predicate["signers"]]
    need([name for name, _ in listed] == names, "not the signatures of the signed list")
    need(len(set(names)) == len(names), "a signer is listed twice")
    signed = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    return statement, signed, [signature for _, signature in listed]


def verify_receipt(data: bytes, trust: Any, now: int, logged_at: int | None = None) -> Any:
    """Return the statement of a receipt that everyone whom `trust` requires has signed."""
    statement, message, signatures = open_envelope(data)
    signers = statement["predicate"]["signers"]
    need(trust.get("format") == "zkai.trust/1" and trust["required"], "not a trust store")
    known = {key.id: (key, item) for item in trust["keys"] for key in (Key(item["jwk"]),)}
    need(len(known) == len(trust["keys"]), "a key is in the trust store twice")
    strong = {name for name, (key, _) in known.items() if key.strong}
    need(any(g and set(g) <= strong for g in trust["required"]), "ML-DSA-65 is not required")
    there = [{s["keyid"] for s in signers} & set(group) for group in trust["required"]]
    need(all(there), "a required signer is missing")
    time_ = statement["predicate"]["times"]["signed"] + "+0000"
    signed = int(datetime.strptime(time_, "%Y-%m-%dT%H:%M:%SZ%z").timestamp())
    reference = now if logged_at is None else logged_at
    need(signed <= reference + 300, "signed later than it was seen")
    for signer, signature in zip(signers, signatures, strict=True):
        need(signer["keyid"] in known, "a signer is not in the trust store")
        key, item = known[signer["keyid"]]
        need(signer["alg"] == key.alg, "a signer is listed under another algorithm")
        key.check(signature, message, item["name"])
        until, void = item["not_after"], item["revoked"]
        for moment in (signed, reference):
            need(moment >= item["not_before"], "a key was not yet valid")
            need(until is None or moment < until, "a key had expired")
            need(void is None or moment < void["at"], "a key was revoked")
    return statement


def verify_proof_digest(statement: Any, data: bytes) -> None:
    """Check that a statement is of this proof file, and says of it what it says itself."""
    predicate, said, proof = statement["predicate"], statement["predicate"]["proof"], parse(data)
    need(said is not None, "the receipt names no proof")
    named = {"name": "proof", "digest": {"sha256": sha256(data).hexdigest()}}
    need(statement["subject"][0] == named, "another proof")
    public = dict(proof["public"])
    single = {n: v if isinstance(v, str) else None for n, v in public.items()}
    for name, value in public.items():
        if isinstance(value, list) and len(value) > 64:
            joined = b"".join(int(v).to_bytes(32, "big") for v in value)
            public[name] = {"count": len(value), "sha256": "0x" + sha256(joined).hexdigest()}
    wanted = {n: proof[n] for n in ("format", "statement", "circuit_digest", "vk_digest")}
    wanted |= {"key": said["key"] | {"status": proof["key_status"]}, "public": public}
    for name, value in wanted.items():
        need(said[name] == value, f"{name} is not the proof's")
    for name in ("model", "fork", "user"):
        need(predicate[name] == single.get(name), f"{name} is not the proof's")
    step = int(public["step"]) if "step" in public else 0 if "fork" in public else None
    need(predicate["step"] == step, "step is not the proof's")
    kind = KINDS.get(proof["statement"].partition("/")[0], predicate["kind"])
    need(predicate["kind"] == kind, "kind is not the proof's")
    need(set(said["commitments"]) <= set(public), "a commitment is no public signal")
    if "context" in public:
        place, at = said["destination"], [int(public.get(n, "0")) for n in ("fork", "step")]
        numbers = [place["chain_id"], int(place["ledger"], 16), *at, int(place["recipient"], 16)]
        tags = keccak256(b"zkai/context/1") + keccak256(proof["statement"].encode())
        words = b"".join(v.to_bytes(32, "big") for v in (*numbers, int(proof["vk_digest"], 16)))
        context = int.from_bytes(keccak256(tags + words), "big") % R
        need(public["context"] == str(context), "the context is another destination's")


def verify_checkpoint(note: bytes, policy: Any) -> tuple[int, bytes, int | None]:
    """Return (size, root, when the quorum had seen it) of a checkpoint that a policy accepts."""
    need(policy.get("format") == "zkai.log-policy/1", "not a log policy")
    head, blank, tail = note.decode().rpartition("\n\n")
    need(blank and tail.endswith("\n"), "not a signed note")
    text, lines = head + "\n", [line.split(" ") for line in tail[:-1].split("\n")]
    need(all(len(x) == 3 and x[0] == "\u2014" for x in lines), "a signature line is malformed")
    found = {(name, b64(data)[:4]): b64(data)[4:] for _, name, data in lines}
    need(len(found) == len(lines), "a key signed twice")

    def signature(key: Key, name: str, kind: int) -> bytes:
        line = name.encode() + b"\n" + key.note_types[kind] + key.raw
        return found.get((name, sha256(line).digest()[:4]), b"")

    log, seen, quorum = Key(policy["key"]), [], policy["quorum"]
    need(log.strong, "the log's key is not of ML-DSA-65")
    log.check(signature(log, policy["origin"], 0), text.encode(), "the log")
    witnesses = {Key(w["key"]).id: (Key(w["key"]), w["name"]) for w in policy["witnesses"]}
    need(len({log.id, *witnesses}) == len(policy["witnesses"]) + 1, "a key is there twice")
    for key, name in witnesses.values():
        if cosigned := signature(key, name, 1):
            seen.append(int.from_bytes(cosigned[:8], "big"))
            message = f"cosignature/v1\ntime {seen[-1]}\n{text}".encode()
            key.check(cosigned[8:], message, name)
    need(0 <= quorum <= len(seen), "too few witnesses cosigned")
    origin, size, root, map_root, _ = text.split("\n")
    need(origin == policy["origin"] and str(int(size)) == size, "another log's checkpoint")
    need(map_root.startswith("zkai-map/1 ") and len(b64(map_root[11:])) == 32, "no map's root")
    return int(size), b64(root), sorted(seen)[quorum - 1] if quorum else None


def verify_inclusion(data: bytes, entry: bytes, policy: Any) -> tuple[int, int, int | None]:
    """Return (index, size, when seen) of an entry in a log (C2SP tlog-proof, RFC 9162)."""
    head, _, note = data.partition(b"\n\n")
    first, second, *hashes = head.decode("ascii").split("\n")
    index, path = int(second[6:]), [b64(line) for line in hashes]
    need(first == "c2sp.org/tlog-proof@v1" and second == f"index {index}", "not an inclusion proof")
    size, root, seen = verify_checkpoint(note, policy)
    need(0 <= index < size and all(len(h) == 32 for h in path), "the index is outside the log")
    fn, sn, found = index, size - 1, sha256(b"\0" + entry).digest()
    for sibling in path:
        need(sn, "the path is too long")
        left = fn & 1 or fn == sn
        found = sha256(b"\1" + (sibling + found if left else found + sibling)).digest()
        while left and fn and not fn & 1:
            fn, sn = fn >> 1, sn >> 1
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and found == root, "the path does not lead to the log's root")
    return index, size, seen


def verify(
    receipt: bytes, trust: Any, proof: bytes | None = None, inclusion: bytes | None = None,
    policy: Any = None, now: int | None = None, **place: Any,
) -> tuple[Any, str]:  # fmt: skip
    """Return (statement, what was shown in words); `place` is chain_id, ledger, recipient."""
    logged, shown = None, ["signed"]
    if inclusion is not None:
        index, size, logged = verify_inclusion(inclusion, receipt, policy)
        shown.append(f"entry {index}, valid as of checkpoint {size}")
    statement = verify_receipt(receipt, trust, int(time.time()) if now is None else now, logged)
    for name, value in place.items():
        said = statement["predicate"]["proof"] or {"destination": {}}
        need(said["destination"].get(name) == value, f"the receipt is for another {name}")
    if proof is not None:
        verify_proof_digest(statement, proof)
        shown.append("of this proof")
    return statement, "; ".join(shown)


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify a zkai receipt.")
    parser.add_argument("receipt", type=Path)
    for name in ("trust", "proof", "inclusion", "policy"):
        parser.add_argument(f"--{name}", type=Path, required=name == "trust")
    parser.add_argument("--chain-id", type=int)
    for name in ("ledger", "recipient"):
        parser.add_argument(f"--{name}", type=lambda text: f"0x{text[2:].lower():0>64}")
    options = {n: v for n, v in vars(parser.parse_args()).items() if v is not None}
    try:
        need(("inclusion" in options) == ("policy" in options), "--inclusion needs --policy")
        given: Any = {n: v.read_bytes() if isinstance(v, Path) else v for n, v in options.items()}
        given |= {n: parse(given[n]) for n in ("trust", "policy") if n in given}
        statement, shown = verify(**given)
    except Refused as error:
        print(f"refused: {error}")
        return 1
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
            RecursionError) as error:  # fmt: skip
        print(f"unusable: {type(error).__name__}: {error}")
        return 2
    print(f"verified: {statement['predicate']['kind']}; {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
