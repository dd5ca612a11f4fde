//! The page that `hunt edit` opens: live edits as YAML, below a header that says what may stand
//! there. In: the hunt's edits. Out: the page; and of a page that comes back, what it says. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use config_schemas::edit::{self, Target};
use config_schemas::{Cost, Field, Kind, SECTIONS, Scope};
use serde_json::{Map, Value as Json};

use crate::commands::explain::shown;
use crate::fleet::{Effects, Fleet};
use crate::shown::escape_json;

/// Stands where something does that may be a secret written by mistake.
const HIDDEN: &str = "(not shown)";
/// Columns of the header's text.
const WIDTH: usize = 100;

/// Edits by what follows `override/`, as a person reads and writes them.
pub(super) type Said = BTreeMap<String, Json>;

/// What the hunt's edits say. Keys that are none of settings stay out, and so as they are.
pub(super) fn said(fleet: &Fleet) -> Said {
    let text = |rest: &str, bytes: &[u8]| {
        let Ok(Target::Setting { path, .. }) = edit::target(rest) else { return None };
        let is_secret = matches!(path.field().kind, Kind::Secret);
        if is_secret && edit::setting(path, bytes).is_err() {
            return Some(Json::from(HIDDEN));
        }
        let text = String::from_utf8_lossy(bytes);
        let read = serde_yaml::from_str::<Json>(&text).ok().filter(|read| !read.is_null());
        Some(read.unwrap_or_else(|| Json::from(text.into_owned())))
    };
    let said = fleet.edits.iter();
    said.filter_map(|(rest, written)| Some((rest.clone(), text(rest, &written.bytes)?))).collect()
}

/// The page.
pub(super) fn page(fleet: &Fleet, effects: &Effects, author: &str) -> String {
    let mut page = format!(
        "# The live edits of {} at revision {}: what people have set over the TreasureHunt.\n\
         # Change a value, add a line or delete one, then save and close; nothing changed, nothing\n\
         # written. A value is bare, as 250ms, or\n\
         #   {{value: 250ms, owner: ana, reason: calm, until: 2026-12-01T00:00:00Z}}\n\
         # What you change is signed as {}, unless you name another owner.\n\
         #\n\
         # hunt:          for all nodes        node:          for one node\n\
         #   SECTION:                            NODE:\n\
         #     FIELD: VALUE                        SECTION:\n\
         #                                           FIELD: VALUE\n\
         #\n",
        fleet.hunt,
        fleet.revision,
        config_schemas::excerpt(author),
    );
    page += &body(&said(fleet));
    page += "\n# What may stand there, and what is in effect for the hunt now:\n";
    page += &reference(effects);
    page
}

/// Every setting that can be edited, with its unit, bounds and value in effect, as comments.
fn reference(effects: &Effects) -> String {
    let mut text = String::new();
    let values = &effects.at(None).values;
    for section in SECTIONS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "#\n# {}: {}", section.name, one_line(section.doc));
        let can_be_edited = |field: &&Field| {
            edit::target(&Target::Setting { node: None, path: field.path }.rest()).is_ok()
        };
        for field in section.fields.iter().filter(can_be_edited) {
            let now = values.get(&field.path).map(|value| scalar(&value.to_json()));
            let _ = writeln!(text, "#   {}: {}", field.path.name(), now.unwrap_or_default());
            let scope = match field.scope {
                Scope::Hunt => "; for the whole hunt only",
                Scope::Node => "",
            };
            let cost = match field.cost {
                Cost::Swap => "; a change replaces clients",
                Cost::Drain => "; a change moves partitions",
                _ => "",
            };
            for line in wrapped(&format!("{}{scope}{cost}", field.kind.allowed()), WIDTH - 8) {
                let _ = writeln!(text, "#       {line}");
            }
        }
    }
    text
}

