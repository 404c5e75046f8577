// Groth16 over BN254, plain and with a commitment round: verifying keys, proofs, the equation.
//
//   plain:   e(A, B) = e(alpha, beta) e(IC_0 + sum x_i IC_i, gamma) e(C, delta)
//   commit:  e(A, B) = e(alpha, beta) e(IC_0 + y IC_1 + sum r_j IC_{j+1}, G2)
//                      e(D, delta1) e(C, delta2)
//
// In the second, the challenges r_j are hashed from the key, the public values and D, and y is the
// values folded by the first of them. A proof with linked states opens their commitments too.

import { pippenger } from '@noble/curves/abstract/curve.js';
import { bn254 } from '@noble/curves/bn254.js';
import {
  equal, fromHex32, hex32, join, keccak256, need, sha256, toInteger, utf8, word,
} from './bytes.mjs';
import { canonicalAscii, fields, isObject, list, parseJson, string } from './json.mjs';
import { R } from './receipt.mjs';
import statements from './statements.json' with { type: 'json' };

const { G1: { Point: G1 }, G2: { Point: G2 } } = bn254;
const Q = bn254.fields.Fp.ORDER;
const PLAIN = 'zkai.groth16/1';
const COMMIT = 'zkai.groth16-commit/1';
const LINKED = 'zkai.groth16-commit-link/1';
const KEYS = { 'zkai.groth16-vk/1': PLAIN, 'zkai.groth16-commit-vk/1': COMMIT };
const VERSION = /^[a-z][a-z0-9_]{0,63}\/[0-9]{1,6}$/;
const SIGNAL = /^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$/;
const CHALLENGE = /^[a-z][a-z0-9_ ]{0,31}$/;
const STATUS = /^(development|ceremony)$/;
/** More public values than this page is made for. */
const MOST = 2 ** 16;

// ---------------------------------------------------------------- points and numbers

function decimal(value, where) {
  string(value, /^(0|[1-9][0-9]{0,77})$/, where);
  const found = BigInt(value);
  need(found < 1n << 256n, `${where}: the value is not below 2^256`);
  return found;
}

/** Return a point as JSON gives it: [x, y], or [[x0, x1], [y0, y1]]. */
function coordinates(value, degree, where) {
  return list(value, 2, 2, where).map((item) =>
    degree === 1 ? decimal(item, where) : list(item, 2, 2, where).map((v) => decimal(v, where)));
}

/** Return the point of coordinates, after every check that a verifier makes of one. */
function point(value, name) {
  const flat = value.flat();
  need(flat.some((v) => v !== 0n), `${name} is the point at infinity`);
  need(flat.every((v) => v < Q), `${name}: a coordinate is not below the base field modulus`);
  const [x, y] = value;
  const found = flat.length === 2 ? G1.fromAffine({ x, y })
    : G2.fromAffine({ x: { c0: x[0], c1: x[1] }, y: { c0: y[0], c1: y[1] } });
  try {
    found.assertValidity();
  } catch {
    need(false, `${name} is not a point of its group`);
  }
  return found;
}

/** Return coordinates as bytes, big-endian, a G2 coordinate's u part first. */
function encoded(value) {
  return join(...value.map((v) => (typeof v === 'bigint' ? word(v) : join(word(v[1]), word(v[0])))));
}

// ---------------------------------------------------------------- documents

/** Return a proof's parts as they stand in its file; `verifyProof` checks them. */
export function parseProof(data) {
  const where = 'proof';
  need(data.length <= 2 ** 24, `${where}: larger than 16 MiB`);
  const value = parseJson(data, where);
  need(isObject(value), `${where}: expected a JSON object`);
  const commit = value.format === COMMIT;
  need(commit || value.format === PLAIN, `${where}: of another format than ${PLAIN}, ${COMMIT}`);
  const linked = commit && 'link' in value;
  const names = ['format', 'statement', 'circuit_digest', 'vk_digest', 'key_status', 'public', 'proof'];
  fields(value, linked ? [...names, 'link'] : names, where);
  string(value.statement, VERSION, `${where}.statement`);
  fromHex32(value.circuit_digest, `${where}.circuit_digest`);
  fromHex32(value.vk_digest, `${where}.vk_digest`);
  string(value.key_status, STATUS, `${where}.key_status`);
  const listed = commit ? ['a', 'b', 'c', 'd'] : ['a', 'b', 'c'];
  fields(value.proof, listed, `${where}.proof`);
  const points = Object.fromEntries(listed.map((name) =>
    [name, coordinates(value.proof[name], name === 'b' ? 2 : 1, `${where}.proof.${name}`)]));
  const link = linked ? parseLink(value.link, `${where}.link`) : null;
  return { ...value, public: publicValues(value.public, `${where}.public`), points, link };
}

