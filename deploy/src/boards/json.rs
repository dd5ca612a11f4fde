//! Boards as Grafana reads them. In: tables. Out: JSON, and the same in ConfigMaps for Grafana's
//! sidecar. Pure.

use serde_json::{Value as Json, json};
use telemetry::catalogue::agent;

use super::{Board, Choice, Kind, Panel, Query, Row, TAG, Told};

/// The schema of boards that this is written for: Grafana 11 and newer.
const SCHEMA_VERSION: u32 = 39;
/// Grafana's steps begin at their number; alerts fire above it.
const JUST_ABOVE: f64 = 1e-6;
const NUMBER_HEIGHT: u32 = 4;
const HEIGHT: u32 = 8;
/// Room for a legend of sixteen lines.
const TALL: u32 = 13;
const COLUMNS: u32 = 24;
/// Two edits within a minute are two markers.
const MARKER_STEP: &str = "5s";

/// The board's file.
pub fn board(board: &Board) -> String {
    let shown = json!({
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "",
        "annotations": {"list": [marker()]},
        "templating": {"list": variables(board)},
        "links": [{
            "title": "Boards",
            "type": "dashboards",
            "tags": [TAG],
            "asDropdown": true,
            "keepTime": true,
            "includeVars": true,
            "targetBlank": false,
            "icon": "external link",
            "tooltip": "",
            "url": "",
        }],
        "panels": panels(board),
    });
    // plain values only: nothing that JSON cannot say
    serde_json::to_string_pretty(&shown).unwrap_or_default() + "\n"
}

/// All boards as ConfigMaps with the label that Grafana's sidecar looks for.
pub fn config_maps(boards: &[Board]) -> String {
    let head = "# Generated from deploy/src/boards: do not edit.\n".to_owned();
    boards.iter().fold(head, |text, one| {
        let uid = one.uid;
        let body: String = board(one).lines().map(|line| format!("    {line}\n")).collect();
        text + &format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {uid}\n  labels:\n    \
             grafana_dashboard: \"1\"\n    app.kubernetes.io/name: treasurehunt\ndata:\n  \
             {uid}.json: |\n{body}"
        )
    })
}

fn source() -> Json {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// Marks each change of configuration, at the time that it took effect. The value is taken for
/// milliseconds since 1970.
fn marker() -> Json {
    let applied = agent::CONFIG_APPLIED.name();
    json!({
        "name": "Configuration changes",
        "datasource": source(),
        "enable": true,
        "hide": false,
        "iconColor": "purple",
        "expr": format!("max by (hunt) ({applied}{{hunt=~\"$hunt\"}}) * 1000 > 0"),
        "step": MARKER_STEP,
        "useValueForTime": true,
        "titleFormat": "Configuration of {{hunt}}",
        "textFormat": "in effect on the last agent that took it over",
        "tagKeys": "hunt",
    })
}

fn variables(board: &Board) -> Vec<Json> {
    let from = agent::CONFIG_GENERATION.name();
    let mut variables = vec![
        json!({
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "hide": 0,
        }),
        query("hunt", "Hunt", &format!("label_values({from}, hunt)"), true),
    ];
    variables.extend(board.chosen.iter().map(|choice| match choice {
        Choice::Node => {
            let nodes = format!("label_values({from}{{hunt=~\"$hunt\"}}, node)");
            query("node", "Agent", &nodes, true)
        }
        Choice::Field => {
            let setting = agent::SETTING.name();
            let fields = format!("label_values({setting}{{hunt=~\"$hunt\"}}, field)");
            query("field", "Setting", &fields, false)
        }
    }));
    variables
}

/// Asked anew whenever the time range changes.
fn query(name: &str, label: &str, asked: &str, many: bool) -> Json {
    let mut variable = json!({
        "name": name,
        "label": label,
        "type": "query",
        "datasource": source(),
        "query": {"query": asked, "refId": name},
        "definition": asked,
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        "hide": 0,
    });
    if many {
        // What is not an agent's has no node, and is not one of all of them.
        variable["allValue"] = json!(if name == "node" { ".+" } else { ".*" });
        variable["current"] = json!({"text": ["All"], "value": ["$__all"]});
    }
    variable
}

fn panels(board: &Board) -> Vec<Json> {
    let mut placed = Vec::new();
    let mut top = 0;
    for row in &board.rows {
        let at = json!({"x": 0, "y": top, "w": COLUMNS, "h": 1});
        placed.push(json!({
            "id": placed.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": at,
            "panels": [],
        }));
        top += 1;
        let (mut left, mut height) = (0, 0);
        let number_width = number_width(row);
        for one in &row.panels {
            let is_number = one.kind == Kind::Number;
            let width = if is_number { number_width } else { one.width };
            if left + width > COLUMNS {
                (top, left, height) = (top + height, 0, 0);
            }
            let tall = match (is_number, row.tall) {
                (true, _) => NUMBER_HEIGHT,
                (false, true) => TALL,
                (false, false) => HEIGHT,
            };
            let at = json!({"x": left, "y": top, "w": width, "h": tall});
            placed.push(panel(one, placed.len() + 1, at));
            left += width;
            height = height.max(tall);
        }
        top += height;
    }
    placed
}

/// The numbers of a row share one line.
fn number_width(row: &Row) -> u32 {
    let numbers = row.panels.iter().filter(|panel| panel.kind == Kind::Number).count();
    COLUMNS / u32::try_from(numbers).unwrap_or(COLUMNS).clamp(1, COLUMNS)
}

fn panel(panel: &Panel, id: usize, at: Json) -> Json {
    let kind = match panel.kind {
        Kind::Lines | Kind::Steps => "timeseries",
        Kind::Number => "stat",
        Kind::Table => "table",
    };
    let targets = panel.queries.iter().enumerate().map(|(number, query)| {
        let now = matches!(panel.kind, Kind::Table | Kind::Number);
        json!({
            "refId": char::from(b'A' + u8::try_from(number % 26).unwrap_or(0)).to_string(),
            "datasource": source(),
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": now,
            "range": !now,
            "format": if panel.kind == Kind::Table { "table" } else { "time_series" },
        })
    });
    let mut shown = json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source(),
        "gridPos": at,
        "targets": targets.collect::<Vec<_>>(),
        "fieldConfig": {"defaults": defaults(panel), "overrides": []},
        "options": options(panel),
    });
    if panel.kind == Kind::Table {
        shown["transformations"] = json!([{"id": "organize", "options": {
            "excludeByName": {"Time": true},
            "indexByName": {"hunt": 0, "node": 1, "hash": 2, "Value": 3},
            "renameByName": {"Value": panel.queries.first().map(|query| &query.legend)},
        }}]);
    }
    shown
}