fn one_line(text: &str) -> String {
    let first = text.split(". ").next().unwrap_or(text);
    first.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last] = word.to_owned();
        } else if lines[last].chars().count() + 1 + word.chars().count() <= width {
            lines[last] = format!("{} {word}", lines[last]);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn body(said: &Said) -> String {
    let mut tree = Map::new();
    for (rest, value) in said {
        plant(&mut tree, &rest.split('/').collect::<Vec<_>>(), value);
    }
    let mut text = String::new();
    for top in ["hunt", "node"] {
        match tree.get(top).and_then(Json::as_object) {
            Some(below) => {
                let _ = writeln!(text, "{top}:");
                branch(below, if top == "hunt" { 2 } else { 3 }, 1, &mut text);
            }
            None => {
                // Open, so that lines can be added below it.
                let _ = writeln!(text, "{top}:");
            }
        }
    }
    text
}

fn plant(tree: &mut Map<String, Json>, path: &[&str], value: &Json) {
    match path {
        [] => {}
        [last] => {
            tree.insert((*last).to_owned(), value.clone());
        }
        [first, rest @ ..] => {
            let below = tree.entry(*first).or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(below) = below {
                plant(below, rest, value);
            }
        }
    }
}

/// Writes `levels` of maps as blocks; what is below them is a value.
fn branch(map: &Map<String, Json>, levels: usize, depth: usize, text: &mut String) {
    for (key, below) in map {
        let indent = "  ".repeat(depth);
        match below.as_object().filter(|_| levels > 1) {
            Some(below) => {
                let _ = writeln!(text, "{indent}{key}:");
                branch(below, levels - 1, depth + 1, text);
            }
            None => {
                let _ = writeln!(text, "{indent}{key}: {}", scalar(below));
            }
        }
    }
}

/// A value on one line of YAML: plain where that is the same text again, as JSON otherwise.
pub(in crate::commands) fn scalar(value: &Json) -> String {
    let plain = |text: &str| {
        let harmless = |c: char| c.is_ascii_alphanumeric() || "._/+@-".contains(c);
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        starts
            && text.chars().all(harmless)
            && serde_yaml::from_str::<Json>(text).is_ok_and(|read| read == text)
    };
    match value {
        Json::String(text) if plain(text) => text.clone(),
        Json::Object(map) => {
            let field = |(key, value): (&String, &Json)| {
                format!("{}: {}", scalar(&Json::from(key.as_str())), scalar(value))
            };
            format!("{{{}}}", map.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Json::Array(list) => {
            format!("[{}]", list.iter().map(scalar).collect::<Vec<_>>().join(", "))
        }
        other => escape_json(&other.to_string()),
    }
}

/// What a page says that came back, or what is wrong with its form.
pub(super) fn read(page: &str) -> Result<Said, String> {
    let read: Json = serde_yaml::from_str(&without_header(page)).map_err(|error| {
        let text = error.to_string();
        format!("not YAML: {}", config_schemas::excerpt_of(text.lines().next().unwrap_or(""), 200))
    })?;
    let map = |what: &str, value: Json| match value {
        Json::Object(map) => Ok(map),
        Json::Null => Ok(Map::new()),
        other => {
            let found = config_schemas::excerpt(&shown(&other));
            Err(format!("{what} holds {found}; it is to hold names, each with what is below it"))
        }
    };
    let mut said = Said::new();
    for (top, below) in map("the page", read)? {
        let below = map(&top, below)?;
        match top.as_str() {
            "hunt" => sections("hunt", below, &map, &mut said)?,
            "node" => {
                for (node, below) in below {
                    let at = format!("node/{node}");
                    sections(&at, map(&at, below)?, &map, &mut said)?;
                }
            }
            other => {
                let other = config_schemas::excerpt(other);
                return Err(format!("{other}: the page holds hunt: and node: and nothing else"));
            }
        }
    }
    Ok(said)
}

/// The page with empty lines in place of comments of ours: the parser bounds how many may follow a
/// name without a value, and its messages count lines. No value begins at a line's start.
fn without_header(page: &str) -> String {
    let line = |line| if str::starts_with(line, '#') { "\n" } else { line };
    page.split_inclusive('\n').map(line).collect()
}

fn sections(
    at: &str,
    sections: Map<String, Json>,
    map: &impl Fn(&str, Json) -> Result<Map<String, Json>, String>,
    said: &mut Said,
) -> Result<(), String> {
    for (section, fields) in sections {
        if at == "hunt" && section == "generation" {
            return Err("hunt: generation: is a rollback; `hunt rollback` makes it".to_owned());
        }
        let at = format!("{at}/{section}");
        let fields = map(&at, fields)?.into_iter().filter(|(_, value)| !value.is_null());
        said.extend(fields.map(|(field, value)| (format!("{at}/{field}"), value)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, now};

    const EDITS: &[(&str, &str, u64)] = &[
        ("hunt/heartbeat/interval", "{value: 500ms, owner: ana, reason: 'a: b # c'}", 15),
        ("hunt/buffers/events", "lots\u{1b}[2J", 16),
        ("hunt/partitions/pins", "['3=agent-1']", 16),
        ("hunt/rules/clues", "'7'", 16),
        ("hunt/kafka/password", "hunter2", 16),
        ("hunt/generation", "1", 17),
        ("node/agent-2/buffers/bytes", "16Mi", 18),
        ("strange", "x", 19),
    ];

    #[test]
    fn a_page_that_comes_back_as_it_was_says_the_same() {
        let fleet = harbour(EDITS);
        let page = page(&fleet, &fleet.effects(now()), "ana@host");
        assert_eq!(read(&page).unwrap(), said(&fleet), "{page}");
        assert!(!page.contains(|c: char| c.is_control() && c != '\n'), "{page:?}");
        for line in [
            "    interval: {value: 500ms, owner: ana, reason: \"a: b # c\"}\n",
            "    clues: \"7\"\n",
            "    pins: [\"3=agent-1\"]\n",
            "  agent-2:\n    buffers:\n      bytes: 16Mi\n",
            "#   interval: 500ms\n#       a time with a unit (ms, s, m, h) from 20ms to 1m\n",
            "    password: \"(not shown)\"\n",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains("hunter2") && !page.contains("strange"));
        let none = harbour(&[]);
        let empty = super::page(&none, &none.effects(now()), "ana");
        assert_eq!(read(&empty).unwrap(), Said::new());
        assert!(empty.lines().all(|line| line.chars().count() <= WIDTH + 8), "{empty}");
    }

    fn check(page: &str, expected: Result<&[(&str, Json)], &str>) {
        match (read(page), expected) {
            (Ok(found), Ok(expected)) => {
                let expected =
                    expected.iter().map(|(rest, json)| ((*rest).to_owned(), json.clone()));
                assert_eq!(found, expected.collect(), "{page}");
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{page}: {found}"),
            (found, _) => panic!("{page}: {found:?}"),
        }
    }

    #[test]
    fn what_is_typed_is_read_or_refused_as_a_whole() {
        check("", Ok(&[]));
        check("hunt:\nnode:\n", Ok(&[]));
        check(
            "hunt: {buffers: {events: 3, bytes: null}}",
            Ok(&[("hunt/buffers/events", 3.into())]),
        );
        check("node: {a: {buffers: {events: 3}}}", Ok(&[("node/a/buffers/events", 3.into())]));
        check(&format!("hunt:\n  rules:\n{}node: [", "# a\n".repeat(500)), Err("line 503"));
        check("hunt: [", Err("not YAML"));
        check("buffers: {events: 3}", Err("hunt: and node:"));
        check("hunt: {buffers: 3}", Err("hunt/buffers holds 3"));
        check("hunt: {generation: 3}", Err("hunt rollback"));
        check("hunt: {a: {b: 1}}\nhunt: {a: {b: 2}}", Err("not YAML"));
    }
}
