"""Whether a ciphertext is of a proven update: proofs that clients hand in with their ciphertexts.

A session that names a rule (`inputs`, the digest of a `zkai.federated.rules.InputRule`) takes only
clients whose ciphertext comes with a proof `encrypted_update` of it, and, if the rule names keys
for it, with the proven history of the training that led to the update. Others are sums of whatever
the clients encrypted, and say so (`bound`).

    body = {"format": "zkai.he-input/1", "proof", "history": [proof, ...], "terms": null or terms}
"""

from __future__ import annotations

from collections.abc import Sequence

from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.encoding import canonical_json
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.decisions import Round
from zkai.federated.messages import Message, dealing_digest
from zkai.federated.rules import FORMAT
from zkai.federated.scheme import Inputs, Scheme
from zkai.federated.session import Session
from zkai.proof.formats import Proof


def input_bytes(
    proof: Proof, history: Sequence[Proof] = (), terms: ForkTerms | None = None
) -> bytes:
    """Return the body that a client hands in with its ciphertext."""
    return canonical_json(
        {
            "format": FORMAT,
            "proof": proof.to_json(),
            "history": [item.to_json() for item in history],
            "terms": None if terms is None else terms.to_json(),
        }
    )


def check_rule(session: Session, rule: Inputs | None) -> None:
    """Return None if a rule is the session's, and fits it.

    Raises InvalidInput if it is missing, another, or about other sums.
    """
    if session.inputs is None:
        return
    if rule is None or rule.digest != session.inputs:
        raise InvalidInput(
            "session: takes ciphertexts with proofs only: give the rule of its inputs"
        )
    rule.check_session(session)


class Bound:
    """The clients of a round whose inputs were found to be bound, with each one's user."""

    def __init__(self, rnd: Round, scheme: Scheme) -> None:
        """Raise InvalidInput without the session's rule."""
        check_rule(rnd.session, rnd.inputs)
        self._round, self._scheme = rnd, scheme
        self._users: dict[int, str] = {}

    def add(self, keyid: str, commitment: Message) -> None:
        """Take a client whose proof is of its ciphertext, if the session asks for proofs.

        Raises VerificationError, naming the client, for another's proof or none, and for the update
        of a user who has sent one.
        """
        rnd, rule = self._round, self._round.inputs
        if rnd.session.inputs is None:
            return
        assert rule is not None
        name = rnd.session.clients_by_keyid[keyid].name
        dealing = dealing_digest(commitment.predicate["shares"])
        sizes = {"ciphertext": self._scheme.ciphertext_bytes, "check": self._scheme.check_bytes}
        bodies = {
            what: rnd.board.body(rnd.number, commitment.digest(what), size, f"{name}: {what}")
            for what, size in (sizes | {"proof": None}).items()
        }
        try:
            sent = self._scheme.sent(rnd.number, bodies["ciphertext"], bodies["check"], dealing)
            user = rule.check(sent, bodies["proof"], name, f"{name}: proof")
        except (InvalidInput, VerificationError) as error:
            raise VerificationError(f"{name} proved another update, or none: {error}") from error
        if user in self._users:
            raise VerificationError(f"{name} sent an update of {self._users[user]}'s user")
        self._users[user] = name
