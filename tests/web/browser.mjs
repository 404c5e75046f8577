// Drives the page in Chromium for tests: reads {chromium, page, scenes} as JSON on standard input
// and prints what each scene saw.
//
// A scene: {given: [paths], trusted: [paths], dropped: [paths], fields: {id: text or true}}.
// What it saw: {verdict, heading, reason, rows, lists, requests, errors}.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';

const { chromium: executablePath, page: file, scenes, probes = [], shot } =
  JSON.parse(readFileSync(0, 'utf8'));
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update',
  ],
});

async function open() {
  const page = await browser.newPage();
  const seen = { requests: [], errors: [] };
  page.on('request', (request) => seen.requests.push(request.url()));
  page.on('pageerror', (error) => seen.errors.push(String(error)));
  page.on('console', (message) => seen.errors.push(message.text()));
  await page.goto(pathToFileURL(file).href);
  return { page, seen };
}

async function drop(page, selector, paths) {
  const files = paths.map((path) => [basename(path), readFileSync(path).toString('base64')]);
  await page.locator(selector).evaluate((area, listed) => {
    const transfer = new DataTransfer();
    for (const [name, text] of listed) {
      const data = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      transfer.items.add(new File([data], name));
    }
    const event = (kind) => new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
    area.dispatchEvent(event('dragover'));
    area.dispatchEvent(event('drop'));
  }, files);
}

async function play(scene) {
  const { page, seen } = await open();
  const { given = [], trusted = [], dropped = [], fields = {} } = scene;
  await page.setInputFiles('#given', given);
  await page.setInputFiles('#trusted', trusted);
  if (dropped.length) await drop(page, '[data-side=given]', dropped);
  const count = given.length + trusted.length + dropped.length;
  await page.waitForFunction((n) => document.querySelectorAll('.files li').length === n, count);
  await page.locator('summary').click();
  for (const [id, value] of Object.entries(fields)) {
    if (value === true) await page.check(`#${id}`);
    else await page.fill(`#${id}`, value);
  }
  await page.getByRole('button', { name: 'Check' }).click();
  await page.waitForSelector('#result:not([hidden])');
  if (shot) await page.screenshot({ path: shot, fullPage: true });
  const found = await page.evaluate(() => {
    const text = (selector) => document.querySelector(selector).textContent;
    return {
      verdict: document.querySelector('#result').dataset.verdict,
      heading: text('#verdict'),
      focused: document.activeElement.id,
      reason: text('#reason'),
      rows: [...document.querySelectorAll('#checks tr')].map((row) =>
        [...row.children].map((cell) => cell.textContent)),
      lists: [...document.querySelectorAll('.files li')].map((item) => item.textContent),
      said: text('#said'),
    };
  });
  await page.close();
  return { ...found, ...seen };
}

/** Try things in the page that its policy forbids, and say what came of each. */
async function probe(names) {
  const { page } = await open();
  const result = await page.evaluate(async (listed) => {
    let blocked;
    document.addEventListener('securitypolicyviolation', (e) => blocked.push(e.effectiveDirective));
    const tries = {
      eval: () => new Function('return 1')(),
      fetch: () => fetch('http://127.0.0.1:9/x'),
      image: () => new Promise((done, fail) => {
        const image = new Image();
        image.onload = done;
        image.onerror = () => fail(new Error('blocked'));
        image.src = 'http://127.0.0.1:9/x.png';
      }),
      html: () => { document.body.innerHTML = '<p>'; },
      script: () => {
        const made = document.createElement('script');
        made.textContent = 'window.ran = true';
        document.head.append(made);
        if (!window.ran) throw new Error('blocked');
      },
    };
    const later = () => new Promise((done) => { setTimeout(done, 0); });
    const found = {};
    for (const name of listed) {
      blocked = [];
      await later(); // what DevTools evaluates itself may call eval
      try {
        await tries[name]();
        found[name] = { ran: true, blocked };
      } catch (error) {
        await later();
        found[name] = { ran: false, blocked, error: String(error) };
      }
    }
    return found;
  }, names);
  await page.close();
  return result;
}

const answers = { scenes: [], probes: await probe(probes) };
for (const scene of scenes) answers.scenes.push(await play(scene));
await browser.close();
process.stdout.write(JSON.stringify(answers));
