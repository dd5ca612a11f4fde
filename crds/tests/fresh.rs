//! `treasurehunts.yaml` is what the types say. A stale file is rewritten, and the test fails
//! once, so that the next commit holds it.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_definition_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("treasurehunts.yaml");
    let fresh = crds::yaml();
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if committed != fresh {
        fs::write(&path, &fresh).unwrap();
        panic!("rewritten, commit it: {}", path.display());
    }
}
