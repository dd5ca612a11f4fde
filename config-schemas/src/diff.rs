//! What a change of configuration asks of each component: the plan that agents carry out and that
//! people see before they apply. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::field::{Component, Cost, FieldPath};
use crate::lookup::fields;
use crate::settings::Values;
use crate::value::Value;

/// One field whose value changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Which.
    pub path: FieldPath,
    /// The value in effect.
    pub from: Value,
    /// The value to come.
    pub to: Value,
}

/// What one component has to take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentChange {
    /// The dearest of its changes.
    pub cost: Cost,
    /// What changes, in the order of the reference.
    pub changes: Vec<FieldChange>,
}

/// The plan: what each component has to take over; empty when nothing changes.
pub type Plan = BTreeMap<Component, ComponentChange>;

/// Compares what is in effect with what is to be. Fields that one side lacks do not change.
pub fn diff(old: &Values, new: &Values) -> Plan {
    let mut plan = Plan::new();
    for field in fields() {
        let (Some(from), Some(to)) = (old.get(&field.path), new.get(&field.path)) else { continue };
        if from == to {
            continue;
        }
        let change = FieldChange { path: field.path, from: from.clone(), to: to.clone() };
        let entry = plan
            .entry(field.component)
            .or_insert_with(|| ComponentChange { cost: field.cost, changes: Vec::new() });
        entry.cost = entry.cost.max(field.cost);
        entry.changes.push(change);
    }
    plan
}

impl Serialize for FieldChange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut map = serializer.serialize_struct("FieldChange", 3)?;
        map.serialize_field("field", &self.path)?;
        map.serialize_field("from", &self.from.to_json())?;
        map.serialize_field("to", &self.to.to_json())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Edits, Held, Written, resolve};
    use crate::names::Revision;

    fn values(list: &[(&str, &str)]) -> Values {
        let written = |text: &str| Written { bytes: text.into(), revision: Revision::FIRST };
        let edits: Edits =
            list.iter().map(|(rest, text)| ((*rest).into(), written(text))).collect();
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        resolve(None, &edits, None, &Held::new(), now).values
    }

    #[test]
    fn each_component_is_told_only_what_concerns_it() {
        let old = values(&[]);
        let new = values(&[
            ("hunt/heartbeat/interval", "250ms"),
            ("hunt/partitions/pins", "[1=a]"),
            ("hunt/partitions/moves", "2"),
        ]);
        let plan = diff(&old, &new);
        let costs: Vec<_> = plan.iter().map(|(part, change)| (*part, change.cost)).collect();
        assert_eq!(
            costs,
            [(Component::Heartbeat, Cost::Live), (Component::Placement, Cost::Drain)]
        );
        assert_eq!(plan[&Component::Heartbeat].changes[0].to.to_string(), "250ms");
    }

    #[test]
    fn there_and_back_is_no_change() {
        let old = values(&[("hunt/buffers/events", "128")]);
        assert!(diff(&old, &old).is_empty());
        let back = diff(&values(&[]), &old);
        assert_eq!(back[&Component::Queues].changes[0].from.to_string(), "4096");
    }
}