fn defaults(panel: &Panel) -> Json {
    let base = json!({"color": "green", "value": null});
    let steps = match panel.told {
        Some(Told::Above(number)) => {
            vec![base, json!({"color": "red", "value": number + JUST_ABOVE})]
        }
        Some(Told::Below(number)) => {
            let base = json!({"color": "red", "value": null});
            vec![base, json!({"color": "green", "value": number})]
        }
        None => vec![base],
    };
    let mut defaults = json!({
        "unit": panel.scale.unit(),
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": if panel.kind == Kind::Number { "thresholds" } else { "palette-classic" }},
    });
    if matches!(panel.kind, Kind::Lines | Kind::Steps) {
        let steps = panel.kind == Kind::Steps;
        let shown = if panel.told.is_some() { "line" } else { "off" };
        defaults["custom"] = json!({
            "lineInterpolation": if steps { "stepAfter" } else { "linear" },
            "lineWidth": 1,
            "fillOpacity": 10,
            "showPoints": "auto",
            "thresholdsStyle": {"mode": shown},
        });
        if !steps {
            defaults["min"] = json!(0);
        }
    }
    if panel.kind == Kind::Table {
        let url = "/d/treasurehunt-agent?${__url_time_range}&var-datasource=${datasource}\
                   &var-hunt=${__data.fields.hunt}&var-node=${__data.fields.node}";
        defaults["links"] = json!([{"title": "This agent", "url": url}]);
    }
    defaults
}

/// Below a graph there is room for three lines; beside it for more.
fn has_many_series(panel: &Panel) -> bool {
    let labelled = |query: &Query| query.legend.replace("{{hunt}}", "").contains("{{");
    panel.queries.len() > 2 || panel.queries.iter().any(labelled)
}

fn options(panel: &Panel) -> Json {
    match panel.kind {
        Kind::Lines | Kind::Steps => json!({
            "legend": {
                "displayMode": "table",
                "placement": if has_many_series(panel) { "right" } else { "bottom" },
                "showLegend": true,
                "calcs": ["lastNotNull", "max"],
                "sortBy": "Max",
                "sortDesc": true,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        Kind::Number => json!({
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            "colorMode": if panel.told.is_some() { "background" } else { "none" },
            "graphMode": "none",
            "textMode": "auto",
        }),
        Kind::Table => json!({"showHeader": true, "cellHeight": "sm"}),
    }
}
