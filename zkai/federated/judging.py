"""How the aggregator finds the set that it proposes: who is left out, for what reason, and the sum.

It only proposes: key holders check the rules of `zkai.federated.chosen` themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.chosen import Dealings, entry_of, sums
from zkai.federated.decisions import Round
from zkai.federated.inputs import Bound, check_rule
from zkai.federated.messages import CLOSED, Message
from zkai.federated.noise import spent_record
from zkai.federated.scheme import Scheme

MAX_REASON = 400


def propose_set(
    rnd: Round,
    scheme: Scheme,
    index: int,
    reveal: Message,
    logged: Mapping[int, Message],
    refused: dict[str, str],
) -> tuple[dict[str, Any], bytes]:
    """Return the body of `set` and the sum, from the logged dealing checks of `reveal`.

    `index` is the entry of `reveal`; holders that are left out are noted in `refused`.
    """
    check_rule(rnd.session, rnd.inputs)
    closed = rnd.require(CLOSED)
    members = rnd.revealed(reveal, closed)
    commitments = {e["client"]: rnd.commitment(e) for e in closed.entries}
    dealings, faults = _judge_holders(rnd, scheme, logged, reveal, members, commitments, refused)
    order = [e["client"] for e in sorted(closed.entries, key=lambda e: int(e["index"]))]
    reasons = {**faults, **_judge_clients(rnd, scheme, members, order, commitments, faults)}
    kept = [entry for entry in closed.entries if entry["client"] not in reasons]
    clusters: dict[str, bytes] = {}
    total = b""
    if kept:
        clusters, total = sums(rnd, scheme, [e["client"] for e in kept], commitments)
    used = {message.id for message in dealings.messages}
    return {
        "entries": [entry_of(commitments[e["client"]], e["index"]) for e in kept],
        "excluded": [{"client": k, "reason": reasons[k][:MAX_REASON]} for k in sorted(reasons)],
        "reveal": index,
        "dealings": [i for i, message in logged.items() if message.id in used],
        "clusters": [{"name": n, "sum": hex32(sha256(c))} for n, c in clusters.items()],
        "sum": hex32(sha256(total)),
        "bound": rnd.session.inputs is not None,
        "privacy": spent_record(rnd.session.privacy, rnd.session.values, rnd.number),
    }, total


def _judge_holders(
    rnd: Round,
    scheme: Scheme,
    logged: Mapping[int, Message],
    reveal: Message,
    members: Sequence[str],
    commitments: Mapping[str, Message],
    refused: dict[str, str],
) -> tuple[Dealings, dict[str, str]]:
    """Return the dealing checks to use, and what they find wrong with which client.

    Whoever disagrees with half of the clients, and two at least, is taken for the one who is
    wrong, as long as t others are left. Where clients deal nothing, whoever complains has no share
    of the joint key, or lies.
    """
    indices = list(logged)
    if scheme.dealing_bytes == 0:
        for index in [i for i in indices if logged[i].predicate["complaints"]]:
            keyid = logged[index].predicate["holder"]
            refused[rnd.session.holders_by_keyid[keyid].name] = "has no share of the joint key"
            indices.remove(index)
    while True:
        dealings = Dealings.read(rnd, scheme, indices, reveal, members)
        faults = dealings.faults(rnd, scheme, commitments)
        blamed = dealings.blames(rnd, scheme, commitments, list(faults))
        worst = max(blamed, key=lambda j: len(blamed[j]))
        if len(blamed[worst]) < max(2, -(-len(members) // 2)):
            return dealings, faults
        holder = rnd.session.holders[worst]
        refused[holder.name] = f"its dealing check fails for {len(blamed[worst])} clients"
        indices = [i for i in indices if logged[i].predicate["holder"] != holder.keyid]


def _judge_clients(
    rnd: Round,
    scheme: Scheme,
    members: Sequence[str],
    order: Sequence[str],
    commitments: Mapping[str, Message],
    faults: Mapping[str, str],
) -> dict[str, str]:
    """Return why clients are left out whose shares are not at fault.

    Of two that committed to one key or ciphertext, or sent one user's updates, the one logged later
    copied.
    """
    reasons, bound = {}, Bound(rnd, scheme)
    lists = Counter(commitments[keyid].predicate["coordinates"] for keyid in order)
    agreed = lists.most_common(1)[0][0] if order else None
    copied = _copies([commitments[keyid] for keyid in order if keyid in members])
    for keyid in order:
        if keyid in copied:
            reasons[keyid] = "committed to another client's key or ciphertext"
        elif keyid not in members:
            reasons[keyid] = "handed in no bodies, or others than it committed to"
        elif commitments[keyid].predicate["coordinates"] != agreed:
            reasons[keyid] = "was compressed to other coordinates than most"
        elif keyid not in faults:
            try:
                bound.add(keyid, commitments[keyid])
            except (InvalidInput, VerificationError) as error:
                reasons[keyid] = str(error)
    return reasons


def _copies(commitments: Sequence[Message]) -> set[str]:
    """Return the clients whose key or ciphertext somebody before them committed to."""
    seen: set[str] = set()
    found = set()
    for message in commitments:
        named = {message.predicate["key"], message.predicate["ciphertext"]}
        if seen & named:
            found.add(message.predicate["client"])
        seen |= named
    return found
