// The log: signed notes (C2SP), checkpoints, inclusion proofs (RFC 9162), and the map of names.

import { equal, fromBase64, join, need, sha256, text, toInteger, utf8 } from './bytes.mjs';
import { fields, isObject, list, parseJson } from './json.mjs';
import { checkSignature, publicKey } from './keys.mjs';

const NAME = /^[^\s+]{1,255}$/u;
const CONTROL = /[\u0000-\u0009\u000b-\u001f]/;
const DECIMAL = /^(0|[1-9][0-9]{0,18})$/;
const MAX_SIZE = 2n ** 63n;
const NOTE_TYPES = {
  Ed25519: [Uint8Array.of(1), Uint8Array.of(4)],
  'ML-DSA-65': [
    join(Uint8Array.of(255), utf8('zkai/ml-dsa-65/1')),
    join(Uint8Array.of(255), utf8('zkai/ml-dsa-65/cosignature/1')),
  ],
};

/** Return {origin, key, witnesses: [{name, key}], quorum} of a parsed policy. */
export function parsePolicy(value) {
  const where = 'log policy';
  const format = 'zkai.log-policy/1';
  need(isObject(value) && value.format === format, `${where}: expected ${format}`);
  fields(value, ['format', 'origin', 'key', 'witnesses', 'quorum'], where);
  const named = (name) => typeof name === 'string' && NAME.test(name) && !CONTROL.test(name);
  const key = publicKey(value.key, `${where}: key`);
  need(key.alg === 'ML-DSA-65', `${where}: the log's key is not of ML-DSA-65`);
  const witnesses = list(value.witnesses, 0, 16, `${where}: witnesses`).map((item) => {
    fields(item, ['name', 'key'], `${where}: a witness`);
    return { name: item.name, key: publicKey(item.key, `${where}: a witness`) };
  });
  const names = [value.origin, ...witnesses.map((w) => w.name)];
  need(names.every(named), `${where}: a name is 1 to 255 characters without spaces and plus signs`);
  const ids = new Set([key.id, ...witnesses.map((w) => w.key.id)]);
  const distinct = new Set(witnesses.map((w) => w.name)).size === witnesses.length;
  need(distinct && ids.size === names.length, `${where}: names and keys must differ`);
  const { origin, quorum } = value;
  const reachable = Number.isInteger(quorum) && quorum >= 0 && quorum <= witnesses.length;
  need(reachable, `${where}: the quorum cannot be reached`);
  return { origin, key, witnesses, quorum };
}

/** Return {text, lines: [{name, id, signature}]} of a signed note. */
function parseNote(data, where) {
  need(data.length <= 2 ** 18, `${where}: the note is too large`);
  const whole = text(data, where);
  const cut = whole.lastIndexOf('\n\n');
  const good = cut >= 0 && whole.endsWith('\n') && !whole.endsWith('\n\n') && !CONTROL.test(whole);
  need(good, `${where}: expected text, a blank line and signature lines`);
  const listed = whole.slice(cut + 2, -1).split('\n');
  need(listed.length <= 32, `${where}: more than 32 signatures`);
  const lines = listed.map((line) => {
    const [dash, name, signature, ...rest] = line.split(' ');
    const shaped = dash === '\u2014' && NAME.test(name ?? '') && rest.length === 0;
    need(shaped, `${where}: a signature line is not '\u2014 name signature'`);
    const bytes = fromBase64(signature, `${where}: a signature`, 8192);
    need(bytes.length >= 5, `${where}: a signature is too short`);
    return { name, id: bytes.slice(0, 4), signature: bytes.slice(4) };
  });
  return { text: whole.slice(0, cut + 1), lines };
}

/** Return what a named key signed in a note, not verified, or undefined. */
function signatureOf(note, name, key, cosigner) {
  const kind = NOTE_TYPES[key.alg][cosigner ? 1 : 0];
  const id = sha256(join(utf8(`${name}\n`), kind, key.data)).slice(0, 4);
  const found = note.lines.filter((line) => line.name === name && equal(line.id, id));
  need(found.length <= 1, `note: ${name} signed twice`);
  return found[0]?.signature;
}

function seenBy(note, { name, key }) {
  const signature = signatureOf(note, name, key, true);
  if (signature === undefined) return null;
  const at = toInteger(signature.slice(0, 8));
  const good = signature.length > 8 && at > 0n && at < MAX_SIZE;
  need(good, `the cosignature of ${name} is malformed`);
  const message = utf8(`cosignature/v1\ntime ${at}\n${note.text}`);
  checkSignature(key, signature.slice(8), message, name);
  return Number(at);
}

/**
 * Return {size, root, mapRoot, seen, witnesses} of a checkpoint that a policy accepts. `seen` is
 * the earliest time by which the quorum had cosigned, null where the policy asks for nobody.
 */
