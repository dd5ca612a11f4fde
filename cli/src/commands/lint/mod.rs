//! `hunt lint`: files of TreasureHunts, judged as the operator would judge them, without etcd or
//! Kubernetes. In: files and folders. Out: faults with stable codes; exit code 2 when there are any.
//! `rules` and `judge` are pure, reading files is I/O.

mod judge;
mod rules;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::change::excerpt_long;
use crate::failure::Failure;
use crate::shown::{Out, Page, Tone, View, count};

pub use judge::{Fault, File, Found, Judged, judge};
pub use rules::{Rule, page};

/// Longest file that is read: as long as the operator reads.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What the operator writes beside a file of hunts.
const STATUS_SUFFIX: &str = ".status.yaml";

/// The answer.
#[derive(Debug, Serialize)]
pub struct Linted {
    /// Files that were read.
    pub files: usize,
    /// Hunts that they name.
    pub hunts: usize,
    /// All that is wrong.
    pub faults: Vec<Fault>,
}

/// `hunt lint`.
pub fn run(out: Out, paths: &[PathBuf]) -> Result<(), Failure> {
    let files = read(paths);
    let judged = judge(&files);
    let linted = Linted { files: files.len(), hunts: judged.hunts.len(), faults: judged.faults };
    out.show(&linted)?;
    match linted.faults.len() {
        0 => Ok(()),
        faults => Err(Failure::bad_input(format!("{} found", count(faults, "fault")))
            .hint("docs/reference/lint.md says of each code what it means and what to do")),
    }
}

/// The files, and those of folders, in the order of their names; `-` is standard input.
pub fn read(paths: &[PathBuf]) -> Vec<File> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(File { name: "standard input".to_owned(), text: text(std::io::stdin()) });
        } else if path.is_dir() {
            match folder(path) {
                Ok(paths) if paths.is_empty() => {
                    let why = "holds no .yaml or .yml file".to_owned();
                    files.push(File { name: path.display().to_string(), text: Err(why) });
                }
                Ok(paths) => files.extend(paths.iter().map(|path| file(path))),
                Err(why) => files.push(File { name: path.display().to_string(), text: Err(why) }),
            }
        } else {
            files.push(file(path));
        }
    }
    files
}

/// The files of a folder that the operator would read.
fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let is_hunts = |name: &String| {
            let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
            yaml && !name.ends_with(STATUS_SUFFIX) && !name.starts_with('.')
        };
        if name.as_ref().is_some_and(is_hunts) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file(path: &Path) -> File {
    let read = || {
        let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
        // To open anything else may wait for somebody at its other end, for ever.
        if !meta.is_file() {
            return Err("is no plain file".to_owned());
        }
        text(std::fs::File::open(path).map_err(|error| error.to_string())?)
    };
    File { name: path.display().to_string(), text: read() }
}

fn text(from: impl std::io::Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

impl View for Linted {
    fn text(&self, page: Page) -> String {
        let mut text = String::new();
        let mut file = "";
        for fault in &self.faults {
            if fault.file != file {
                file = &fault.file;
                text += &format!("{}\n", page.tint(Tone::Strong, &excerpt_long(file)));
            }
            let code = page.tint(Tone::Bad, fault.code.code());
            let whose = match (&fault.hunt, fault.document) {
                (Some(hunt), _) => format!("{hunt} "),
                (None, Some(document)) => format!("document {document} "),
                (None, None) => String::new(),
            };
            text += &format!("  {code} {whose}{}\n", fault.sentence());
        }
        let faults = match self.faults.len() {
            0 => page.tint(Tone::Good, "no fault"),
            faults => page.tint(Tone::Bad, &count(faults, "fault")),
        };
        let (files, hunts) = (count(self.files, "file"), count(self.hunts, "hunt"));
        text + &format!("{files}, {hunts}, {faults}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_as_the_operator_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "a.yml.status.yaml", ".hidden.yaml", "notes.txt"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::write(folder.path().join("c.yaml"), [0xff, 0xfe]).unwrap();
        let files = read(&[folder.path().to_owned(), folder.path().join("gone.yaml")]);
        let names: Vec<_> =
            files.iter().map(|file| file.name.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["a.yml", "b.yaml", "c.yaml", "gone.yaml"]);
        assert_eq!(files[2].text, Err("is not UTF-8 text".to_owned()));
        assert!(files[3].text.as_ref().unwrap_err().contains("No such file"));
    }
}
