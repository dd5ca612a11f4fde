//! The files of a support bundle, and how they become one archive. In: names and texts. Out: a
//! `tar.gz`, or a folder. Bounded in number and size. Writing is I/O.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::redact::redacted;
use crate::failure::Failure;

/// Longest file: what is above is cut at its head, since the newest is what matters.
pub(super) const FILE_BYTES_MAX: usize = 2 << 20;
/// Files of one bundle: a thousand agents give three each.
const FILES_MAX: usize = 4_096;

/// What a bundle holds.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    files: Vec<(String, String)>,
}

/// One file, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Listed {
    /// Its name in the bundle.
    pub(super) name: String,
    /// Its length.
    pub(super) bytes: usize,
}

impl Bundle {
    /// Adds a text, without what may be a secret.
    pub(super) fn add(&mut self, name: impl Into<String>, text: &str) {
        if self.files.len() < FILES_MAX {
            self.files.push((name.into(), redacted(tail(text))));
        }
    }

    /// Adds what failed instead of a file.
    pub(super) fn missing(&mut self, name: &str, failure: &Failure) {
        self.add(format!("{name}.missing.txt"), &format!("{}\n", failure.message));
    }

    /// What is in it.
    pub(super) fn list(&self) -> Vec<Listed> {
        let listed =
            |(name, text): &(String, String)| Listed { name: name.clone(), bytes: text.len() };
        self.files.iter().map(listed).collect()
    }

    /// Writes one archive, all below one folder.
    pub(super) fn archive(&self, path: &Path, folder: &str, mtime: u64) -> Result<(), Failure> {
        let written = || -> std::io::Result<()> {
            // Never over a file that is there.
            let file = std::fs::File::create_new(path)?;
            let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
            for (name, text) in &self.files {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o644);
                header.set_mtime(mtime);
                archive.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
            }
            archive.into_inner()?.finish()?.sync_all()
        };
        written().map_err(|error| failed(path, &error))
    }

    /// Writes a folder.
    pub(super) fn folder(&self, path: &Path) -> Result<(), Failure> {
        let written = || -> std::io::Result<()> {
            for (name, text) in &self.files {
                let file = path.join(name);
                std::fs::create_dir_all(file.parent().unwrap_or(path))?;
                std::fs::File::create_new(file)?.write_all(text.as_bytes())?;
            }
            Ok(())
        };
        written().map_err(|error| failed(path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("writing {}: {error}", path.display());
    Failure::bad_input(message).hint("give another place with --file or --folder")
}

/// The end of a text that is too long, from the start of a line.
fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(FILE_BYTES_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    if from == 0 {
        return text;
    }
    text[from..].split_once('\n').map_or(&text[from..], |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_what_was_added_without_secrets_and_goes_over_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.tar.gz");
        let mut bundle = Bundle::default();
        bundle.add("a/b.txt", "password=x\n");
        bundle.missing("c.json", &Failure::failed("no answer"));
        bundle.archive(&path, "report", 1_795_262_400).unwrap();
        let read = std::fs::File::open(&path).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(read));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            found.push((name, std::io::read_to_string(&mut entry).unwrap()));
        }
        let expected = [
            ("report/a/b.txt".to_owned(), "password=[cut]\n".to_owned()),
            ("report/c.json.missing.txt".to_owned(), "no answer\n".to_owned()),
        ];
        assert_eq!(found, expected);
        assert!(bundle.archive(&path, "report", 0).is_err(), "it is there already");
        bundle.folder(&place.path().join("folder")).unwrap();
        assert!(place.path().join("folder/a/b.txt").is_file());
    }

    #[test]
    fn of_a_long_text_the_end_stays() {
        let long = format!("first\n{}\nlast\n", "é".repeat(FILE_BYTES_MAX / 2));
        assert_eq!(tail(&long), "last\n");
        assert_eq!(tail("short"), "short");
    }
}
