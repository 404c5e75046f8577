// Runs the page's code for tests: one JSON request a line in, one JSON answer a line out.
//
// Requests: {case: {files: {name: base64 or a list}, options}} keeps a case and verifies it;
// {flip: {file, at, mask}} verifies it with one byte changed; {call: name, args} calls one function
// with base64 or JSON arguments. Answers: {accepted, reason, ...}; {bug} for anything but a refusal.

import { createInterface } from 'node:readline';
import * as page from '../../web/src/verify.mjs';
import { recognise } from '../../web/src/files.mjs';
import { parseTrust } from '../../web/src/keys.mjs';
import { parseStatement } from '../../web/src/receipt.mjs';

const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
const json = (text) => page.parseJson(bytes(text), 'argument');

const CALLS = {
  checkpoint: (note, policy) => page.verifyCheckpoint(bytes(note), page.parsePolicy(json(policy))),
  name: (proof, policy) => page.verifyName(bytes(proof), page.parsePolicy(json(policy))),
  groth16: (proof, key) => page.verifyProof(page.parseProof(bytes(proof)), page.parseKey(bytes(key))),
  signature: (jwk, signature, message) =>
    page.checkSignature(page.publicKey(jwk, 'key'), bytes(signature), bytes(message), 'key'),
  recognise: (data, side) => recognise(bytes(data), side),
  trust: (data) => parseTrust(json(data)),
  policy: (data) => page.parsePolicy(json(data)),
  statement: (data) => parseStatement(bytes(data)),
  parse: (data) => page.parseJson(bytes(data), 'data'),
};

let kept;

function answer(request) {
  if (request.case) {
    const { files, options } = request.case;
    const read = ([name, value]) => [name, Array.isArray(value) ? value.map(bytes) : bytes(value)];
    kept = { files: Object.fromEntries(Object.entries(files).map(read)), options };
    return page.verify(kept.files, kept.options);
  }
  if (request.flip) {
    const { file, at, mask } = request.flip;
    const data = kept.files[file].slice();
    data[at] ^= mask;
    return page.verify({ ...kept.files, [file]: data }, kept.options);
  }
  CALLS[request.call](...request.args);
  return { accepted: true };
}

for await (const line of createInterface({ input: process.stdin })) {
  let found;
  try {
    found = answer(JSON.parse(line));
  } catch (error) {
    found = error instanceof page.Refused ? { accepted: false, reason: error.message }
      : { bug: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(found)}\n`);
}
