// What the page does: every check of a receipt, in order, and what they show.

import { equal, fromHex32, hex32, need, Refused } from './bytes.mjs';
import { parseKey, parseProof, transcriptDigest, verifyProof } from './groth16.mjs';
import { isObject, parseJson } from './json.mjs';
import { checkMoment, checkSigners, parseTrust } from './keys.mjs';
import { parsePolicy, verifyCheckpoint, verifyInclusion, verifyName } from './log.mjs';
import {
  checkAgainstProof, checkPlace, checkProofDigest, parseReceipt, seconds,
} from './receipt.mjs';

export { parseKey, parseProof, verifyProof } from './groth16.mjs';
export { parsePolicy, verifyCheckpoint, verifyName } from './log.mjs';
export { parseJson } from './json.mjs';
export { publicKey, checkSignature } from './keys.mjs';
export { Refused } from './bytes.mjs';

export const CEREMONY = 'proven (ceremony key)';
export const DEVELOPMENT = 'proven (development key)';
export const SIGNED = 'signed only';

/**
 * Run every check for which there are files; Uint8Arrays: receipt, trust, and where they are given
 * proof, key, inclusion, policy, checkpoint, and `statuses`, a list of map proofs.
 *
 * Options: `now` in seconds; `place`, {chain_id, ledger, recipient} or null; `trusted`, digests of
 * keys whose origin the verifier knows; `production`, to refuse all others.
 *
 * Return {accepted, reason, grade, checks: [{name, state, detail}], receipt}, where `state` is
 * "passed", "failed" or "not checked". Nothing after a failed check ran.
 */
export function verify(files, options) {
  const checks = [];
  const run = { files, options, checks, facts: {} };
  let reason = null;
  for (const [name, check] of CHECKS) {
    try {
      const found = reason === null ? check(run) : skipped('not reached');
      checks.push({ name, state: found.skipped ? 'not checked' : 'passed', detail: found.detail });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      reason = error.message;
      checks.push({ name, state: 'failed', detail: reason });
    }
  }
  const accepted = reason === null;
  const grade = accepted ? (run.facts.grade ?? SIGNED) : null;
  return { accepted, reason, grade, checks, receipt: accepted ? summary(run.facts.receipt) : null };
}

const passed = (detail) => ({ detail });
const skipped = (detail) => ({ detail, skipped: true });

const CHECKS = [
  ['The receipt is well formed', checkForm],
  ['It was in the log', checkLogged],
  ['It is signed by those whom you trust', checkSigned],
  ['It is for this place', checkDestination],
  ['It is of this proof', checkProofFile],
  ['The proof holds', checkProof],
  ['The key comes from a ceremony', checkOrigin],
  ['The signing keys are not revoked', checkStatuses],
];

function checkForm({ files, facts }) {
  need(files.receipt, 'there is no receipt');
  facts.receipt = parseReceipt(files.receipt);
  return passed(`receipt ${facts.receipt.id}`);
}

function checkLogged({ files, facts }) {
  facts.logged = null;
  const { inclusion, policy, checkpoint, statuses = [] } = files;
  const given = inclusion || checkpoint || statuses.length;
  need(!given || policy, 'proofs from a log need the log policy');
  if (policy) facts.policy = parsePolicy(parseJson(policy, 'log policy'));
  facts.checkpoints = [];
  if (checkpoint) oneHistory(facts, verifyCheckpoint(checkpoint, facts.policy));
  if (!inclusion) return skipped('no inclusion proof was given: the signing keys must be good now');
  const found = verifyInclusion(inclusion, files.receipt, facts.policy);
  oneHistory(facts, found.checkpoint);
  facts.index = found.index;
  facts.logged = found.checkpoint.seen;
  const { size, seen, witnesses } = found.checkpoint;
  const when = seen === null ? 'no time is shown: the policy asks for no witness'
    : `${witnesses} witnesses cosigned, the quorum by ${time(seen)}`;
  return passed(`entry ${found.index}, valid as of checkpoint ${size}; ${when}`);
}

/** Refuse a checkpoint beside another of the same size: the log shows two histories. */
function oneHistory({ checkpoints }, checkpoint) {
  const same = (other) => other.size !== checkpoint.size
    || (equal(other.root, checkpoint.root) && equal(other.mapRoot, checkpoint.mapRoot));
  need(checkpoints.every(same), `the log signed two histories of ${checkpoint.size} entries`);
  checkpoints.push(checkpoint);
}

