//! Whether generated files that are committed are what their generator says now; for tests only. In:
//! paths and texts. Out: a panic that names what was stale and has been rewritten, so that the next
//! commit holds it. I/O.

#![deny(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Panics unless each file below `root` holds its text; those that do not are rewritten first.
pub fn check<P: AsRef<Path>, T: AsRef<str>>(root: &str, files: impl IntoIterator<Item = (P, T)>) {
    let stale: Vec<PathBuf> = files
        .into_iter()
        .filter_map(|(name, fresh)| rewritten(Path::new(root).join(name), fresh.as_ref()))
        .collect();
    assert!(stale.is_empty(), "rewritten, commit them: {stale:#?}");
}

fn rewritten(path: PathBuf, fresh: &str) -> Option<PathBuf> {
    // a file that is not there yet is stale too
    if fs::read_to_string(&path).unwrap_or_default() == fresh {
        return None;
    }
    let written =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, fresh));
    assert!(written.is_ok(), "{} cannot be rewritten: {written:?}", path.display());
    Some(path)
}
