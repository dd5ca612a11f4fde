//! The committed files are what the tables say. A stale one is rewritten, and the test fails once, so
//! that the next commit holds it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn check(path: &Path, fresh: &str) -> Option<String> {
    let committed = fs::read_to_string(path).unwrap_or_default();
    if committed == fresh {
        return None;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, fresh).unwrap();
    Some(path.display().to_string())
}

#[test]
fn the_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stale: Vec<_> = deploy::artefacts()
        .iter()
        .filter_map(|(name, text)| check(&root.join(name), text))
        .collect();
    assert!(stale.is_empty(), "rewritten, commit them: {stale:#?}");
}
