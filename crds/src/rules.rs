//! Rules in CEL, generated from the table of settings: bounds of times and sizes, rules between
//! settings, settings that never change. Each message names field, value and what is
//! allowed, in the words of the operator's own check. Pure.

use config_schemas::cuts::allowed;
use config_schemas::{Field, FieldPath, Kind, Rule, Value};
use serde_json::{Value as Json, json};

/// The bounds of a time or a size; `None` for what the schema itself can bound.
pub(crate) fn bounds(field: &Field) -> Option<Json> {
    let expression = match field.kind {
        Kind::Duration { min, max, .. } => format!(
            "duration(self) >= duration('{}') && duration(self) <= duration('{}')",
            Value::Duration(min),
            Value::Duration(max)
        ),
        Kind::Bytes { min, max, .. } => format!(
            "quantity(self).compareTo(quantity('{}')) >= 0 && \
             quantity(self).compareTo(quantity('{}')) <= 0",
            Value::Bytes(min),
            Value::Bytes(max)
        ),
        Kind::Count { .. }
        | Kind::Switch { .. }
        | Kind::Choice { .. }
        | Kind::Text { .. }
        | Kind::List { .. }
        | Kind::Secret => return None,
    };
    let allowed = field.kind.allowed();
    Some(json!({
        "rule": expression,
        "message": format!("{}: allowed: {allowed}", field.path),
        "messageExpression":
            format!("'{}: ' + self + ' is not allowed; allowed: {allowed}'", field.path),
    }))
}

/// `left` is at most `right`; what the spec leaves out counts with its default.
pub(crate) fn at_most(left: FieldPath, right: FieldPath) -> Json {
    let (smaller, larger) = (or_default("self", left), or_default("self", right));
    let rule = match left.field().kind {
        Kind::Bytes { .. } => format!("quantity({smaller}).compareTo(quantity({larger})) <= 0"),
        Kind::Duration { .. } => format!("duration({smaller}) <= duration({larger})"),
        _ => format!("{smaller} <= {larger}"),
    };
    let message = format!(
        "'{left}: ' + {} + ' is not allowed; allowed: at most {right}, which is ' + {}",
        as_text(&smaller, left),
        as_text(&larger, right)
    );
    json!({
        "rule": rule,
        "message": format!("{left}: allowed: at most {right}"),
        "messageExpression": message,
        "fieldPath": field_path(left),
    })
}

/// A rule between settings, where the API server can ask it.
pub(crate) fn between(rule: &Rule) -> Option<Json> {
    Some(json!({
        "rule": expand(rule.cel?),
        "message": format!("{}: allowed: {}", rule.field, rule.allowed),
        "fieldPath": field_path(rule.field),
    }))
}

/// `{section.field}` is the setting's value or default, `{?section.field}` whether it has one.
fn expand(expression: &str) -> String {
    let mut parts = expression.split('{');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A test has the API server take all of them.
        let (name, rest) =
            part.split_once('}').expect("a brace that opens a setting's name closes");
        let (present, name) = match name.strip_prefix('?') {
            Some(name) => (true, name),
            None => (false, name),
        };
        let path = FieldPath::parse(name).expect("a rule names settings of the table");
        expanded += &if present { is_there("self", path) } else { or_default("self", path) };
        expanded += rest;
    }
    expanded
}

/// The setting keeps the value that it had when the hunt was made, named or by default.
pub(crate) fn fixed(field: &Field) -> Json {
    let (now, before) = (or_default("self", field.path), or_default("oldSelf", field.path));
    let message = format!(
        "'{}: ' + {} + ' is not allowed; allowed: ' + {} + ', because it cannot change once the hunt exists'",
        field.path,
        as_text(&now, field.path),
        as_text(&before, field.path)
    );
    json!({
        "rule": format!("{now} == {before}"),
        "message": format!("{}: cannot change once the hunt exists", field.path),
        "messageExpression": message,
        "fieldPath": field_path(field.path),
    })
}

/// The number stays or becomes a whole multiple of what it was, by name: who leaves it out asks for
/// nothing.
pub(crate) fn raised(field: &Field) -> Json {
    let (now, before) = (or_default("self", field.path), or_default("oldSelf", field.path));
    let message = format!(
        "'{}: ' + {} + ' is not allowed; allowed: {}'",
        field.path,
        as_text(&now, field.path),
        allowed(format_args!("' + {} + '", as_text(&before, field.path)))
    );
    json!({
        "rule": format!(
            "{now} == {before} || ({} && {now} > {before} && {now} % {before} == 0)",
            is_there("self", field.path)
        ),
        "message": format!("{}: allowed: a whole multiple of what it was", field.path),
        "messageExpression": message,
        "fieldPath": field_path(field.path),
    })
}

/// The value that stands in the spec, or the default.
fn or_default(root: &str, path: FieldPath) -> String {
    let (section, name) = (path.section(), path.name());
    let default = match path.field().kind.default_value() {
        value @ (Value::Count(_) | Value::Switch(_) | Value::List(_)) => {
            value.to_json().to_string()
        }
        Value::Text(text) => format!("'{text}'"),
        value => format!("'{value}'"),
    };
    format!("({} ? {root}.{section}.{name} : {default})", is_there(root, path))
}

/// Whether the spec says anything of the setting.
fn is_there(root: &str, path: FieldPath) -> String {
    let (section, name) = (path.section(), path.name());
    format!("(has({root}.{section}) && has({root}.{section}.{name}))")
}

fn as_text(expression: &str, path: FieldPath) -> String {
    match path.field().kind {
        Kind::Count { max, .. } => digits(expression, max),
        Kind::Switch { .. } => format!("({expression} ? 'true' : 'false')"),
        Kind::Duration { .. }
        | Kind::Bytes { .. }
        | Kind::Choice { .. }
        | Kind::Text { .. }
        | Kind::List { .. }
        | Kind::Secret => expression.to_owned(),
    }
}

/// A whole number as text, digit by digit. The API server takes `string(number)` for a text of
/// unbounded length and refuses the rule for its cost; a substring of a literal it can bound.
fn digits(number: &str, max: u64) -> String {
    let powers = (0..=max.max(1).ilog10()).rev().map(|exponent| 10_u64.pow(exponent));
    let digit = |power: u64| {
        let at = format!("{number} / {power} % 10");
        let text = format!("'0123456789'.substring({at}, {at} + 1)");
        if power == 1 { text } else { format!("({number} >= {power} ? {text} : '')") }
    };
    powers.map(digit).collect::<Vec<_>>().join(" + ")
}

fn field_path(path: FieldPath) -> String {
    format!(".{}.{}", path.section(), path.name())
}
