// Draws one board: `/?board=UID&from=MS&to=MS&var-NAME=VALUE`. `window.seen()` says how far it is.
import './boot.js';
import { EventBusSrv, LoadingState, createTheme } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { config, setAppEvents, setDataSourceSrv, setPluginImportUtils, setRunRequest } from '@grafana/runtime';
import * as scenes from '@grafana/scenes';
import { GlobalStyles, PortalContainer, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router-dom';
import { catchError, map, of, startWith } from 'rxjs';
import { SOURCE, scene } from './board.js';
import { times } from './markers.js';
import { register } from './panels.jsx';
import { Prometheus, asked } from './prometheus.js';

const chosen = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: chosen.get('theme') ?? 'dark' } });

/// The services that Grafana's server gives to its page.
function connect() {
  config.theme2 = theme;
  setAppEvents(new EventBusSrv());
  setPluginImportUtils({ importPanelPlugin: async (id) => { throw new Error(`no panels of type ${id} here`); }, getPanelPluginFromCache: () => undefined });
  const source = new Prometheus(SOURCE.type, SOURCE.uid);
  const settings = { name: 'Prometheus', uid: SOURCE.uid, type: SOURCE.type, meta: source.meta };
  setDataSourceSrv({ get: async () => source, getList: () => [settings], getInstanceSettings: () => settings });
  setRunRequest((source, request) => {
    const state = (state, series, error) => ({ state, series, error, errors: error && [error], request, timeRange: request.range });
    return source.query(request).pipe(
      map((answer) => state(LoadingState.Done, answer.data)),
      catchError((error) => of(state(LoadingState.Error, [], { message: error.message }))),
      startWith(state(LoadingState.Loading, [])),
    );
  });
}

/// What can be judged of the picture without looking at it.
function judge(root, markers) {
  const panels = scenes.sceneGraph.findAllObjects(root, (object) => object instanceof scenes.VizPanel);
  const done = (panel) => [LoadingState.Done, LoadingState.Error].includes(panel.state.$data.state.data?.state);
  const section = (panel) => document.querySelector(`[data-testid="data-testid Panel header ${panel.state.title}"]`);
  const cut = (element) => [...element.querySelectorAll('*')].some((inner) => inner.scrollHeight > inner.clientHeight + 1 && getComputedStyle(inner).overflowY === 'auto');
  return () => ({
    done: panels.length > 0 && panels.every(done),
    height: Math.ceil(document.getElementById('root').getBoundingClientRect().height),
    markers: markers.length,
    queries: asked,
    panels: panels.map((panel) => {
      const element = section(panel);
      return {
        title: panel.state.title,
        drawn: !!element && !element.querySelector('[data-nothing]') && (panel.state.pluginId !== 'timeseries' || !!element.querySelector('canvas')),
        cut: !!element && cut(element),
        error: panel.state.$data.state.data?.errors?.[0]?.message,
      };
    }),
  });
}

async function main() {
  connect();
  Object.assign(document.body.style, { margin: 0, background: theme.colors.background.canvas, color: theme.colors.text.primary, fontFamily: theme.typography.fontFamily });
  await initPluginTranslations('grafana');
  await initPluginTranslations('grafana-scenes');
  const board = await (await fetch(`/boards/${chosen.get('board')}.json`)).json();
  const root = scene(board, chosen);
  const range = root.state.$timeRange.state.value;
  const markers = await times(board, { from: +range.from, to: +range.to });
  register(markers);
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <BrowserRouter>
        <div style={{ padding: '12px 16px 0' }}><h3 style={{ margin: 0 }}>{board.title}</h3>{board.description}</div>
        <root.Component model={root} />
        <PortalContainer />
      </BrowserRouter>
    </ThemeContext.Provider>,
  );
  window.seen = judge(root, markers);
}

main().catch((error) => { window.failed = document.body.innerText = error.stack; });
