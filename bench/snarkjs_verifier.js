'use strict';
// Renders snarkjs's own Solidity template for a verifying key given as JSON on standard input.

const fs = require('fs');
const path = require('path');
const ejs = require('ejs');

const template = path.join(
  __dirname, '..', 'node_modules', 'snarkjs', 'templates', 'verifier_groth16.sol.ejs');
const key = JSON.parse(fs.readFileSync(0, 'utf8'));
process.stdout.write(ejs.render(fs.readFileSync(template, 'utf8'), key));
