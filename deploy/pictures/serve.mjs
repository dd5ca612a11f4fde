// One origin for the page: its files, the boards, and Prometheus behind them. Loopback only.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml' };
const PAGE = '<!doctype html><meta charset=utf-8><link rel=stylesheet href=/main.css><div id=root></div><script type=module src=/main.js></script>';

function forward(prometheus, request, response) {
  const asked = http.get(new URL(request.url, prometheus), (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  asked.on('error', (error) => response.writeHead(502).end(JSON.stringify({ status: 'error', error: String(error) })));
}

/// A file in `folder`, and no other.
async function send(folder, name, response) {
  const file = path.join(folder, path.normalize(`/${name}`));
  try {
    const bytes = await readFile(file);
    response.writeHead(200, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' }).end(bytes);
  } catch {
    response.writeHead(404).end();
  }
}

/// Listens on a free port.
export function serve({ dist, boards, prometheus }) {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname.startsWith('/api/v1/')) return forward(prometheus, request, response);
    if (pathname === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
    if (pathname.startsWith('/boards/')) return send(boards, pathname.slice('/boards/'.length), response);
    return send(dist, pathname.replace('/public/img/', '/public/build/img/'), response);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}
