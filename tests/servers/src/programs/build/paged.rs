//! A module that embeds a page which its release lacks: it is fetched and checked as pinned, copied,
//! given a page, and built from the copy. In: a folder with go.mod and go.sum. Out: the copy beside
//! them, and a go.mod that names it. I/O: runs `go mod download`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::go;
use crate::programs::steps::{at, remove};
use crate::programs::{Places, ProgramsError};

/// The go.mod by which the copy is built; its go.sum has the same name.
pub(super) const MODFILE: &str = "paged.mod";
/// The copy's folder.
const COPY: &str = "paged";
const PAGE: &str = "<!doctype html><title>none</title>no page in this build\n";

/// Copies `module` into `folder`, with `page` in it.
pub(super) fn copy(
    module: &str,
    page: &str,
    places: &Places,
    folder: &Path,
) -> Result<(), ProgramsError> {
    let fetched = fetched(module, places, folder)?;
    let copy = folder.join(COPY);
    remove(&copy)?;
    copy_folder(&fetched, &copy).map_err(|source| at(&copy, source))?;
    let page = copy.join(page);
    page.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|source| at(&page, source))?;
    std::fs::write(&page, PAGE).map_err(|source| at(&page, source))?;
    let modfile = folder.join(MODFILE);
    let named = std::fs::read_to_string(folder.join("go.mod"))
        .and_then(|text| {
            std::fs::write(&modfile, format!("{text}\nreplace {module} => ./{COPY}\n"))
        })
        .and_then(|()| std::fs::copy(folder.join("go.sum"), modfile.with_extension("sum")));
    named.map(drop).map_err(|source| at(&modfile, source))
}

/// Where Go keeps it, after its checksum was compared.
fn fetched(module: &str, places: &Places, folder: &Path) -> Result<PathBuf, ProgramsError> {
    let program = || "go mod download".to_owned();
    let output = go(places, folder).args(["mod", "download", "-json", module]).output();
    let output = output.map_err(|source| ProgramsError::Run { program: program(), source })?;
    let said: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match said["Dir"].as_str() {
        Some(dir) if output.status.success() => Ok(PathBuf::from(dir)),
        _ => {
            let why = said["Error"].as_str().map(str::to_owned);
            let why = why.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned());
            Err(ProgramsError::Run { program: program(), source: io::Error::other(why) })
        }
    }
}

/// Go's own folders cannot be written to; the copy can.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            std::fs::set_permissions(&target, PermissionsExt::from_mode(0o644))?;
        }
    }
    Ok(())
}
