#!/usr/bin/env node
'use strict';
// Stands in for the native Solidity compiler: forge test --use ./solc.js

const fs = require('fs');
const path = require('path');
const solc = require(require.resolve('solc', { paths: [path.join(__dirname, '..')] }));

if (process.argv.includes('--standard-json')) {
  process.stdout.write(solc.compile(fs.readFileSync(0, 'utf8')));
} else {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
}
