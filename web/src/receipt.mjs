// Receipts: a DSSE envelope around an in-toto Statement, and what it says of a proof.

import schema from '../../zkai/receipt/receipt.schema.json' with { type: 'json' };
import {
  equal, fromBase64, fromHex32, hex, hex32, join, keccak256, need, sha256, toInteger, utf8, word,
} from './bytes.mjs';
import { canonical, fields, list, parseCanonical, parseJson, string } from './json.mjs';
import { checkSchema } from './schema.mjs';
import statements from './statements.json' with { type: 'json' };

export const R = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
const IN_TOTO = 'application/vnd.in-toto+json';
const MAX_LISTED = 64;

/** Return {payload, message, signatures, statement, predicate, id} of a receipt's bytes. */
export function parseReceipt(data) {
  const where = 'receipt';
  need(data.length <= 2 ** 20, `${where}: larger than 1 MiB`);
  const envelope = parseCanonical(data, where);
  fields(envelope, ['payload', 'payloadType', 'signatures'], where);
  need(envelope.payloadType === IN_TOTO, `${where}.payloadType: expected ${IN_TOTO}`);
  const signatures = list(envelope.signatures, 1, 16, `${where}.signatures`).map((item) => {
    fields(item, ['keyid', 'sig'], `${where}.signatures`);
    const keyid = string(item.keyid, /^[A-Za-z0-9_-]{43}$/, `${where}.keyid`);
    return { keyid, sig: fromBase64(item.sig, `${where}.sig`, 8192) };
  });
  const payload = fromBase64(envelope.payload, `${where}.payload`, 2 ** 19);
  const statement = parseStatement(payload);
  const { predicate } = statement;
  const id = hex32(sha256(payload));
  return { payload, message: pae(payload), signatures, statement, predicate, id };
}

/** DSSE's pre-authentication encoding: the bytes that are signed. */
function pae(payload) {
  return join(utf8(`DSSEv1 ${IN_TOTO.length} ${IN_TOTO} ${payload.length} `), payload);
}

/** Return the statement of a payload, after every check of its form. */
export function parseStatement(payload) {
  const statement = parseJson(payload, 'statement');
  checkSchema(statement, schema, 'statement');
  const { predicate } = statement;
  const [critical] = predicate.critical;
  need(critical === undefined, `the critical extension ${critical} is not understood`);
  for (const time of Object.values(predicate.times)) if (time !== null) seconds(time);
  const distinct = (values) => new Set(values).size === values.length;
  need(distinct(predicate.signers.map((s) => s.keyid)), 'statement: a signer is there twice');
  const names = statement.subject.map((subject) => subject.name);
  need(distinct(names), 'statement: a subject is there twice');
  const first = names.indexOf('proof') === (predicate.proof === null ? -1 : 0);
  need(first, 'statement: the proof comes first, exactly if there is one');
  return statement;
}

/** Return the seconds since 1970 of a time such as 2026-01-31T23:59:59Z. */
export function seconds(time) {
  const ms = Date.parse(time);
  const same = !Number.isNaN(ms) && new Date(ms).toISOString() === time.replace('Z', '.000Z');
  need(same && !time.startsWith('0000'), `${time} is not a time`);
  return ms / 1000;
}

/** Refuse a receipt for another place than the verifier's {chain_id, ledger, recipient}. */
export function checkPlace(predicate, place) {
  const found = predicate.proof?.destination;
  const same = found !== undefined && canonical(found) === canonical(place);
  need(same, 'the receipt is for another chain, ledger or recipient');
}

/** Refuse a proof file of which the receipt does not name exactly these bytes. */
export function checkProofDigest(statement, data) {
  need(statement.predicate.proof !== null, 'the receipt names no proof');
  const named = statement.subject[0].digest.sha256;
  need(hex(sha256(data)) === named, 'the receipt names a different proof');
}

/** Refuse a receipt that says of a proof (`parseProof`) what the proof does not say itself. */
export function checkAgainstProof(predicate, proof) {
  const said = predicate.proof;
  for (const name of ['format', 'statement', 'circuit_digest', 'vk_digest']) {
    need(said[name] === proof[name], `the receipt's ${name} is not the proof's`);
  }
  need(said.key.status === proof.key_status, "the receipt's key status is not the proof's");
  const names = [...proof.public.keys()];
  const shown = new Map(names.map((name) => [name, shownSignal(proof.public.get(name))]));
  const count = Object.keys(said.public).length === names.length;
  const same = (name) => name in said.public
    && canonical(said.public[name]) === canonical(shown.get(name));
  need(count && names.every(same), "the receipt's public signals are not the proof's");
  const kind = statements.kinds[proof.statement.split('/')[0]] ?? predicate.kind;
  need(kind === predicate.kind, `a proof of ${proof.statement} is no ${predicate.kind}`);
  const single = (name) => {
    const values = proof.public.get(name) ?? [];
    return values.length === 1 ? String(values[0]) : null;
  };
  for (const name of ['model', 'fork', 'user']) {
    need(predicate[name] === single(name), `the receipt's ${name} is not the proof's`);
  }
  const step = proof.public.has('step') ? Number(proof.public.get('step')[0])
    : proof.public.has('fork') ? 0 : null;
  need(predicate.step === step, "the receipt's step is not the proof's");
  const unknown = said.commitments.find((name) => !proof.public.has(name));
  need(unknown === undefined, `the receipt's commitment ${unknown} is no public signal`);
  checkContext(said.destination, proof);
}

/** Return how a receipt shows a signal: text, a list, or for long ones their digest. */
function shownSignal(values) {
  if (values.length > MAX_LISTED) {
    const digest = hex32(sha256(join(...values.map(word))));
    return { count: values.length, sha256: digest };
  }
  return values.length === 1 ? String(values[0]) : values.map(String);
}

function checkContext(place, proof) {
  if (!proof.public.has('context')) return;
  const signal = (name) => word(proof.public.get(name)?.[0] ?? 0n);
  const context = toInteger(keccak256(join(
    keccak256(utf8('zkai/context/1')),
    keccak256(utf8(proof.statement)),
    word(place.chain_id),
    fromHex32(place.ledger, 'ledger'),
    signal('fork'),
    signal('step'),
    fromHex32(place.recipient, 'recipient'),
    fromHex32(proof.vk_digest, 'vk_digest'),
  ))) % R;
  const said = proof.public.get('context');
  const same = said.length === 1 && equal(word(said[0]), word(context));
  need(same, "the proof's context is for another destination than the receipt's");
}
