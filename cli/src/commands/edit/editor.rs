//! A person's editor on a file of ours. In: text. Out: the text as it was left, and the file, which
//! stays when it is kept. I/O.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// Longest page that is read back.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// A page in a file that nobody else can read; it goes with this value unless it is kept.
pub(super) struct Sheet(NamedTempFile);

impl Sheet {
    /// A file with that text.
    pub(super) fn new(text: &str) -> Result<Sheet, Failure> {
        let failed = |error: &std::io::Error| Failure::caused("making a file to edit", error);
        let file = tempfile::Builder::new().prefix("hunt-edit-").suffix(".yaml").tempfile();
        let sheet = Sheet(file.map_err(|error| failed(&error))?);
        sheet.write(text)?;
        Ok(sheet)
    }

    /// Replaces the text.
    pub(super) fn write(&self, text: &str) -> Result<(), Failure> {
        std::fs::File::create(self.0.path())
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::caused("writing the file to edit", &error))
    }

    /// Opens it in the person's editor and waits until that is closed; what stands there then.
    pub(super) async fn edit(&self) -> Result<String, Failure> {
        let editor = editor()?;
        // As git does it, so that an editor may have arguments.
        let status = tokio::process::Command::new("sh")
            .args(["-c", &format!("{editor} \"$1\""), "hunt"])
            .arg(self.0.path())
            .stdin(Stdio::inherit())
            .status()
            .await
            .map_err(|error| Failure::caused(&format!("starting the editor {editor}"), &error))?;
        if !status.success() {
            return Err(Failure::failed(format!("the editor ended with {status}: {editor}"))
                .hint("nothing was written"));
        }
        self.read()
    }

    fn read(&self) -> Result<String, Failure> {
        let path = self.0.path();
        let failed = |error: &std::io::Error| Failure::caused("reading what was edited", error);
        let length = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
        if length > PAGE_BYTES_MAX {
            return Err(Failure::bad_input(format!(
                "the page has {length} bytes; at most {PAGE_BYTES_MAX}"
            )));
        }
        std::fs::read_to_string(path).map_err(|error| failed(&error))
    }

    /// Leaves the file where it is, for the person to take up again.
    pub(super) fn keep(self) -> PathBuf {
        let path = self.0.path().to_owned();
        // Where it cannot be kept, its path is as good an answer as there is.
        self.0.keep().map_or(path, |(_, kept)| kept)
    }
}

fn editor() -> Result<String, Failure> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    if let Some(editor) = variable("VISUAL").or_else(|| variable("EDITOR")) {
        return Ok(editor);
    }
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok("vi".to_owned());
    }
    Err(Failure::bad_input(
        "there is no terminal for an editor, and neither VISUAL nor EDITOR names one",
    )
    .hint("`hunt set` changes one setting without an editor"))
}
