'use strict';
// Reads standard JSON on standard input and prints the compiler's answer with its version.
// Everything comes from the npm package solc: nothing is downloaded.

const fs = require('fs');
const path = require('path');
const solc = require(require.resolve('solc', { paths: [path.join(__dirname, '..')] }));

const input = fs.readFileSync(0, 'utf8');
const output = JSON.parse(solc.compile(input));
process.stdout.write(JSON.stringify({ version: solc.version(), output }));
