//! One setting in a file of TreasureHunts, changed where it stands, so that comments and order stay.
//! In: text, hunt, setting, value. Out: the new text, read back and found to differ in that setting
//! alone; or why it cannot be changed so. Pure.

use config_schemas::{FieldPath, HuntName};
use crds::{Document, documents};
use serde_json::{Map, Value as Json};

use crate::commands::edit::scalar;

/// Steps of indentation where the file shows none of its own.
const STEP: usize = 2;

/// The text with that setting.
pub(super) fn patched(
    text: &str,
    hunt: &HuntName,
    path: FieldPath,
    value: &Json,
) -> Result<String, String> {
    let before = read(text)?;
    let at = before.iter().position(|it| it.as_ref().is_some_and(|it| it.name == *hunt));
    let at = at.ok_or_else(|| format!("it does not name the hunt {hunt}"))?;
    let mut wanted = before.clone();
    if let Some(document) = &mut wanted[at] {
        put(&mut document.spec, path, value);
    }
    if wanted == before {
        return Ok(text.to_owned());
    }
    let chunks = chunks(text);
    // Documents and chunks go together unless the text has marks that this does not know.
    if chunks.len() != before.len() {
        return Err("its documents are not told apart by lines of ---".to_owned());
    }
    let mut changed = String::new();
    for (index, chunk) in chunks.iter().enumerate() {
        match index == at {
            true => changed += &in_document(chunk, path, value)?,
            false => changed += chunk,
        }
    }
    match read(&changed) {
        Ok(found) if found == wanted => Ok(changed),
        _ => Err("it is written in a form that is not edited line by line".to_owned()),
    }
}

/// What the file asks of that setting now.
pub(super) fn asks(text: &str, hunt: &HuntName, path: FieldPath) -> Option<Json> {
    let documents = read(text).ok()?;
    let document = documents.into_iter().flatten().find(|it| it.name == *hunt)?;
    document.spec.get(path.section())?.get(path.name()).cloned()
}

fn read(text: &str) -> Result<Vec<Option<Document>>, String> {
    documents(text)?.into_iter().map(|it| it.map_err(|fault| fault.to_string())).collect()
}

fn put(spec: &mut Json, path: FieldPath, value: &Json) {
    if !spec.is_object() {
        *spec = Json::Object(Map::new());
    }
    let Json::Object(map) = spec else { return };
    let section = map.entry(path.section()).or_insert(Json::Null);
    if !section.is_object() {
        *section = Json::Object(Map::new());
    }
    section[path.name()] = value.clone();
}

/// The text of each document, with the line of `---` that opens it.
fn chunks(text: &str) -> Vec<String> {
    let mut chunks = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let opens = line.trim_end() == "---" || line.starts_with("--- ");
        let last = chunks.len() - 1;
        let only_comments =
            chunks[last].lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
        if opens && !only_comments {
            chunks.push(String::new());
        }
        let last = chunks.len() - 1;
        chunks[last] += line;
    }
    chunks
}

/// Lines of a document, and where things stand in them.
struct Lines(Vec<String>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.lines().map(str::to_owned).collect())
    }

    fn is_content(&self, at: usize) -> bool {
        let line = self.0[at].trim();
        !line.is_empty() && !line.starts_with('#')
    }

    fn indent(&self, at: usize) -> usize {
        self.0[at].len() - self.0[at].trim_start_matches(' ').len()
    }

    /// The line of `key:` that is indented by `indent`, from `from` up to `to`.
    fn find(&self, key: &str, indent: usize, (from, to): (usize, usize)) -> Option<usize> {
        (from..to).find(|at| {
            let line = &self.0[*at];
            let rest = line.trim_start().strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
            self.is_content(*at)
                && self.indent(*at) == indent
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        })
    }

    /// Where what is below the line `at` ends: behind its last line of content.
    fn end_of(&self, at: usize, to: usize) -> usize {
        let indent = self.indent(at);
        let next = (at + 1..to).find(|line| self.is_content(*line) && self.indent(*line) <= indent);
        let mut end = next.unwrap_or(to);
        while end > at + 1 && !self.is_content(end - 1) {
            end -= 1;
        }
        end
    }

    /// How far what is below the line `at` is indented.
    fn indent_below(&self, at: usize, end: usize) -> usize {
        let first = (at + 1..end).find(|line| self.is_content(*line));
        first.map_or(self.indent(at) + STEP, |line| self.indent(line))
    }

    fn insert(&mut self, at: usize, line: String) {
        self.0.insert(at, line);
    }
}

fn in_document(text: &str, path: FieldPath, value: &Json) -> Result<String, String> {
    let mut lines = Lines::of(text);
    let all = (0, lines.0.len());
    let spec = match lines.find("spec", 0, all) {
        Some(at) => at,
        None => {
            let end = (0..all.1).rev().find(|at| lines.is_content(*at)).map_or(0, |at| at + 1);
            lines.insert(end, "spec:".to_owned());
            end
        }
    };
    open(&lines, spec)?;
    let end = lines.end_of(spec, lines.0.len());
    let indent = lines.indent_below(spec, end);
    match lines.find(path.section(), indent, (spec + 1, end)) {
        Some(section) => in_section(&mut lines, section, end, path, value)?,
        None => {
            let (section, field) = (path.section(), path.name());
            let pad = " ".repeat(indent);
            lines.insert(end, format!("{pad}{section}:"));
            let below = " ".repeat(indent + STEP);
            lines.insert(end + 1, format!("{below}{field}: {}", scalar(value)));
        }
    }
    let mut text = lines.0.join("\n");
    text.push('\n');
    Ok(text)
}

