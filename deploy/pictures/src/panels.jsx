// The panel types that our boards use: thin shells round the components by which Grafana itself draws.
import {
  PanelPlugin, booleanOverrideProcessor, dataLinksOverrideProcessor, displayNameOverrideProcessor, getFieldDisplayValues,
  identityOverrideProcessor, numberOverrideProcessor, standardEditorsRegistry, standardFieldConfigEditorRegistry,
  standardTransformers, standardTransformersRegistry, stringOverrideProcessor, thresholdsOverrideProcessor, unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';
import * as scenes from '@grafana/scenes';
import { BigValue, Table, TimeSeries, VizRepeater, useTheme2 } from '@grafana/ui';
import { Markers } from './markers.js';

const option = (path, process, defaultValue) => ({
  id: path, path, name: path, description: '', editor: () => null, override: () => null, process, shouldApply: () => true, settings: {}, defaultValue,
});

/// Without these, units and thresholds are passed over in silence.
function registerStandardOptions() {
  const steps = [{ value: -Infinity, color: 'green' }];
  standardFieldConfigEditorRegistry.setInit(() => [
    option('displayName', displayNameOverrideProcessor),
    option('unit', unitOverrideProcessor),
    option('min', numberOverrideProcessor),
    option('max', numberOverrideProcessor),
    option('decimals', numberOverrideProcessor),
    option('noValue', stringOverrideProcessor),
    option('thresholds', thresholdsOverrideProcessor, { mode: 'absolute', steps }),
    option('mappings', valueMappingsOverrideProcessor, []),
    option('color', identityOverrideProcessor, { mode: 'palette-classic' }),
    option('links', dataLinksOverrideProcessor),
    option('actions', dataLinksOverrideProcessor),
    option('filterable', booleanOverrideProcessor),
    option('fieldMinMax', booleanOverrideProcessor),
  ]);
  standardEditorsRegistry.setInit(() => []);
  const organize = standardTransformers.organizeFieldsTransformer;
  standardTransformersRegistry.setInit(() => [{ id: organize.id, name: organize.name, transformation: organize }]);
}

const custom = (defaults) => (builder) =>
  Object.entries(defaults).forEach(([path, value]) => builder.addCustomEditor(option(path, identityOverrideProcessor, value)));

const GRAPH = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', lineStyle: undefined,
  spanNulls: false, insertNulls: false, showPoints: 'auto', pointSize: 5, stacking: { mode: 'none', group: 'A' }, axisPlacement: 'auto',
  axisLabel: '', axisColorMode: 'text', axisSoftMin: undefined, axisSoftMax: undefined, axisCenteredZero: false, scaleDistribution: { type: 'linear' },
  hideFrom: { tooltip: false, viz: false, legend: false }, thresholdsStyle: { mode: 'off' }, barAlignment: 0, barWidthFactor: 0.6,
};

const Nothing = ({ height }) => <div data-nothing style={{ height, display: 'grid', placeItems: 'center' }}>No data</div>;

function Graph({ data, width, height, options, timeZone, markers }) {
  if (!data.series.length) return <Nothing height={height} />;
  return (
    <TimeSeries frames={data.series} structureRev={data.structureRev} timeRange={data.timeRange} timeZone={timeZone}
      width={width} height={height} legend={options.legend} options={options}>
      {(config) => <Markers config={config} times={markers} />}
    </TimeSeries>
  );
}

function Number({ data, width, height, options, fieldConfig, replaceVariables, timeZone }) {
  const theme = useTheme2();
  if (!data.series.length) return <Nothing height={height} />;
  const values = () => getFieldDisplayValues({ fieldConfig, reduceOptions: options.reduceOptions, replaceVariables, theme, data: data.series, timeZone });
  return (
    <VizRepeater width={width} height={height} source={data} orientation="auto" renderCounter={1} itemSpacing={3} getValues={values}
      renderValue={({ value, width, height, count }) => (
        <BigValue value={value.display} count={count} width={width} height={height} theme={theme} colorMode={options.colorMode}
          graphMode={options.graphMode} justifyMode="auto" textMode={options.textMode} />
      )} />
  );
}

const Rows = ({ data, width, height, timeRange }) =>
  data.series[0]?.length ? <Table data={data.series[0]} width={width} height={height} timeRange={timeRange} /> : <Nothing height={height} />;

export function register(markers) {
  registerStandardOptions();
  const types = {
    timeseries: new PanelPlugin((panel) => <Graph {...panel} markers={markers} />).useFieldConfig({ useCustomConfig: custom(GRAPH) }),
    stat: new PanelPlugin(Number).useFieldConfig({}),
    table: new PanelPlugin(Rows).useFieldConfig({ useCustomConfig: custom({ align: 'auto', cellOptions: { type: 'auto' }, inspect: false }) }),
  };
  Object.entries(types).forEach(([pluginId, plugin]) => scenes.sceneUtils.registerRuntimePanelPlugin({ pluginId, plugin }));
}
