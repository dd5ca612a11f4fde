// What Grafana's server puts into its page; read while @grafana/runtime is evaluated, so imported first.
window.process = window.process || { env: { NODE_ENV: 'production' } };
window.__grafana_public_path__ = '/public/';
window.grafanaBootData = {
  settings: { featureToggles: {}, buildInfo: { version: '12.4.2', env: 'production' }, datasources: {}, panels: {}, apps: {}, appSubUrl: '' },
  user: { timezone: 'utc', theme: 'dark', locale: 'en-US', regionalFormat: 'en-US' },
  navTree: [],
};