function publicValues(value, where) {
  need(isObject(value), `${where}: expected a JSON object`);
  const found = new Map();
  let count = 0;
  for (const [name, listed] of Object.entries(value)) {
    string(name, SIGNAL, `${where}: a name`);
    const items = typeof listed === 'string' ? [listed] : list(listed, 2, MOST, `${where}.${name}`);
    found.set(name, items.map((item) => decimal(item, `${where}.${name}`)));
    count += items.length;
  }
  need(count <= MOST, `${where}: more than ${MOST} values; verify this proof with zkai`);
  return found;
}

function parseLink(value, where) {
  fields(value, ['commitments', 'evaluations', 'opening'], where);
  return {
    commitments: list(value.commitments, 1, 8, where).map((p) => coordinates(p, 1, where)),
    evaluations: list(value.evaluations, 1, 8, where).map((v) => decimal(v, where)),
    opening: coordinates(value.opening, 1, where),
  };
}

/** Return a verifying key of either format with its digest, after checking all of it. */
export function parseKey(data) {
  const where = 'verifying key';
  need(data.length <= 2 ** 26, `${where}: larger than 64 MiB`);
  const value = parseJson(data, where);
  const proofs = isObject(value) ? KEYS[value.format] : undefined;
  need(proofs !== undefined, `${where}: of another format than ${Object.keys(KEYS).join(', ')}`);
  const whole = proofs === PLAIN || !('polynomials' in value);
  need(whole, `${where}: of proofs about a ciphertext; verify these with zkai, and the ciphertext`);
  const linked = proofs === COMMIT && 'links' in value;
  const g2 = proofs === PLAIN ? ['beta', 'gamma', 'delta'] : ['beta', 'delta1', 'delta2'];
  if (linked) g2.push('tau');
  const extra = proofs === PLAIN ? [] : linked ? ['challenges', 'links'] : ['challenges'];
  fields(value, [
    'format', 'statement', 'circuit_digest', 'vk_digest', 'key_status', 'public', 'alpha', 'ic',
    'ceremony', ...extra, ...g2,
  ], where);
  string(value.statement, VERSION, `${where}.statement`);
  string(value.key_status, STATUS, `${where}.key_status`);
  const recorded = (value.key_status === 'ceremony') === (value.ceremony !== null);
  need(recorded, `${where}: its status and its record of a ceremony disagree`);
  const names = (name) =>
    list(value[name] ?? [], 0, 255, where).map((n) => string(n, CHALLENGE, where));
  const key = {
    ...value,
    proofs,
    signals: signals(value.public, `${where}.public`),
    challenges: names('challenges'),
    links: names('links'),
    g1: [value.alpha, ...list(value.ic, 1, MOST + 1, where)].map((p) => coordinates(p, 1, where)),
    g2: g2.map((name) => coordinates(value[name], 2, `${where}.${name}`)),
  };
  key.points1 = key.g1.map((p, i) => point(p, `${where}: ${i ? `ic[${i - 1}]` : 'alpha'}`));
  key.points2 = key.g2.map((p, i) => point(p, `${where}: ${g2[i]}`));
  key.digest = digest(key);
  need(hex32(key.digest) === value.vk_digest, `${where}.vk_digest: not the digest of this key`);
  if (proofs === PLAIN) checkPlainKey(key, where);
  else checkCommitKey(key, linked, where);
  checkSignals(key);
  return key;
}

