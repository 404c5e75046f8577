// JSON from strangers: integers only, no key twice; and its canonical form (RFC 8785).

import { need, Refused, text, utf8 } from './bytes.mjs';

const MAX_DEPTH = 32;

/**
 * Return the value of JSON bytes. Objects have no prototype, so no name means more than it says.
 * Refuses repeated keys, numbers that are not safe integers, and nesting deeper than 32.
 */
export function parseJson(data, where) {
  const source = text(data, where);
  let at = 0;

  const fail = () => {
    throw new Refused(`${where}: not valid JSON at character ${at}`);
  };
  const skip = () => {
    while (' \t\n\r'.includes(source[at] ?? '.')) at += 1;
  };
  const take = (token) => {
    skip();
    if (!source.startsWith(token, at)) return false;
    at += token.length;
    return true;
  };

  function string() {
    const start = at - 1;
    while (source[at] !== '"') {
      if (at >= source.length) fail();
      at += source[at] === '\\' ? 2 : 1;
    }
    at += 1;
    try {
      return JSON.parse(source.slice(start, at));
    } catch {
      return fail();
    }
  }

  function integer() {
    const found = /-?(?:0|[1-9][0-9]*)(?![0-9.eE])/y;
    found.lastIndex = at;
    const digits = found.exec(source)?.[0];
    const value = Number(digits ?? NaN);
    need(Number.isSafeInteger(value), `${where}: not valid JSON of integers at character ${at}`);
    at += digits.length;
    return value === 0 ? 0 : value;
  }

  function items(end, each) {
    if (take(end)) return;
    do each();
    while (take(','));
    if (!take(end)) fail();
  }

  function value(depth) {
    need(depth <= MAX_DEPTH, `${where}: nested deeper than ${MAX_DEPTH}`);
    if (take('"')) return string();
    if (take('{')) {
      const object = Object.create(null);
      items('}', () => {
        if (!take('"')) fail();
        const key = string();
        need(!(key in object), `${where}: a JSON object repeats a key`);
        if (!take(':')) fail();
        object[key] = value(depth + 1);
      });
      return object;
    }
    if (take('[')) {
      const list = [];
      items(']', () => list.push(value(depth + 1)));
      return list;
    }
    for (const [word, constant] of [['null', null], ['true', true], ['false', false]]) {
      if (take(word)) return constant;
    }
    return integer();
  }

  const found = value(0);
  skip();
  if (at !== source.length) fail();
  return found;
}

export const isObject = (value) =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function write(value, quote) {
  if (Array.isArray(value)) return `[${value.map((item) => write(item, quote)).join(',')}]`;
  if (!isObject(value)) return typeof value === 'string' ? quote(value) : JSON.stringify(value);
  const pairs = Object.keys(value).sort().map((k) => `${quote(k)}:${write(value[k], quote)}`);
  return `{${pairs.join(',')}}`;
}

/** Return the canonical text of a parsed value (RFC 8785). */
export function canonical(value) {
  return write(value, JSON.stringify);
}

/** Return it with everything beyond ASCII escaped. */
export function canonicalAscii(value) {
  const escape = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return write(value, (string) => JSON.stringify(string).replace(/[^ -~]/g, escape));
}

/** Return the value of bytes that are canonical JSON with ASCII keys, and refuse all others. */
export function parseCanonical(data, where) {
  const value = parseJson(data, where);
  const found = utf8(canonical(value));
  const same = found.length === data.length && found.every((byte, i) => byte === data[i]);
  need(same && asciiKeys(value), `${where}: not canonical JSON (RFC 8785)`);
  return value;
}

function asciiKeys(value) {
  if (Array.isArray(value)) return value.every(asciiKeys);
  if (!isObject(value)) return true;
  return Object.entries(value).every(([key, item]) => /^[ -~]*$/.test(key) && asciiKeys(item));
}

/** Return an object's fields after checking that they are exactly `names`. */
export function fields(value, names, where) {
  need(isObject(value), `${where}: expected a JSON object`);
  for (const name of names) need(name in value, `${where}: missing field ${name}`);
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  need(unknown === undefined, `${where}: unknown field '${unknown?.slice(0, 40)}'`);
  return value;
}

export function list(value, least, most, where) {
  const good = Array.isArray(value) && value.length >= least && value.length <= most;
  need(good, `${where}: expected a list of ${least} to ${most}`);
  return value;
}

export function string(value, pattern, where) {
  need(typeof value === 'string' && pattern.test(value), `${where}: expected text: ${pattern}`);
  return value;
}
