// Change markers: Grafana's server draws annotations, its published panels do not, so they are drawn here from
// the same query of the board. A value is a time in milliseconds; each time is one line through every graph.
import { useLayoutEffect } from 'react';
import { get, step } from './prometheus.js';

const COLOR = '#b877d9';
const LEAST_SECONDS = 5;

/// The times of all changes within the range.
export async function times(board, range) {
  const found = new Set();
  for (const annotation of (board.annotations?.list ?? []).filter((one) => one.useValueForTime && one.expr)) {
    const seconds = step(range, 10000, LEAST_SECONDS);
    const query = annotation.expr.replace("$hunt", ".*");
    const data = await get('/api/v1/query_range', { query, step: seconds, start: range.from / 1000, end: range.to / 1000 });
    data.result.flatMap(({ values }) => values).forEach(([, value]) => found.add(Number(value)));
  }
  return [...found].filter((at) => at >= range.from && at <= range.to).sort();
}

/// Draws them on one graph.
export function Markers({ config, times }) {
  useLayoutEffect(() => {
    config.addHook('draw', (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = COLOR;
      ctx.lineWidth = devicePixelRatio;
      for (const at of times) {
        const x = Math.round(plot.valToPos(at, 'x', true));
        ctx.setLineDash([4, 3]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.beginPath();
        ctx.moveTo(x - 4, bbox.top + bbox.height + 5);
        ctx.lineTo(x + 4, bbox.top + bbox.height + 5);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.fill();
      }
      ctx.restore();
    });
  }, [config, times]);
  return null;
}