function signals(value, where) {
  const found = list(value, 0, MOST, where).map((item) => {
    fields(item, ['name', 'size'], where);
    const good = Number.isInteger(item.size) && item.size >= 1 && item.size <= MOST;
    need(good, `${where}: a size is an integer of 1 to ${MOST}`);
    return { name: string(item.name, SIGNAL, where), size: item.size };
  });
  const distinct = new Set(found.map((signal) => signal.name)).size === found.length;
  need(distinct, `${where}: a name appears twice`);
  return found;
}

const total = (found) => found.reduce((sum, signal) => sum + signal.size, 0);

function digest(key) {
  const { links, challenges } = key;
  const sizes = key.proofs === PLAIN ? [key.g1.length - 2]
    : [total(key.signals), challenges.length, ...(links.length ? [links.length] : [])];
  const [alpha, ...ic] = key.g1.map(encoded);
  return keccak256(join(
    keccak256(utf8(links.length ? LINKED : key.proofs)),
    word(key.key_status === 'ceremony' ? 1 : 0),
    fromHex32(key.circuit_digest, 'verifying key: circuit_digest'),
    ...sizes.map(word),
    alpha,
    ...key.g2.map(encoded),
    ...ic,
  ));
}

function checkPlainKey(key, where) {
  const sized = total(key.signals) === key.g1.length - 2;
  need(sized, `${where}: \`public\` and \`ic\` disagree on the number of signals`);
  const [, gamma, delta] = key.g2;
  const apart = gamma[0].some((v, i) => v !== delta[0][i]);
  need(apart, `${where}: gamma and delta are the same point up to sign: anyone can forge proofs`);
}

function checkCommitKey(key, linked, where) {
  const { challenges, links } = key;
  need(challenges[0] === 'fold', `${where}.challenges: expected 1 to 255, \`fold\` the first`);
  need(new Set(challenges).size === challenges.length, `${where}.challenges: a name appears twice`);
  const sized = key.g1.length - 1 === challenges.length + links.length + 2;
  need(sized, `${where}: \`challenges\` and \`ic\` disagree on their number`);
  const { x } = G2.BASE.toAffine();
  const known = [[x.c0, x.c1], ...key.g2.slice(1).map((p) => p[0])].map(String);
  need(new Set(known).size === known.length, `${where}: a delta or tau is one that everyone knows`);
  const names = key.signals.flatMap(({ name, size }) => Array(Math.min(size, 9)).fill(name));
  const last = links.length ? names.slice(-links.length) : [];
  const named = linked === links.length > 0 && String(last) === String(links) && links.length <= 8;
  need(named, `${where}.links: expected the names of the last signals`);
}

/** A key's digest covers no names, so a known statement's must be that statement's, in order. */
function checkSignals({ statement, signals: found }) {
  const names = found.map((signal) => signal.name);
  const { orders, tails, several } = statements;
  const same = (order) => order.length === names.length && order.every((n, i) => n === names[i]);
  let good = true;
  if (statement === 'inference/1') {
    const kinds = names.map((name) => name.split('.')[0]);
    const count = kinds.filter((kind) => ['input', 'output', 'weights'].includes(kind)).length;
    const tensors = kinds.slice(0, count);
    const tail = String(names.slice(count));
    good = String([...tensors].sort()) === String(tensors) && tails.map(String).includes(tail)
      && tensors.every((kind) => ['input', 'output', 'weights'].includes(kind));
  } else if (Object.hasOwn(orders, statement)) {
    const sizes = new Set(found.filter((s) => several.includes(s.name)).map((s) => s.size));
    const single = found.every((s) => s.size === 1 || several.includes(s.name));
    good = orders[statement].some(same) && single && sizes.size <= 1;
  }
  need(good, `the key's signals are not those of ${statement}, in its order`);
}

/** Return the digest of a key's record of its ceremony as receipts name it, null without one. */
export function transcriptDigest(key) {
  return key.ceremony === null ? null : hex32(sha256(utf8(canonicalAscii(key.ceremony))));
}

// ---------------------------------------------------------------- verification

