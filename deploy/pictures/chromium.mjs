// A headless Chromium, spoken to through a pipe in its own protocol: no port is open, and it ends with us.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run', '--mute-audio',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--remote-debugging-pipe',
];

export async function launch(program) {
  const profile = await mkdtemp(path.join(os.tmpdir(), 'boards-'));
  const stdio = ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'];
  const child = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, 'about:blank'], { stdio });
  const [, , said, input, output] = child.stdio;
  const waiting = new Map();
  let number = 0;
  let rest = '';
  let complaint = '';
  said.on('data', (text) => { complaint = (complaint + text).slice(-2000); });
  output.setEncoding('utf8').on('data', (text) => {
    const messages = (rest + text).split('\0');
    rest = messages.pop();
    for (const { id, result, error } of messages.map((message) => JSON.parse(message))) {
      const wait = waiting.get(id);
      waiting.delete(id);
      if (wait) error ? wait.reject(new Error(error.message)) : wait.resolve(result);
    }
  });
  const ended = (why) => waiting.forEach(({ reject }) => reject(new Error(`${program} has ended: ${why}\n${complaint}`)));
  child.on('error', (error) => ended(error.message)).on('exit', (code) => ended(`exit ${code}`));
  input.on('error', () => {});

  const send = (method, params = {}, sessionId = undefined) => new Promise((resolve, reject) => {
    const id = (number += 1);
    waiting.set(id, { resolve, reject });
    input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  });
  return {
    /// A new tab; a function that sends to it.
    async page() {
      const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
      return (method, params) => send(method, params, sessionId);
    },
    async close() {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
