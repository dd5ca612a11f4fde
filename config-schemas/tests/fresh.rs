//! The committed schemas and the reference are what the table of settings says. A stale file is
//! rewritten, and the test fails once, so that the next commit holds it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use config_schemas::artefacts;

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
fn schemas_and_reference_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stale: Vec<_> = artefacts::schemas()
        .iter()
        .filter_map(|(name, text)| check(&root.join("v1").join(name), text))
        .collect();
    let reference = root.join("../docs/reference/settings.md");
    stale.extend(check(&reference, &artefacts::reference()));
    assert!(stale.is_empty(), "rewritten, commit them: {stale:#?}");
}
