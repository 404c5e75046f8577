// Tells files apart by what is in them, and refuses one on the side where it does not belong.

import { need, Refused, utf8 } from './bytes.mjs';
import { isObject, parseJson } from './json.mjs';

const FORMATS = {
  'zkai.groth16/1': ['given', 'proof', 'a proof'],
  'zkai.groth16-commit/1': ['given', 'proof', 'a proof with a commitment round'],
  'zkai.map-proof/1': ['given', 'statuses', "a map proof"],
  'zkai.trust/1': ['trusted', 'trust', 'a trust store'],
  'zkai.log-policy/1': ['trusted', 'policy', "a log's policy"],
  'zkai.groth16-vk/1': ['trusted', 'key', 'a verifying key'],
  'zkai.groth16-commit-vk/1': ['trusted', 'key', 'a verifying key with a commitment round'],
};

/** Return {kind, words} of a file that was put on a side: "given" or "trusted". */
export function recognise(data, side) {
  const [belongs, kind, words] = find(data);
  const elsewhere = belongs === 'given' ? 'what you were given' : 'what you trust';
  need(belongs === side, `${words} belongs to ${elsewhere}`);
  return { kind, words };
}

function find(data) {
  if (startsWith(data, 'c2sp.org/tlog-proof@')) return ['given', 'inclusion', 'an inclusion proof'];
  let value;
  try {
    value = parseJson(data, 'file');
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const note = new TextDecoder().decode(data).includes('\n\n\u2014 ');
    need(note, 'neither JSON, nor an inclusion proof, nor a checkpoint');
    return ['given', 'checkpoint', 'a checkpoint'];
  }
  if (isObject(value) && 'payloadType' in value) return ['given', 'receipt', 'a receipt'];
  const known = isObject(value) && typeof value.format === 'string'
    && Object.hasOwn(FORMATS, value.format);
  need(known, 'of no format that this page reads');
  return FORMATS[value.format];
}

function startsWith(data, words) {
  return utf8(words).every((byte, i) => data[i] === byte);
}