export function verifyCheckpoint(data, policy, where = 'checkpoint') {
  const note = parseNote(data, where);
  const signature = signatureOf(note, policy.origin, policy.key, false);
  need(signature !== undefined, `${where}: not signed by ${policy.origin}`);
  checkSignature(policy.key, signature, utf8(note.text), policy.origin);
  const [origin, size, root, map, end, ...rest] = note.text.split('\n');
  const shaped = end === '' && rest.length === 0 && map.startsWith('zkai-map/1 ');
  need(shaped, `${where}: expected origin, size, root and the map's root`);
  const counted = DECIMAL.test(size) && BigInt(size) <= MAX_SIZE;
  need(counted, `${where}: its size is not a canonical number`);
  need(origin === policy.origin, `${where}: of ${origin}, not of ${policy.origin}`);
  const seen = policy.witnesses.map((w) => seenBy(note, w)).filter((at) => at !== null);
  const enough = `${where}: ${seen.length} of the policy's witnesses cosigned, ${policy.quorum} must`;
  need(seen.length >= policy.quorum, enough);
  return {
    size: BigInt(size),
    root: hash(root, where),
    mapRoot: hash(map.slice('zkai-map/1 '.length), where),
    seen: policy.quorum ? seen.sort((a, b) => a - b)[policy.quorum - 1] : null,
    witnesses: seen.length,
  };
}

function hash(value, where) {
  const data = fromBase64(value, where, 32);
  need(data.length === 32, `${where}: a hash has 32 bytes`);
  return data;
}

/** Return {index, checkpoint} of an entry's C2SP tlog-proof under a policy. */
export function verifyInclusion(data, entry, policy) {
  const where = 'inclusion proof';
  const header = utf8('c2sp.org/tlog-proof@v1\nindex ');
  need(equal(data.slice(0, header.length), header), `${where}: expected c2sp.org/tlog-proof@v1`);
  let cut = header.length;
  while (cut < data.length && !(data[cut] === 10 && data[cut + 1] === 10)) cut += 1;
  const [number, ...listed] = text(data.slice(header.length, cut), where).split('\n');
  need(DECIMAL.test(number) && listed.length <= 66, `${where}: expected a canonical index`);
  const path = listed.map((line) => hash(line, where));
  const checkpoint = verifyCheckpoint(data.slice(cut + 2), policy);
  const index = BigInt(number);
  const there = index < checkpoint.size;
  need(there, `inclusion: there is no entry ${index} in a log of ${checkpoint.size} entries`);
  checkPath(index, checkpoint, entry, path);
  return { index, checkpoint };
}

/** RFC 9162, section 2.1.3.2. */
function checkPath(index, { size, root }, entry, path) {
  const node = (left, right) => sha256(join(Uint8Array.of(1), left, right));
  let [inner, last] = [index, size - 1n];
  let found = sha256(join(Uint8Array.of(0), entry));
  for (const sibling of path) {
    need(last !== 0n, 'inclusion: the proof is too long');
    if (inner & 1n || inner === last) {
      found = node(sibling, found);
      while (!(inner & 1n) && inner !== 0n) [inner, last] = [inner >> 1n, last >> 1n];
    } else {
      found = node(found, sibling);
    }
    [inner, last] = [inner >> 1n, last >> 1n];
  }
  need(last === 0n, 'inclusion: the proof is too short');
  need(equal(found, root), 'inclusion: the proof leads to another root');
}

/** Return {name, value, checkpoint} of a zkai.map-proof/1; `value` is parsed JSON, or null. */
export function verifyName(data, policy) {
  const where = 'map proof';
  need(data.length <= 2 ** 20, `${where}: larger than 1 MiB`);
  const document = parseJson(data, where);
  const good = isObject(document) && document.format === 'zkai.map-proof/1';
  need(good, `${where}: expected zkai.map-proof/1`);
  fields(document, ['format', 'name', 'value', 'proof', 'checkpoint'], where);
  const { name, proof } = document;
  const texts = typeof name === 'string' && typeof document.checkpoint === 'string';
  need(texts, `${where}: expected a name and a checkpoint`);
  fields(proof, ['siblings', 'end'], where);
  const siblings = list(proof.siblings, 0, 256, where).map((s) => hash(s, where));
  const end = proof.end === null ? null : list(proof.end, 2, 2, where).map((s) => hash(s, where));
  const value = document.value === null ? null : fromBase64(document.value, where, 4096);
  const checkpoint = verifyCheckpoint(utf8(document.checkpoint), policy);
  checkName(checkpoint.mapRoot, name, value, siblings, end);
  return { name, value: value === null ? null : parseJson(value, where), checkpoint };
}

/** Refuse a proof that does not show, under a map's root, this value of a name, or none. */
function checkName(root, name, value, siblings, end) {
  const path = sha256(utf8(`zkai/map/1${name}`));
  const bit = (place, depth) => (place[depth >> 3] >> (7 - (depth & 7))) & 1;
  let [found, shown] = [new Uint8Array(32), null];
  if (end !== null) {
    const [place, digest] = end;
    found = sha256(join(Uint8Array.of(2), place, digest));
    if (equal(place, path)) shown = digest;
    const beside = siblings.some((_, depth) => bit(place, depth) !== bit(path, depth));
    need(!beside, "map: the proof ends at a leaf beside the name's path");
  }
  const same = value === null ? shown === null : shown !== null && equal(shown, sha256(value));
  need(same, `map: the proof does not show this value of ${name}`);
  for (let depth = siblings.length - 1; depth >= 0; depth -= 1) {
    const pair = bit(path, depth) ? [siblings[depth], found] : [found, siblings[depth]];
    found = sha256(join(Uint8Array.of(3), ...pair));
  }
  need(equal(found, root), 'map: the proof leads to another root');
}
