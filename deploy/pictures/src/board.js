// A board's JSON (Grafana's classic schema) as a scene: variables, rows, panels.
import * as scenes from '@grafana/scenes';

export const SOURCE = { uid: 'prometheus', type: 'prometheus' };

/// `chosen` has values of variables that the board leaves open.
function variables(board, chosen) {
  return (board.templating?.list ?? []).filter((one) => one.type !== 'datasource').map((one) => {
    if (one.type !== 'query') throw new Error(`no variables of type ${one.type} here`);
    const value = chosen.get(`var-${one.name}`) ?? one.current?.value ?? '';
    const text = chosen.get(`var-${one.name}`) ?? one.current?.text ?? '';
    return new scenes.QueryVariable({
      name: one.name, label: one.label, query: one.query, datasource: SOURCE, refresh: one.refresh, sort: one.sort,
      isMulti: one.multi, includeAll: one.includeAll, allValue: one.allValue, value, text,
    });
  });
}

function panel(one) {
  const queries = new scenes.SceneQueryRunner({ queries: one.targets, datasource: SOURCE, minInterval: one.interval });
  const { x, y, w: width, h: height } = one.gridPos;
  const body = new scenes.VizPanel({
    key: `panel-${one.id}`, title: one.title, description: one.description, pluginId: one.type, options: one.options ?? {}, fieldConfig: one.fieldConfig,
    $data: new scenes.SceneDataTransformer({ $data: queries, transformations: one.transformations ?? [] }),
  });
  return new scenes.SceneGridItem({ key: `grid-${one.id}`, x, y, width, height, body });
}

function grid(panels) {
  const children = [];
  let row;
  for (const one of panels) {
    if (one.type === 'row') {
      row = new scenes.SceneGridRow({ key: `row-${one.id}`, title: one.title, y: one.gridPos.y, isCollapsed: false, children: [] });
      children.push(row);
    } else if (row) {
      row.setState({ children: [...row.state.children, panel(one)] });
    } else {
      children.push(panel(one));
    }
  }
  return new scenes.SceneGridLayout({ isDraggable: false, isResizable: false, isLazy: false, children });
}

/// Milliseconds as a date; what is relative stays so.
const moment = (text) => (/^\d+$/.test(text) ? new Date(Number(text)).toISOString() : text);

export function scene(board, chosen) {
  const [from, to] = ['from', 'to'].map((end) => moment(chosen.get(end) ?? board.time[end]));
  const range = { from, to, timeZone: 'utc' };
  return new scenes.EmbeddedScene({
    $timeRange: new scenes.SceneTimeRange(range),
    $variables: new scenes.SceneVariableSet({ variables: variables(board, chosen) }),
    controls: [new scenes.VariableValueSelectors({}), new scenes.SceneControlsSpacer(), new scenes.SceneTimePicker({})],
    body: grid(board.panels),
  });
}
