// Checks a value against the JSON Schema of receipts, of which it knows the keywords used there.

import { need, Refused } from './bytes.mjs';
import { canonical, isObject } from './json.mjs';

const KNOWN = new Set([
  'type', 'properties', 'required', 'additionalProperties', 'propertyNames', 'maxProperties',
  'items', 'minItems', 'maxItems', 'uniqueItems', 'pattern', 'maxLength', 'minimum', 'maximum',
  'enum', 'const', 'anyOf', '$ref', '$schema', '$id', '$defs', 'title', 'description',
]);

/** Refuse a value that is not of a schema, naming the field. */
export function checkSchema(value, root, where) {
  check(value, root, where, root);
}

function check(value, schema, where, root) {
  const unknown = Object.keys(schema).find((name) => !KNOWN.has(name));
  if (unknown) throw new Error(`schema keyword ${unknown} is not implemented`);
  if ('$ref' in schema) check(value, root.$defs[schema.$ref.slice('#/$defs/'.length)], where, root);
  if ('anyOf' in schema) anyOf(value, schema.anyOf, where, root);
  if ('type' in schema) {
    need([schema.type].flat().includes(typeOf(value)), `${where}: expected ${schema.type}`);
  }
  if ('const' in schema) need(value === schema.const, `${where}: expected ${schema.const}`);
  if ('enum' in schema) need(schema.enum.includes(value), `${where}: expected one of a list`);
  if (typeof value === 'string') checkText(value, schema, where);
  else if (typeof value === 'number') checkInteger(value, schema, where);
  else if (Array.isArray(value)) checkArray(value, schema, where, root);
  else if (isObject(value)) checkObject(value, schema, where, root);
}

function typeOf(value) {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value === 'number' ? 'integer' : typeof value;
}

function anyOf(value, options, where, root) {
  let reason;
  for (const option of options) {
    try {
      return check(value, option, where, root);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      reason = error;
    }
  }
  throw reason;
}

function checkText(value, schema, where) {
  const most = schema.maxLength ?? Infinity;
  need([...value].length <= most, `${where}: longer than ${most} characters`);
  const good = !('pattern' in schema) || new RegExp(schema.pattern, 'u').test(value);
  need(good, `${where}: expected text of the form ${schema.pattern}`);
}

function checkInteger(value, schema, where) {
  const good = value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity);
  need(good, `${where}: expected an integer of ${schema.minimum} to ${schema.maximum}`);
}

function checkArray(value, schema, where, root) {
  const good =
    value.length >= (schema.minItems ?? 0) && value.length <= (schema.maxItems ?? Infinity);
  need(good, `${where}: has ${value.length} entries`);
  const distinct = new Set(value.map(canonical)).size === value.length;
  need(distinct || !schema.uniqueItems, `${where}: an entry is there twice`);
  value.forEach((item, i) => check(item, schema.items ?? {}, `${where}[${i}]`, root));
}

function checkObject(value, schema, where, root) {
  const names = Object.keys(value);
  for (const name of schema.required ?? []) need(name in value, `${where}: missing field ${name}`);
  need(names.length <= (schema.maxProperties ?? Infinity), `${where}: has too many fields`);
  const rest = schema.additionalProperties ?? true;
  for (const name of names) {
    const at = `${where}.${name.slice(0, 80)}`;
    if (schema.propertyNames) check(name, schema.propertyNames, `${at} (its name)`, root);
    if (Object.hasOwn(schema.properties ?? {}, name)) {
      check(value[name], schema.properties[name], at, root);
    } else {
      need(rest !== false, `${where}: unknown field '${name.slice(0, 40)}'`);
      if (isObject(rest)) check(value[name], rest, at, root);
    }
  }
}