/** Refuse a proof that does not hold under a key. */
export function verifyProof(proof, key) {
  need(proof.format === key.proofs, `the proof has the format ${proof.format}, the key another`);
  for (const name of ['statement', 'circuit_digest', 'vk_digest', 'key_status']) {
    need(proof[name] === key[name], `the proof was made for another ${name} than the verifying key`);
  }
  const known = key.signals.every(({ name }) => proof.public.has(name));
  const all = known && key.signals.length === proof.public.size;
  need(all, "the proof's public signals are not those of the key");
  const values = key.signals.flatMap(({ name, size }) => {
    const listed = proof.public.get(name);
    need(listed.length === size, `public signal ${name} has ${listed.length} values, not ${size}`);
    const good = listed.every((v) => v < R);
    need(good, `public signal ${name} is not below the scalar field modulus`);
    return listed;
  });
  const points = Object.fromEntries(Object.entries(proof.points).map(([name, p]) =>
    [name, point(p, `proof point ${name.toUpperCase()}`)]));
  const pairs = key.proofs === PLAIN
    ? plainPairs(key, values, points) : commitPairs(key, proof, values, points);
  const [alpha] = key.points1;
  pairs.push([points.a.negate(), points.b], [alpha, key.points2[0]]);
  const live = pairs.filter(([g1]) => !g1.is0()).map(([g1, g2]) => ({ g1, g2 }));
  const { Fp12 } = bn254.fields;
  const holds = Fp12.eql(bn254.pairingBatch(live), Fp12.ONE);
  need(holds, 'the proof does not verify: the pairing equation does not hold');
}

const sum = (points, scalars) => pippenger(G1, points, scalars);

function plainPairs(key, values, { c }) {
  const [, gamma, delta] = key.points2;
  return [[sum(key.points1.slice(1), [1n, ...values]), gamma], [c, delta]];
}

function commitPairs(key, proof, values, { c, d }) {
  const [, delta1, delta2, tau] = key.points2;
  const { link } = proof;
  need((link !== null) === key.links.length > 0, 'the proof opens commitments and the key does not, or the other way round');
  const seed = keccak256(join(
    keccak256(utf8(link ? LINKED : COMMIT)),
    key.digest,
    word(values.length),
    ...values.map(word),
    ...(link?.commitments ?? []).map(encoded),
    encoded(proof.points.d),
  ));
  const modR = (data) => toInteger(keccak256(data)) % R;
  const challenges = key.challenges.map((_, j) => modR(join(seed, word(j + 1))));
  const [fold] = challenges;
  const y = values.reduceRight((folded, value) => ((folded + value) * fold) % R, 0n);
  const points = key.points1.slice(1);
  const scalars = [1n, y, ...challenges, ...(link?.evaluations ?? [])];
  const pairs = [[d, delta1], [c, delta2]];
  if (link !== null) {
    const opened = opening(key, proof, values, seed, fold);
    points.push(...opened.points);
    scalars.push(...opened.scalars);
    pairs.push([opened.minus, tau]);
  }
  return [...pairs, [sum(points, scalars), G2.BASE]];
}

/** Return the terms that open all linked states at `fold`, and what is paired with tau. */
function opening(key, { link, points }, values, seed, fold) {
  const { commitments, evaluations } = link;
  const count = key.links.length;
  const counted = commitments.length === count && evaluations.length === count;
  need(counted, `the proof links ${commitments.length} states, not ${count}`);
  need(evaluations.every((v) => v < R), 'an evaluation is not below the scalar field modulus');
  const found = commitments.map((p, i) => point(p, `proof point commitments[${i}]`));
  const pi = point(link.opening, 'proof point opening');
  const named = commitments.every((p, i) =>
    equal(word(values[values.length - count + i]), word(toInteger(keccak256(encoded(p)).slice(0, 31)))));
  need(named, "the proof's commitments are not those that its last public signals name");
  const batching = keccak256(join(seed, word(0), ...evaluations.map(word)));
  const { a, b, c } = points;
  const u = toInteger(keccak256(join(batching, ...[a, b, c, link.opening].map(encoded)))) % R;
  const v = toInteger(batching) % R;
  const powers = [u];
  while (powers.length < count) powers.push((powers.at(-1) * v) % R);
  const claimed = powers.reduce((sum_, p, i) => (sum_ + p * evaluations[i]) % R, 0n);
  return {
    points: [...found, G1.BASE, pi],
    scalars: [...powers, (R - claimed) % R, (u * fold) % R],
    minus: sum([pi], [(R - u) % R]),
  };
}
