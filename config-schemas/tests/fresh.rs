//! The committed schemas and the reference are what the table of settings says.

use config_schemas::artefacts;

#[test]
fn schemas_and_reference_are_fresh() {
    let root = env!("CARGO_MANIFEST_DIR");
    fresh::check(&format!("{root}/v1"), artefacts::schemas());
    fresh::check(root, [("../docs/reference/settings.md", artefacts::reference())]);
}
