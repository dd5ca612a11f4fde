//! The committed page of lint's codes is what the program says. A stale one is rewritten, and the test
//! fails once, so that the next commit holds it.

#![allow(clippy::unwrap_used)]

use std::path::Path;

#[test]
fn the_page_of_lint_s_codes_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/lint.md");
    let fresh = hunt::commands::lint::page();
    if std::fs::read_to_string(&path).unwrap_or_default() != fresh {
        std::fs::write(&path, fresh).unwrap();
        panic!("rewritten, commit it: {}", path.display());
    }
}
