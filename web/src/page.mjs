// The page: takes files, says which is which, and shows what `verify` found.

import { Refused } from './bytes.mjs';
import { recognise } from './files.mjs';
import { time, verify } from './verify.mjs';

const $ = (id) => document.getElementById(id);
const MOST_BYTES = 2 ** 26;
/** Files by side: "given" or "trusted", then by what they are. */
let chosen = { given: {}, trusted: {} };

function element(tag, content) {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

function hideResult() {
  $('result').hidden = true;
}

async function add(side, files) {
  hideResult();
  for (const file of files) {
    const item = document.createElement('li');
    try {
      if (file.size > MOST_BYTES) throw new Refused('larger than 64 MiB');
      const data = new Uint8Array(await file.arrayBuffer());
      const { kind, words } = recognise(data, side);
      if (kind === 'statuses') {
        chosen[side].statuses = [...(chosen[side].statuses ?? []), data];
      } else {
        document.querySelector(`[data-kind=${kind}]`)?.remove();
        chosen[side][kind] = data;
        item.dataset.kind = kind;
      }
      item.textContent = `${file.name}: ${words}`;
    } catch (error) {
      item.textContent = `${file.name}: not used; ${error.message}`;
    }
    $(`${side}-list`).append(item);
  }
}

function place() {
  const [chain, ledger, recipient] = ['chain', 'ledger', 'recipient'].map((id) => $(id).value.trim());
  if (!chain && !ledger && !recipient) return null;
  if (!/^(0|[1-9][0-9]{0,15})?$/.test(chain)) throw new Refused('the chain id is not a number');
  return { chain_id: Number(chain), ledger: padded(ledger), recipient: padded(recipient) };
}

/** Return an address of 20 bytes or an id of 32 as 0x and 64 digits. */
function padded(value) {
  const digits = value.replace(/^0x/, '').toLowerCase();
  const good = /^([0-9a-f]{40}|[0-9a-f]{64})?$/.test(digits);
  if (!good) throw new Refused(`${value}: expected 20 or 32 bytes in hexadecimal`);
  return `0x${digits.padStart(64, '0')}`;
}

function check() {
  const options = {
    now: Math.floor(Date.now() / 1000),
    place: place(),
    trusted: $('digests').value.split(/\s+/).filter(Boolean),
    production: $('production').checked,
  };
  return verify({ ...chosen.given, ...chosen.trusted }, options);
}

function show(found) {
  const verdict = found.accepted ? `Accepted: ${found.grade}` : 'Refused';
  $('result').dataset.verdict = found.accepted ? 'accepted' : 'refused';
  $('verdict').textContent = verdict;
  const now = time(Math.floor(Date.now() / 1000));
  $('reason').textContent = found.reason ?? `Checked at ${now} by this computer's clock.`;
  $('checks').replaceChildren(...(found.checks ?? []).map(({ name, state, detail }) => {
    const row = document.createElement('tr');
    const head = element('th', name);
    head.scope = 'row';
    row.append(head, element('td', state), element('td', detail));
    return row;
  }));
  $('facts').hidden = !found.accepted;
  $('said').replaceChildren(...(found.accepted ? said(found.receipt) : []));
  $('result').hidden = false;
  $('verdict').focus();
}

function said({ id, predicate, subject }) {
  const rows = [['id', id], ...Object.entries(predicate), ['subject', subject]];
  return rows.filter(([, value]) => value !== null).flatMap(([name, value]) => [
    element('dt', name), element('dd', typeof value === 'object' ? JSON.stringify(value) : value),
  ]);
}

for (const side of ['given', 'trusted']) {
  const area = document.querySelector(`[data-side=${side}]`);
  $(side).addEventListener('change', async (event) => {
    const files = [...event.target.files];
    event.target.value = '';
    await add(side, files);
  });
  const over = (on) => (event) => {
    event.preventDefault();
    area.classList.toggle('over', on);
  };
  area.addEventListener('dragover', over(true));
  area.addEventListener('dragleave', over(false));
  area.addEventListener('drop', async (event) => {
    over(false)(event);
    await add(side, [...event.dataTransfer.files]);
  });
}

// A file that misses both areas must not replace the page.
for (const name of ['dragover', 'drop']) {
  document.addEventListener(name, (event) => event.preventDefault());
}

$('form').addEventListener('input', hideResult);
$('form').addEventListener('reset', () => {
  chosen = { given: {}, trusted: {} };
  hideResult();
  for (const side of ['given', 'trusted']) $(`${side}-list`).replaceChildren();
});
$('form').addEventListener('submit', (event) => {
  event.preventDefault();
  try {
    show(check());
  } catch (error) {
    const reason = error instanceof Refused ? error.message : `the page failed: ${error}`;
    show({ accepted: false, reason });
  }
});
