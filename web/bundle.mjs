// Prints the page as one file: sources and npm packages bundled, hashes in its policy.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** Packages of which code is in the page; each is MIT, and its licence goes along. */
const PACKAGES = ['@noble/curves', '@noble/hashes', '@noble/post-quantum'];

const { outputFiles: [file], metafile } = await build({
  absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
  entryPoints: ['web/src/page.mjs'],
  bundle: true,
  charset: 'ascii',
  format: 'iife',
  legalComments: 'none',
  metafile: true,
  // Names of files are in comments: they must not depend on where node_modules really lies.
  preserveSymlinks: true,
  // Not minified: the page's source can be read in the page.
  target: ['es2022'],
  write: false,
});

const outside = Object.keys(metafile.inputs)
  .map((name) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(name)?.[1])
  .filter((name) => name !== undefined && !PACKAGES.includes(name));
if (outside.length) throw new Error(`${outside[0]} is in the bundle; look at its licence`);

const script = `\n${file.text.replaceAll('</script', '<\\/script')}`;
const style = `\n${read('style.css')}`;
const policy = [
  "default-src 'none'",
  `script-src ${hash(script)}`,
  `style-src ${hash(style)}`,
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
].join('; ');
const licences = PACKAGES.map((name) => {
  const { version } = JSON.parse(read(`../node_modules/${name}/package.json`));
  return `${name} ${version}\n\n${read(`../node_modules/${name}/LICENSE`).trim()}\n`;
}).join('\n');
const parts = { CSP: policy, STYLE: style, SCRIPT: script };
const page = read('page.html').replace(/\{\{([A-Z]+)\}\}/g, (_, name) => parts[name]);
process.stdout.write(page.replace('<html', () => `<!--
The source of this page is in the folder web/ of zkai (Apache-2.0), which builds it byte for byte.
It contains code of these packages:

${licences}-->
<html`));
