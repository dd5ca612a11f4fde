//! The committed files are what the tables say.

#[test]
fn the_files_are_fresh() {
    fresh::check(env!("CARGO_MANIFEST_DIR"), deploy::artefacts());
}
