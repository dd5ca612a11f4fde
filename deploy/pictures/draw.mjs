// node draw.mjs --prometheus URL --boards FOLDER --to FOLDER [--board UID ...] [--chromium PROGRAM]
//   [--from MS] [--until MS] [--choose NAME=VALUE ...]
// Draws boards of a folder, all of them unless some are named, as FOLDER/UID.png, and says as JSON what is on
// them; `faults` are panels that are empty or in error, `cut` those whose
// legend has to be scrolled. Exit code 1: not all could be drawn.
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { launch } from './chromium.mjs';
import { serve } from './serve.mjs';

const HERE = import.meta.dirname;
const WIDTH = 1280;
/// Less than any board has: it is drawn again at its own.
const FIRST_HEIGHT = 600;
const DRAWN_WITHIN = 60_000;
/// After the last answer the graphs need some frames.
const SETTLED_AFTER = 700;

const { values: given } = parseArgs({ options: {
  prometheus: { type: 'string' },
  to: { type: 'string' },
  boards: { type: 'string' },
  board: { type: 'string', multiple: true },
  chromium: { type: 'string', default: 'chromium' },
  from: { type: 'string', default: 'now-10m' },
  until: { type: 'string', default: 'now' },
  choose: { type: 'string', multiple: true, default: [] },
} });

async function evaluate(page, expression) {
  const { result, exceptionDetails } = await page('Runtime.evaluate', { expression, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.text);
  return result.value;
}

async function seen(page) {
  const until = Date.now() + DRAWN_WITHIN;
  while (Date.now() < until) {
    const failed = await evaluate(page, 'window.failed');
    if (failed) throw new Error(failed);
    const found = await evaluate(page, 'window.seen?.()');
    if (found?.done) {
      await sleep(SETTLED_AFTER);
      return evaluate(page, 'window.seen()');
    }
    await sleep(50);
  }
  throw new Error(`not drawn within ${DRAWN_WITHIN / 1000} s`);
}

const sized = (page, height) => page('Emulation.setDeviceMetricsOverride', { width: WIDTH, height, deviceScaleFactor: 1, mobile: false });

async function draw(chromium, origin, board) {
  const page = await chromium.page();
  const chosen = given.choose.map((pair) => pair.split('=', 2)).map(([name, value]) => [`var-${name}`, value]);
  const query = new URLSearchParams([['board', board], ['from', given.from], ['to', given.until], ...chosen]);
  await sized(page, FIRST_HEIGHT);
  await page('Page.navigate', { url: `${origin}/?${query}` });
  const { height } = await seen(page);
  await sized(page, height);
  await sleep(SETTLED_AFTER);
  const found = await seen(page);
  const { data } = await page('Page.captureScreenshot', { format: 'png' });
  const picture = path.join(given.to, `${board}.png`);
  await writeFile(picture, Buffer.from(data, 'base64'));
  const faults = [
    ...found.queries.filter(({ error }) => error).map(({ query, error }) => `${query}: ${error}`),
    ...found.panels.filter((panel) => panel.error || !panel.drawn).map((panel) => `${panel.title}: ${panel.error ?? 'no data'}`),
  ];
  const cut = found.panels.filter((panel) => panel.cut).map((panel) => panel.title);
  return { board, picture, panels: found.panels.length, queries: found.queries.length, markers: found.markers, faults, cut };
}

async function main() {
  await mkdir(given.to, { recursive: true });
  const all = (await readdir(given.boards)).filter((name) => name.endsWith('.json')).map((name) => path.basename(name, '.json'));
  const server = await serve({ dist: path.join(HERE, 'dist'), boards: given.boards, prometheus: given.prometheus });
  const chromium = await launch(given.chromium);
  try {
    const drawn = [];
    for (const board of given.board ?? all) drawn.push(await draw(chromium, `http://127.0.0.1:${server.address().port}`, board));
    console.log(JSON.stringify(drawn, null, 1));
  } finally {
    await chromium.close();
    server.closeAllConnections();
    server.close();
  }
}

await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
