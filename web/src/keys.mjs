// Public keys and the trust store: whom the verifier believes, when, and who must have signed.

import { ed25519 } from '@noble/curves/ed25519.js';
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js';
import { fromBase64Url, need, sha256, toBase64Url, utf8 } from './bytes.mjs';
import { canonical, fields, isObject, list, string } from './json.mjs';

/** How far clocks may differ, in seconds. */
const SKEW = 300;
const KEYID = /^[A-Za-z0-9_-]{43}$/;

const ALGORITHMS = {
  'ML-DSA-65': {
    jwk: { kty: 'AKP', alg: 'ML-DSA-65' }, member: 'pub', bytes: 1952, signature: 3309,
    verify: (signature, message, key) => ml_dsa65.verify(signature, message, key),
  },
  Ed25519: {
    jwk: { kty: 'OKP', crv: 'Ed25519' }, member: 'x', bytes: 32, signature: 64,
    verify: (signature, message, key) => ed25519.verify(signature, message, key, { zip215: false }),
  },
};

/** Return {alg, data, id} of a public JWK; the id is its RFC 7638 thumbprint. */
export function publicKey(jwk, where) {
  need(isObject(jwk), `${where}: expected a public JWK`);
  const alg = jwk.kty === 'AKP' ? 'ML-DSA-65' : 'Ed25519';
  const known = ALGORITHMS[alg];
  fields(jwk, [...Object.keys(known.jwk), known.member], where);
  const same = Object.entries(known.jwk).every(([name, value]) => jwk[name] === value);
  need(same, `${where}: expected a public JWK of ML-DSA-65 or Ed25519`);
  const data = fromBase64Url(jwk[known.member], where, known.bytes);
  need(data.length === known.bytes, `${where}: a key of another length`);
  return { alg, data, id: toBase64Url(sha256(utf8(canonical(jwk)))) };
}

/** Refuse a signature that is not a key's over a message. */
export function checkSignature(key, signature, message, who) {
  const known = ALGORITHMS[key.alg];
  const fits = signature.length === known.signature;
  const good = fits && known.verify(signature, message, key.data);
  need(good, `the ${key.alg} signature of ${who} does not verify`);
}

/** Return {keys, required} of a parsed trust store, `keys` a Map by key id. */
export function parseTrust(value) {
  const where = 'trust store';
  need(isObject(value) && value.format === 'zkai.trust/1', `${where}: expected zkai.trust/1`);
  fields(value, ['format', 'keys', 'required'], where);
  const keys = new Map();
  for (const item of list(value.keys, 1, 1024, `${where}: keys`)) {
    const key = trusted(item, where);
    need(!keys.has(key.id), `${where}: a key is there twice`);
    keys.set(key.id, key);
  }
  const required = list(value.required, 0, 1024, `${where}: required`);
  for (const group of required) {
    list(group, 1, 1024, `${where}: a group`);
    need(new Set(group).size === group.length, `${where}: a group names a key twice`);
    for (const id of group) {
      string(id, KEYID, `${where}: a group`);
      need(keys.has(id), `${where}: required names ${id}, which is no key`);
    }
  }
  const strong = (group) => group.every((id) => keys.get(id).alg === 'ML-DSA-65');
  need(required.some(strong), `${where}: no group of required is of ML-DSA-65 keys only`);
  return { keys, required };
}

function trusted(item, where) {
  fields(item, ['jwk', 'name', 'not_before', 'not_after', 'revoked'], where);
  const length = typeof item.name === 'string' ? [...item.name].length : 0;
  need(length >= 1 && length <= 128, `${where}: a key's name has 1 to 128 characters`);
  if (item.revoked !== null) {
    fields(item.revoked, ['at', 'reason'], `${where}: revoked`);
    const { reason } = item.revoked;
    need(typeof reason === 'string' && [...reason].length <= 256, `${where}: a long reason`);
  }
  const moments = [item.not_before];
  if (item.not_after !== null) moments.push(item.not_after);
  if (item.revoked !== null) moments.push(item.revoked.at);
  const good = moments.every((m) => Number.isInteger(m) && m >= 0 && m < 2 ** 40);
  need(good, `${where}: expected seconds since 1970`);
  const { name, not_before: from, not_after: until, revoked } = item;
  return { ...publicKey(item.jwk, `${where}: ${name}`), name, from, until, revoked };
}

/** Refuse a key that does not count at a moment, `what` in words. */
export function checkMoment(key, moment, what) {
  need(moment >= key.from, `key ${key.name} was not yet valid ${what}`);
  need(key.until === null || moment < key.until, `key ${key.name} had expired ${what}`);
  const void_ = key.revoked !== null && moment >= key.revoked.at;
  need(!void_, `key ${key.name} was revoked ${what}: ${key.revoked?.reason}`);
}

/**
 * Refuse signatures [{keyid, sig}] unless they are those of the signed list [{alg, keyid}], in its
 * order, by keys of the store that are good, and everyone whom the store requires is among them.
 *
 * `logged` is when a witnessed checkpoint shows that this was in a log, or null: then keys must be
 * good now. The signer's own clock proves nothing.
 */
export function checkSigners(store, signatures, signers, message, { signed, now, logged }) {
  const listed = signers.map((signer) => signer.keyid);
  const same = signatures.length === listed.length;
  const ordered = same && signatures.every((item, i) => item.keyid === listed[i]);
  need(ordered, 'the signatures are not those of the signed list of signers');
  for (const group of store.required) {
    const names = group.map((id) => store.keys.get(id).name).join(' or ');
    const there = group.some((id) => listed.includes(id));
    need(there, `the trust store requires a signature of ${names}`);
  }
  const reference = logged ?? now;
  need(signed <= reference + SKEW, 'the receipt says that it was signed later than it was seen');
  signers.forEach((signer, i) => {
    const key = store.keys.get(signer.keyid);
    need(key !== undefined, `signer ${signer.keyid} is not in the trust store`);
    need(signer.alg === key.alg, `signer ${key.name} is listed under another algorithm`);
    checkSignature(key, signatures[i].sig, message, key.name);
    checkMoment(key, signed, 'when it says that it signed');
    checkMoment(key, reference, logged === null ? 'now' : 'when this was logged');
  });
}
