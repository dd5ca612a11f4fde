//! A `TreasureHunt` as its source saw it, kept small: ten thousand of them fit in a few dozen
//! megabytes because spec and status stay text until they are looked at. Pure.

use config_schemas::{Generation, HuntName};
use crds::{TreasureHuntSpec, TreasureHuntStatus};
use serde_json::Value as Json;

/// A `TreasureHunt` as its source saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Which hunt.
    pub name: HuntName,
    /// The resource's own id.
    pub uid: String,
    /// Rises with each change of the spec.
    pub generation: Generation,
    /// It is being deleted and waits for us.
    pub deleting: bool,
    /// It will wait for us when it is deleted.
    pub held: bool,
    /// The source's version of the object, for optimistic writes.
    pub version: String,
    /// The spec as JSON.
    pub spec: Box<str>,
    /// The status as we would write it; empty when there is none.
    pub status: Box<str>,
}

impl Observed {
    /// Reads the spec; the error is for a person.
    pub fn spec(&self) -> Result<TreasureHuntSpec, String> {
        serde_json::from_str(&self.spec).map_err(|error| error.to_string())
    }
}

/// The status in our own form, so that it can be compared as text; empty when there is none or
/// it is not ours to read.
pub fn parse_status(status: &Json) -> Box<str> {
    serde_json::from_value::<TreasureHuntStatus>(status.clone())
        .ok()
        .and_then(|status| serde_json::to_string(&status).ok())
        .unwrap_or_default()
        .into_boxed_str()
}
