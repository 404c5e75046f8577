"""Whether a ciphertext is of a proven update: proofs that clients hand in with their ciphertexts.

A session that names a verifying key (`inputs`) takes only clients whose ciphertext comes with a
proof under it. Others are sums of whatever the clients encrypted, and say so (`bound`).
"""

from __future__ import annotations

from zkai.errors import VerificationError
from zkai.federated.decisions import Round
from zkai.federated.messages import Message
from zkai.federated.scheme import Scheme


def check_input(rnd: Round, scheme: Scheme, keyid: str, commitment: Message) -> None:
    """Return None if the session asks for no proofs, or a client's proof is of its ciphertext.

    Raises VerificationError, naming the client, otherwise.
    """
    if rnd.session.inputs is None:
        return
    name = rnd.session.clients_by_keyid[keyid].name
    raise VerificationError(f"{name}: this version cannot check proofs of ciphertexts")
