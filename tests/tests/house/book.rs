//! The documentation holds together: every link of every page leads somewhere, every page of `docs/`
//! is in the book's summary, pages of the book lead to pages of the book, and settings and metrics that
//! they name are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::{files, root};

const BOOK: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";

/// What of a page matters to others.
#[derive(Debug, Default)]
struct Page {
    /// As written, without the angle brackets.
    links: Vec<String>,
    /// What stands between backticks.
    codes: Vec<String>,
    /// What `#...` may name.
    anchors: BTreeSet<String>,
    /// Headlines of the first level.
    titles: usize,
}

fn read(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { level, .. }) => {
                page.titles += usize::from(level == HeadingLevel::H1);
                heading = Some(String::new());
            }
            Event::End(TagEnd::Heading(_)) => {
                let name = anchor(&heading.take().unwrap_or_default());
                let taken = |name: &str| page.anchors.contains(name);
                let next = (1..).map(|number| format!("{name}-{number}"));
                let free = std::iter::once(name.clone()).chain(next).find(|name| !taken(name));
                page.anchors.extend(free);
            }
            Event::Text(ref words) | Event::Code(ref words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(words);
                }
                if matches!(event, Event::Code(_)) {
                    page.codes.push(words.to_string());
                }
            }
            _ => {}
        }
    }
    page
}

/// As GitHub and mdBook both make it of a headline.
fn anchor(heading: &str) -> String {
    let kept = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' ');
    let letters = heading.trim().chars().filter(|letter| kept(*letter));
    letters.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Where a link leads, from the root, and the anchor behind it. None for what is not ours.
fn target(from: &Path, link: &str) -> Option<(PathBuf, Option<String>)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    if path.is_empty() {
        return Some((from.to_owned(), anchor));
    }
    let mut whole = from.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            part => whole.push(part),
        }
    }
    Some((whole, anchor))
}

fn pages() -> BTreeMap<PathBuf, Page> {
    let read = |(path, text): (PathBuf, String)| (path, read(&text));
    let pages: BTreeMap<_, _> = files(".md").into_iter().map(read).collect();
    assert!(pages.len() > 40, "only {} pages found", pages.len());
    pages
}

/// The pages that the summary lists.
fn listed(pages: &BTreeMap<PathBuf, Page>) -> Vec<PathBuf> {
    let from = Path::new(SUMMARY);
    let links = pages[from].links.iter();
    links.map(|link| target(from, link).unwrap().0).collect()
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    for (path, page) in &pages {
        for link in &page.links {
            let Some((to, anchor)) = target(path, link) else { continue };
            let anchors = pages.get(&to).map(|page| &page.anchors);
            let is_there = match &anchor {
                None => root().join(&to).exists(),
                Some(anchor) => anchors.is_some_and(|anchors| anchors.contains(anchor)),
            };
            if !is_there {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
}

#[test]
fn every_page_is_in_the_book_once_under_one_title() {
    let pages = pages();
    let listed = listed(&pages);
    let set: BTreeSet<_> = listed.iter().collect();
    assert_eq!(listed.len(), set.len(), "listed twice in {SUMMARY}");
    let in_book = |path: &&PathBuf| path.starts_with(BOOK) && path.as_path() != Path::new(SUMMARY);
    let there: BTreeSet<_> = pages.keys().filter(in_book).collect();
    let orphans: Vec<_> = there.difference(&set).collect();
    assert!(orphans.is_empty(), "pages that {SUMMARY} does not list: {orphans:#?}");
    let absent: Vec<_> = set.difference(&there).collect();
    assert!(absent.is_empty(), "{SUMMARY} lists what is no page: {absent:#?}");
    let odd: Vec<_> = there.iter().filter(|path| pages[**path].titles != 1).collect();
    assert!(odd.is_empty(), "pages without one title: {odd:#?}");
}

/// What the book does not hold is named by its path, not linked: the built book stands alone.
#[test]
fn pages_of_the_book_lead_to_pages_of_the_book() {
    let pages = pages();
    let book = pages.iter().filter(|(path, _)| path.starts_with(BOOK));
    let leaves = |path: &Path, link: &str| {
        target(path, link).is_some_and(|(to, _)| {
            // a folder would be a page on one host and a list of files on another
            !to.starts_with(BOOK) || root().join(to).is_dir()
        })
    };
    let wrong: Vec<_> = book
        .flat_map(|(path, page)| page.links.iter().map(move |link| (path, link)))
        .filter(|(path, link)| leaves(path, link))
        .collect();
    assert!(wrong.is_empty(), "links out of the book: {wrong:#?}");
}

/// By the two pages that are generated: of settings as `section.field`, of metrics by name.
fn known() -> BTreeSet<String> {
    let text = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let mut known = BTreeSet::new();
    let mut section = String::new();
    for line in text("docs/reference/settings.md").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            name.clone_into(&mut section);
        } else if let Some((field, _)) = line.strip_prefix("| `").and_then(|it| it.split_once('`'))
        {
            known.insert(format!("{section}.{field}"));
        }
    }
    let metrics = text("docs/metrics.md");
    let rows = metrics.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    known.extend(rows.map(|(name, _)| name.to_owned()));
    assert!(known.len() > 150, "only {} settings and metrics found", known.len());
    known
}

#[test]
fn settings_and_metrics_that_pages_name_are_there() {
    let known = known();
    let sections: BTreeSet<&str> =
        known.iter().filter_map(|name| name.split_once('.')).map(|(section, _)| section).collect();
    let is_wrong = |code: &str| {
        let name = code.split('{').next().unwrap_or(code);
        let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let is_field = |(section, field): (&str, &str)| {
            sections.contains(section)
                && is_word(field)
                && !["md", "rs", "yaml", "FIELD"].contains(&field)
        };
        let is_name = (name.starts_with("treasurehunt_") && is_word(name))
            || name.split_once('.').is_some_and(is_field);
        is_name && !known.contains(name)
    };
    assert!(is_wrong("buffers.evnts") && is_wrong("treasurehunt_none{a}") && !is_wrong("a.b"));
    let pages = pages();
    let wrong: Vec<_> = pages
        .iter()
        .flat_map(|(path, page)| page.codes.iter().map(move |code| (path, code)))
        .filter(|(_, code)| is_wrong(code))
        .collect();
    assert!(wrong.is_empty(), "no such setting or metric: {wrong:#?}");
}

#[test]
fn links_and_anchors_are_read_as_they_are_drawn() {
    let page = read("# A `b`: c's (d)\n## x\n## x\n[l](a/../b.md#x) `[no](c)`\n\n![p](p.png)\n");
    assert_eq!(page.links, ["a/../b.md#x", "p.png"]);
    assert_eq!(page.titles, 1);
    assert_eq!(page.anchors, ["a-b-cs-d", "x", "x-1"].map(str::to_owned).into());
    let to = |link: &str| target(Path::new("docs/a/b.md"), link);
    assert_eq!(to("../c.md#d"), Some((PathBuf::from("docs/c.md"), Some("d".to_owned()))));
    assert_eq!(to("#e"), Some((PathBuf::from("docs/a/b.md"), Some("e".to_owned()))));
    assert_eq!(to("https://example.com/a"), None);
}
