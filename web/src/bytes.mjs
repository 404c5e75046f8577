// Bytes, hashes, and encodings of which each value has exactly one.

import { sha256 } from '@noble/hashes/sha2.js';
import { keccak_256 as keccak256 } from '@noble/hashes/sha3.js';

export { keccak256, sha256 };

/** A check ran and failed, or the input cannot be used. Any other exception is a bug. */
export class Refused extends Error {}

export function need(condition, reason) {
  if (!condition) throw new Refused(reason);
}

export const utf8 = (text) => new TextEncoder().encode(text);

/** Return the text of UTF-8 bytes; a byte order mark stays, and is then refused as content. */
export function text(data, where) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new Refused(`${where}: not UTF-8`);
  }
}

export function join(...parts) {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function equal(a, b) {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export const hex = (data) => Array.from(data, (b) => b.toString(16).padStart(2, '0')).join('');
export const hex32 = (data) => `0x${hex(data)}`;

/** Return the 32 bytes of "0x" and 64 lower-case digits. */
export function fromHex32(value, where) {
  const good = typeof value === 'string' && /^0x[0-9a-f]{64}$/.test(value);
  need(good, `${where}: expected 0x and 64 lower-case hexadecimal digits`);
  return Uint8Array.from(value.slice(2).match(/../g), (pair) => parseInt(pair, 16));
}

/** Return a non-negative integer below 2^256 as 32 bytes, big-endian. */
export function word(value) {
  return fromHex32(`0x${BigInt(value).toString(16).padStart(64, '0')}`, 'word');
}

export const toInteger = (data) => BigInt(data.length ? hex32(data) : 0);

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Return the bytes of canonical standard base64: padded, and no stray bits (RFC 4648). */
export function fromBase64(value, where, most) {
  const good = typeof value === 'string' && value.length <= Math.ceil(most / 3) * 4;
  need(good, `${where}: expected base64 of at most ${most} bytes`);
  need(value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value), `${where}: not base64`);
  const body = value.replace(/=+$/, '');
  const stray = { 0: 0, 2: 15, 3: 3 }[body.length % 4];
  const last = body.length ? ALPHABET.indexOf(body.at(-1)) : 0;
  need(stray !== undefined && (last & stray) === 0, `${where}: not canonical base64`);
  const data = Uint8Array.from(atob(value), (c) => c.charCodeAt(0));
  need(data.length <= most, `${where}: more than ${most} bytes`);
  return data;
}

/** Return the bytes of canonical base64url without padding (RFC 7515). */
export function fromBase64Url(value, where, most) {
  const good = typeof value === 'string' && /^[A-Za-z0-9_-]*$/.test(value);
  need(good, `${where}: not base64url`);
  const standard = value.replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(standard.padEnd(Math.ceil(value.length / 4) * 4, '='), where, most);
}

export function toBase64Url(data) {
  const standard = btoa(Array.from(data, (b) => String.fromCharCode(b)).join(''));
  return standard.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}
