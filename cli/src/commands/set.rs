//! `hunt set` and `hunt unset`: a live edit, checked by the functions that agents use before it is
//! written. In: arguments and the hunt as it stands. Out: a change, or what is wrong with it. The
//! checks are pure.

use config_schemas::edit::{self, Signature, Target};
use config_schemas::{FieldPath, HuntName, NodeName, Scope};
use jiff::Timestamp;

use super::change::{self, Change};
use super::together::{Unfit, unfit};
use crate::args::{SetArgs, WaitArgs};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::last_good;
use crate::reach::Etcd;
use crate::shown::Out;

/// `hunt set`.
pub async fn set(etcd: &Etcd, out: Out, args: &SetArgs) -> Result<(), Failure> {
    let now = telemetry::clock::now();
    let signature = change::signature(&args.signature, change::whoami(), now);
    // What is wrong in itself needs no etcd to be told.
    let (target, value) = check_alone(args.field, args.node.as_ref(), &args.value, signature, now)?;
    let mut fleet = etcd.fleet(&args.hunt).await?;
    last_good::ask(std::slice::from_mut(&mut fleet)).await;
    check_together(&fleet, &target, &value, args.absent, now)?;
    change::carry_out(etcd, out, planned(&args.hunt, &target, Some(value)), args.wait).await
}

/// `hunt unset`.
pub async fn unset(
    etcd: &Etcd,
    out: Out,
    hunt: &HuntName,
    field: FieldPath,
    node: Option<NodeName>,
    wait: WaitArgs,
) -> Result<(), Failure> {
    etcd.fleet(hunt).await?;
    let target = Target::Setting { node, path: field };
    change::carry_out(etcd, out, planned(hunt, &target, None), wait).await
}

pub(super) fn planned(hunt: &HuntName, target: &Target, value: Option<String>) -> Change {
    let (node, section) = match target {
        Target::Setting { node, path } => (node.clone(), Some(path.section())),
        Target::Generation => (None, None),
    };
    let rest = target.rest();
    Change { hunt: hunt.clone(), rest, value, node, section, generation: None, only_at: None }
}

/// What to write, if it is well formed, within bounds and not over already.
fn check_alone(
    path: FieldPath,
    node: Option<&NodeName>,
    value: &str,
    signature: Signature,
    now: Timestamp,
) -> Result<(Target, String), Failure> {
    let wrong = |reason: &str| Failure::bad_input(format!("{path}: {reason}"));
    let rest = Target::Setting { node: node.cloned(), path }.rest();
    let target = edit::target(&rest).map_err(|refused| match path.field().scope {
        Scope::Hunt if node.is_some() => wrong(&refused.reason).hint("leave --node out"),
        _ => wrong(&refused.reason),
    })?;
    let read = edit::setting(path, value.as_bytes()).map_err(|refused| wrong(&refused.reason))?;
    if read.signature != Signature::default() {
        return Err(wrong("give the value alone").hint("use --owner, --reason and --until"));
    }
    if let Some(until) = signature.until.filter(|until| *until <= now) {
        return Err(wrong(&format!("--until {until} has passed; it is {now} now")));
    }
    let written = edit::write(&read.value.to_json(), &signature);
    // Owner and reason count too.
    edit::setting(path, written.as_bytes()).map_err(|refused| wrong(&refused.reason))?;
    Ok((target, written))
}

/// Whether the edit goes together with the rest of the hunt, on every node that it concerns.
fn check_together(
    fleet: &Fleet,
    target: &Target,
    value: &str,
    absent: bool,
    now: Timestamp,
) -> Result<(), Failure> {
    let Target::Setting { node, path } = target else { return Ok(()) };
    if let Some(node) = node.as_ref().filter(|node| !absent && !fleet.nodes.contains_key(node)) {
        let names: Vec<_> = fleet.nodes.keys().map(NodeName::as_str).collect();
        let living = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(Failure::bad_input(format!("no node {node} lives; living: {living}"))
            .hint("to prepare an edit for a node that is to come, add --absent"));
    }
    let changes = [(target.rest(), Some(value.to_owned()))].into();
    match unfit(fleet, &changes, now).first() {
        Some(Unfit { node, reason, .. }) => {
            let at = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            Err(Failure::bad_input(format!("{path}{at}: {reason}")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;
    use crate::fleet::sample::{harbour, node, now};

    fn check(field: &str, on: Option<&str>, value: &str, expected: Result<&str, &str>) {
        let path = FieldPath::parse(field).unwrap();
        let on = on.map(node);
        let signature = Signature::default();
        let fleet = harbour(&[("hunt/buffers/events", "64", 20), ("hunt/workers/batch", "64", 19)]);
        let found = check_alone(path, on.as_ref(), value, signature, now()).and_then(
            |(target, written)| {
                check_together(&fleet, &target, &written, false, now())?;
                Ok(written)
            },
        );
        match (found, expected) {
            (Ok(written), Ok(expected)) => assert_eq!(written, expected),
            (Err(failure), Err(expected)) => {
                assert_eq!(failure.code, Code::BadInput, "{failure:?}");
                assert!(failure.message.contains(expected), "{failure:?}");
            }
            (found, _) => panic!("{field} {value}: {found:?}"),
        }
    }

    #[test]
    fn what_is_allowed_is_written_as_machines_write_it() {
        check("heartbeat.interval", None, "1m", Ok("\"1m\""));
        check("buffers.bytes", None, "16MiB", Ok("\"16Mi\""));
        check("partitions.pins", None, "[3=agent-1]", Ok("[\"3=agent-1\"]"));
        check("partitions.paused", None, "true", Ok("true"));
        check("buffers.events", Some("agent-1"), "128", Ok("128"));
    }

    #[test]
    fn what_is_not_is_told_with_what_would_be() {
        check("buffers.events", None, "lots", Err("from 1 to 1048576"));
        check("buffers.events", None, "-5", Err("from 1 to 1048576"));
        check("buffers.events", None, "[", Err("not YAML"));
        check("buffers.events", None, "{value: 3, owner: ana}", Err("the value alone"));
        check("buffers.events", None, "{value: 3, size: 4}", Err("not {value, owner"));
        check("buffers.events", None, &"9".repeat(1 << 20), Err("at most 32768"));
        check("heartbeat.interval", None, "10ms", Err("from 20ms to 1m"));
        check("broker.kind", None, "kafka", Err("cannot change once"));
        check("rules.clues", Some("agent-1"), "2", Err("whole hunt"));
        check("buffers.events", Some("ghost"), "9", Err("living: agent-1, agent-2"));
    }

    #[test]
    fn what_does_not_go_together_with_the_hunt_is_not_written() {
        check("workers.batch", None, "65", Err("at most buffers.events, which is 64"));
        check("workers.batch", Some("agent-1"), "65", Err("on agent-1"));
        check("buffers.events", None, "63", Err("workers.batch"));
    }

    #[test]
    fn an_edit_that_is_over_is_not_written() {
        let path = FieldPath::parse("buffers.events").unwrap();
        let over = Signature { until: Some(now()), ..Signature::default() };
        let failure = check_alone(path, None, "128", over, now()).unwrap_err();
        assert!(failure.message.contains("has passed"), "{failure:?}");
        let long = Signature { reason: Some("x".repeat(40 << 10)), ..Signature::default() };
        let failure = check_alone(path, None, "128", long, now()).unwrap_err();
        assert!(failure.message.contains("at most 32768"), "{failure:?}");
    }
}
