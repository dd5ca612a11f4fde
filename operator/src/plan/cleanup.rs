//! Takes a deleted hunt's keys out of etcd. What agents hold on their leases ends with them, and
//! is theirs alone to write. Pure.

use config_schemas::keys::Key;
use store::{KeyRange, Txn, Write};

use super::Plan;
use crate::state::HuntView;

/// One transaction that removes all that the operator wrote, and the live edits unless they are
/// to stay. Guarded by `meta`, which goes in the same instant: half a hunt is never seen.
pub fn clean_up(view: &HuntView<'_>, uid: &str, retain: bool) -> Plan {
    let another = view.meta.value().is_some_and(|meta| meta.uid != uid);
    let nothing_left = view.is_bare() && (retain || view.edits.is_empty());
    if another || nothing_left {
        return Plan::default();
    }
    let below = |what: &str| {
        Write::DeleteRange(KeyRange::prefix(&format!("{}{what}/", view.keys.prefix())))
    };
    let mut writes = vec![
        Write::delete(view.keys.identity()),
        Write::delete(view.keys.key(&Key::Rollout)),
        Write::delete(view.keys.key(&Key::Routing)),
        below("desired"),
        below("partition"),
    ];
    if !retain {
        writes.push(below("override"));
    }
    writes.push(Write::delete(view.keys.key(&Key::Meta)));
    let guards = vec![view.guard(&Key::Meta), view.guard(&Key::Rollout)];
    Plan { txns: vec![Txn { guards, writes }], notes: Vec::new() }
}