function checkSigned({ files, options, facts }) {
  need(files.trust, 'there is no trust store: whom to believe is yours to say');
  facts.store = parseTrust(parseJson(files.trust, 'trust store'));
  const { signatures, predicate, message } = facts.receipt;
  facts.signed = seconds(predicate.times.signed);
  const moments = { signed: facts.signed, now: options.now, logged: facts.logged };
  checkSigners(facts.store, signatures, predicate.signers, message, moments);
  const named = predicate.signers.map((s) => `${facts.store.keys.get(s.keyid).name} (${s.alg})`);
  return passed(named.join(', '));
}

function checkDestination({ options, facts }) {
  const { predicate } = facts.receipt;
  if (options.place) {
    checkPlace(predicate, options.place);
    return passed('chain, ledger and recipient are those that you named');
  }
  const said = predicate.proof?.destination;
  return skipped(said ? `you named none; the receipt says chain ${said.chain_id}, ledger `
    + `${said.ledger}, recipient ${said.recipient}` : 'a receipt without a proof is for no place');
}

function checkProofFile({ files, facts }) {
  const { predicate, statement } = facts.receipt;
  if (!files.proof) {
    need(!files.key, 'a verifying key needs the proof too');
    return skipped(predicate.proof ? 'the proof file was not given' : 'the receipt names no proof');
  }
  checkProofDigest(statement, files.proof);
  facts.proof = parseProof(files.proof);
  checkAgainstProof(predicate, facts.proof);
  return passed('its bytes, public values and context are those that were signed');
}

function checkProof({ files, facts }) {
  if (!facts.proof) return skipped('there is no proof to check');
  if (!files.key) return skipped('the verifying key was not given');
  facts.key = parseKey(files.key);
  verifyProof(facts.proof, facts.key);
  const said = facts.receipt.predicate.proof.key;
  const same = said.status === facts.key.key_status
    && said.transcript === transcriptDigest(facts.key);
  need(same, "the receipt's key status or transcript is not the key's");
  facts.grade = DEVELOPMENT;
  return passed(`${facts.proof.statement}, ${facts.proof.format}, key ${facts.key.vk_digest}`);
}

function checkOrigin({ options, facts }) {
  const { trusted = [], production = false } = options;
  const digests = trusted.map((value) => hex32(fromHex32(value, 'trusted digest')));
  if (!facts.key) {
    need(!production, 'only a proof that was checked can be under a ceremony\'s key');
    return skipped('no proof was checked');
  }
  const { key_status: status, vk_digest: digest } = facts.key;
  const development = status === 'development';
  need(!development || !production, 'this is a development key: whoever made it can forge proofs');
  const known = digests.includes(digest);
  need(known || !digests.length, `the key's digest ${digest} is not one that you trust`);
  if (development) return skipped('a development key: whoever made it can forge proofs');
  need(known || !production, "name the digest of the ceremony's key that you trust");
  if (!known) {
    return skipped('the key says so, but you named no digest that you trust: the proof counts as'
      + ' one under a development key');
  }
  facts.grade = CEREMONY;
  return passed('you trust its digest; this page does not repeat the ceremony\'s checks');
}

function checkStatuses({ files, options, facts }) {
  const { statuses = [] } = files;
  const details = statuses.map((data) => {
    const { name, value, checkpoint } = verifyName(data, facts.policy);
    oneHistory(facts, checkpoint);
    const id = name.startsWith('key/') ? name.slice('key/'.length) : null;
    const signer = facts.receipt.predicate.signers.find((s) => s.keyid === id);
    need(signer !== undefined, `${name}: not the name of a key that signed this receipt`);
    const newer = facts.index === undefined || checkpoint.size > facts.index;
    need(newer, `${name}: this proof is older than the receipt's entry`);
    const key = facts.store.keys.get(id);
    need(isObject(value), `the log knows no key ${key.name}, as of checkpoint ${checkpoint.size}`);
    const known = ['active', 'revoked'].includes(value.status) && Number.isInteger(value.at);
    need(known, `${name}: its status is unknown`);
    if (value.status === 'revoked') checkRevoked(key, value.at, options.now, facts);
    return `${key.name}: ${value.status}, as of checkpoint ${checkpoint.size}`;
  });
  return details.length ? passed(details.join('; ')) : skipped('no map proof was given; your trust'
    + " store's own revocations were applied");
}

function checkRevoked(key, at, now, { signed, logged }) {
  const ended = { ...key, revoked: { at, reason: 'the log says so' } };
  checkMoment(ended, signed, 'when it says that it signed');
  checkMoment(ended, logged ?? now, logged === null ? 'now' : 'when this was logged');
}

/** Return seconds since 1970 as people write them. */
export function time(at) {
  const date = new Date(at * 1000);
  return Number.isNaN(date.getTime()) ? `${at} s` : date.toISOString().replace('.000', '');
}

function summary({ id, predicate, statement }) {
  return { id, predicate, subject: statement.subject };
}
