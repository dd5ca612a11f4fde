// Bundles the page and what it shows into `dist`, which then needs none of the packages.
import { cp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const HERE = import.meta.dirname;

/// Three packages of Grafana's do not fit together as published.
const mend = {
  name: 'mend',
  setup(build) {
    const text = (file) => readFile(file, 'utf8');
    build.onResolve({ filter: /^react-router-dom-v5-compat$/ }, () => build.resolve('react-router-dom', { resolveDir: HERE, kind: 'import-statement' }));
    build.onLoad({ filter: /composable\/table\/panelcfg\/x\/.*types\.gen\.mjs$/ }, async ({ path }) => {
      const contents = await text(path);
      return { contents: /defaultOptions/.test(contents) ? contents : `${contents}\nexport const defaultOptions = {};` };
    });
    build.onLoad({ filter: /react-custom-scrollbars-2\/lib\/index\.js$/ }, async ({ path }) => ({ contents: `${await text(path)}\nmodule.exports = Object.assign(exports.default, exports);` }));
  },
};

await build({
  absWorkingDir: HERE,
  plugins: [mend],
  entryPoints: ['src/main.jsx'],
  bundle: true,
  outdir: 'dist',
  format: 'esm',
  splitting: true,
  minify: true,
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: { '.svg': 'dataurl', '.png': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl', '.json': 'json' },
  logLevel: 'error',
});
const icons = path.join(HERE, 'node_modules/@grafana/ui/dist/public/img/icons');
await cp(icons, path.join(HERE, 'dist/public/build/img/icons'), { recursive: true });