fn in_section(
    lines: &mut Lines,
    section: usize,
    end: usize,
    path: FieldPath,
    value: &Json,
) -> Result<(), String> {
    open(lines, section)?;
    let end = lines.end_of(section, end);
    let indent = lines.indent_below(section, end);
    let written = format!("{}{}: {}", " ".repeat(indent), path.name(), scalar(value));
    match lines.find(path.name(), indent, (section + 1, end)) {
        None => lines.insert(end, written),
        Some(at) => {
            let mut below = lines.end_of(at, end);
            // Entries of a list may stand as far left as their key.
            while below < end && lines.0[below].trim_start().starts_with("- ") {
                below += 1;
            }
            let comment = comment(&lines.0[at]).unwrap_or_default();
            lines.0.splice(at..below, [written + &comment]);
        }
    }
    Ok(())
}

/// Whether what belongs to the key of that line stands on lines below it.
fn open(lines: &Lines, at: usize) -> Result<(), String> {
    let rest = lines.0[at].split_once(':').map_or("", |(_, rest)| rest).trim();
    match rest.is_empty() || rest.starts_with('#') {
        true => Ok(()),
        false => Err(format!("line {:?} holds its values on the same line", lines.0[at].trim())),
    }
}

/// The comment at a line's end, with the blanks before it.
fn comment(line: &str) -> Option<String> {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before == ' ' => {
                let start = line[..at].trim_end().len();
                return Some(line[start..].to_owned());
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a harbour\napiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\n\
        metadata:\n  name: harbour\nspec:\n  history: 3\n\n  buffers:  # in front\n    \
        events: 4096   # each\n    # bytes follow\n    bytes: \"16Mi\"\n  partitions:\n    pins:\n    \
        - 1=a\n    - 2=b\n    paused: false\n\n# the end\n";

    fn check(text: &str, field: &str, value: Json, expected: Result<(&str, &str), &str>) {
        let hunt = HuntName::new("default", "harbour").unwrap();
        let found = patched(text, &hunt, FieldPath::parse(field).unwrap(), &value);
        match (found, expected) {
            (Ok(found), Ok((old, new))) => {
                assert!(old.is_empty() || text.contains(old), "{old}");
                let expected = text.replacen(old, new, 1);
                assert_eq!(found, expected);
            }
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, _) => panic!("{field}: {found:?}"),
        }
    }

    #[test]
    fn a_value_changes_where_it_stands_and_nothing_else() {
        check(FILE, "buffers.events", 128.into(), Ok(("4096   #", "128   #")));
        check(FILE, "buffers.bytes", "32Mi".into(), Ok(("\"16Mi\"", "32Mi")));
        check(FILE, "partitions.paused", true.into(), Ok(("paused: false", "paused: true")));
        let pins = serde_json::json!(["3=c"]);
        let list = "pins:\n    - 1=a\n    - 2=b\n";
        check(FILE, "partitions.pins", pins, Ok((list, "pins: [\"3=c\"]\n")));
        check(FILE, "buffers.events", 4096.into(), Ok(("", "")));
    }

    #[test]
    fn what_is_not_there_is_added_where_it_belongs() {
        let added = "bytes: \"16Mi\"\n    wait: 1s\n";
        check(FILE, "buffers.wait", "1s".into(), Ok(("bytes: \"16Mi\"\n", added)));
        let added = "paused: false\n  rules:\n    clues: 5\n";
        check(FILE, "rules.clues", 5.into(), Ok(("paused: false\n", added)));
        let bare = &FILE[..FILE.find("spec:").unwrap()];
        let added = "name: harbour\nspec:\n  rules:\n    clues: 5\n";
        check(bare, "rules.clues", 5.into(), Ok(("name: harbour\n", added)));
    }

    #[test]
    fn the_right_document_of_several_changes() {
        let other = FILE.replace("name: harbour", "name: lighthouse");
        let both = format!("---\n{other}---\n{FILE}");
        let hunt = HuntName::new("default", "harbour").unwrap();
        let path = FieldPath::parse("buffers.events").unwrap();
        let found = patched(&both, &hunt, path, &128.into()).unwrap();
        assert_eq!(found, format!("---\n{other}---\n{}", FILE.replace("4096", "128")));
        assert_eq!(asks(&found, &hunt, path), Some(128.into()));
    }

    #[test]
    fn what_cannot_be_changed_safely_is_left_alone() {
        let flow = FILE.replace("  buffers:  # in front\n", "  buffers: {events: 3}\n  other:\n");
        check(&flow, "buffers.events", 128.into(), Err("on the same line"));
        check("a: [", "buffers.events", 128.into(), Err("not YAML"));
        check(
            &FILE.replace("name: harbour", "name: a"),
            "rules.clues",
            1.into(),
            Err("does not name"),
        );
        let anchor = FILE.replace("events: 4096   # each", "events: &e 4096");
        let twice = anchor.replace("history: 3", "history: 3\n  workers:\n    batch: *e");
        // The anchor would go with its value.
        let wrong = patched(
            &twice,
            &HuntName::new("default", "harbour").unwrap(),
            FieldPath::parse("buffers.events").unwrap(),
            &128.into(),
        );
        assert!(wrong.is_err(), "{wrong:?}");
    }
}
