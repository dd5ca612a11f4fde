//! `treasurehunts.yaml` is what the types say.

#[test]
fn the_committed_definition_is_fresh() {
    fresh::check(env!("CARGO_MANIFEST_DIR"), [("treasurehunts.yaml", crds::yaml())]);
}
