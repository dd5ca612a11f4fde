//! `treasurehunts.yaml`, the form in which the resource is installed. Pure.

use kube::CustomResourceExt;

use crate::TreasureHunt;

const HEAD: &str =
    "# Generated from crds/src and config-schemas/src/settings.rs; a test keeps it fresh.\n";

/// The text of `treasurehunts.yaml`.
pub fn yaml() -> String {
    let definition = TreasureHunt::crd();
    // Text keys and plain values only: nothing that YAML cannot say.
    let body = serde_yaml::to_string(&definition).expect("a resource definition is YAML");
    format!("{HEAD}{body}")
}
