//! `hunt promote`: a live edit becomes part of the resource, then the edit is taken back: at no time
//! does the value go back to what it was. In: the hunt as it stands, and a file or Kubernetes. Out:
//! the changed file or resource; the edit is gone once the hunt's stable generation asks for the
//! same. Done twice is done once. `patch` is pure, the rest is I/O.

mod kubernetes;
mod patch;

use std::path::Path;
use std::time::Duration;

use config_schemas::edit::{self, Target};
use config_schemas::{FieldPath, NodeName, Revision, Value};
use serde::Serialize;
use tokio::time::Instant;

use self::kubernetes::Whose;
use super::change::{self, Changed};
use super::edit::scalar;
use super::set::planned;
use crate::args::PromoteArgs;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::reach::Etcd;
use crate::shown::{Out, Page, Tone, View, elapsed};

/// Pause between two looks at whether the operator has written the new generation.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Promoted {
    /// Which setting.
    field: FieldPath,
    /// What the resource asked for; none when it said nothing.
    from: Option<serde_json::Value>,
    /// What it asks for now.
    to: serde_json::Value,
    /// The file or resource that was changed.
    place: String,
    /// What became of the edit; none when nothing was to be written.
    edit: Option<Changed>,
}

/// An edit that can be promoted.
struct Promotable {
    value: Value,
    revision: Revision,
}

/// `hunt promote`.
pub async fn run(etcd: &Etcd, out: Out, args: &PromoteArgs) -> Result<(), Failure> {
    let fleet = etcd.fleet(&args.hunt).await?;
    let edit = promotable(&fleet, args.field)?;
    let to = edit.value.to_json();
    let (from, place) = match &args.file {
        Some(file) => {
            let (before, text) = in_file(file, &fleet, args.field, &to)?;
            if args.print {
                return crate::shown::write(&text);
            }
            write(file, &text)?;
            (before, file.display().to_string())
        }
        None => {
            let whose =
                Whose { file: args.kubeconfig.as_deref(), context: args.context.as_deref() };
            kubernetes::apply(&args.hunt, args.field, &to, whose).await?
        }
    };
    let was = from.as_ref().map_or("nothing".to_owned(), scalar);
    out.say(&format!("{place}: {} {was} -> {}", args.field, scalar(&to)))?;
    in_effect(etcd, args, &edit.value).await?;
    let target = Target::Setting { node: None, path: args.field };
    let change =
        change::Change { only_at: Some(edit.revision), ..planned(&args.hunt, &target, None) };
    let changed = change::apply(etcd, change, args.wait).await?;
    let verdict = changed.verdict(args.wait.timeout);
    let edit = Some(changed);
    out.show(&Promoted { field: args.field, from, to, place, edit })?;
    verdict
}

/// The hunt's edit of that setting, if it holds.
fn promotable(fleet: &Fleet, path: FieldPath) -> Result<Promotable, Failure> {
    let rest = Target::Setting { node: None, path }.rest();
    let Some(written) = fleet.edits.get(&rest) else {
        let tail = format!("/{}/{}", path.section(), path.name());
        let of_node = |rest: &String| {
            let node = rest.strip_prefix("node/")?.strip_suffix(&tail)?;
            NodeName::new(node).ok()
        };
        let nodes: Vec<_> = fleet.edits.keys().filter_map(of_node).collect();
        let failure = Failure::bad_input(format!("nobody has edited {path} for the whole hunt"));
        return Err(match nodes.as_slice() {
            [] => failure.hint("`hunt status` lists the live edits"),
            nodes => failure.hint(format!(
                "there are edits for {}; a resource knows no single nodes: `hunt set` it for the \
                 whole hunt first",
                crate::shown::names(nodes)
            )),
        });
    };
    let read = edit::setting(path, &written.bytes).map_err(|refused| {
        Failure::bad_input(format!("the edit of {path} is refused: {}", refused.reason))
            .hint("mend it with `hunt set` first")
    })?;
    Ok(Promotable { value: read.value, revision: written.revision })
}

/// What the file asked for, and its text with the new value.
fn in_file(
    file: &Path,
    fleet: &Fleet,
    path: FieldPath,
    to: &serde_json::Value,
) -> Result<(Option<serde_json::Value>, String), Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::bad_input(format!("reading {shown}: {error}")))
        .map_err(|failure| failure.hint("give the file that the hunt comes from"))?;
    let changed = patch::patched(&text, &fleet.hunt, path, to).map_err(|why| {
        Failure::bad_input(format!("{shown}: {why}")).hint(format!(
            "write `{}: {{{}: {}}}` below its spec yourself, apply it, and run this again",
            path.section(),
            path.name(),
            scalar(to)
        ))
    })?;
    let judged = super::lint::judge(&[super::lint::File {
        name: shown.to_string(),
        text: Ok(changed.clone()),
    }]);
    let fault = judged.faults.iter().find(|fault| fault.hunt.as_ref() == Some(&fleet.hunt));
    if let Some(fault) = fault {
        return Err(Failure::bad_input(format!(
            "{shown} would not be accepted: {} {}",
            fault.code.code(),
            fault.sentence()
        ))
        .hint("the file stays as it was"));
    }
    Ok((patch::asks(&text, &fleet.hunt, path), changed))
}

/// Replaces the file in one step: whoever reads it sees the old text or the new one.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: &std::io::Error| Failure::caused(&format!("writing {}", file.display()), error);
    // Behind a link, so that the link stays one.
    let target = std::fs::canonicalize(file).map_err(|error| failed(&error))?;
    if std::fs::read_to_string(&target).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".hunt-").tempfile_in(folder);
    let draft = draft.map_err(|error| failed(&error))?;
    let permissions = std::fs::metadata(&target).map_err(|error| failed(&error))?.permissions();
    std::fs::write(draft.path(), text)
        .and_then(|()| std::fs::set_permissions(draft.path(), permissions))
        .map_err(|error| failed(&error))?;
    draft.persist(&target).map(drop).map_err(|error| failed(&error.error))
}

/// Until the hunt's stable generation asks for that value.
async fn in_effect(etcd: &Etcd, args: &PromoteArgs, value: &Value) -> Result<(), Failure> {
    let deadline = Instant::now() + args.wait.timeout;
    loop {
        let fleet = etcd.fleet(&args.hunt).await?;
        if asks_for(&fleet, args.field, value) {
            return Ok(());
        }
        if args.wait.no_wait || Instant::now() >= deadline {
            let waited = if args.wait.no_wait { Duration::ZERO } else { args.wait.timeout };
            let message = format!(
                "no generation asks for {} {value} after {}; the live edit stays",
                args.field,
                elapsed(waited)
            );
            return Err(Failure::failed(message).hint(
                "bring the file to where the operator takes it from, then run this again: it \
                 takes the edit back",
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn asks_for(fleet: &Fleet, path: FieldPath, value: &Value) -> bool {
    let stable = fleet.rollout.as_ref().map(|(rollout, _)| rollout.stable);
    let on_trial = fleet.rollout.as_ref().is_some_and(|(it, _)| it.candidate.is_some());
    let resource = stable.and_then(|stable| fleet.resource(stable));
    let asked = resource.and_then(|resource| resource.values.get(&path).cloned());
    !on_trial && asked.as_ref() == Some(value)
}

impl View for Promoted {
    fn text(&self, page: Page) -> String {
        let head = format!("{} = {}", self.field, scalar(&self.to));
        let head = page.tint(Tone::Good, &format!("{head} is the resource's own now"));
        format!("{head}; the live edit is taken back\n")
            + &self.edit.as_ref().map(|edit| edit.text(page)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::harbour;

    const EVENTS: &str = "hunt/buffers/events";

    fn path() -> FieldPath {
        FieldPath::parse("buffers.events").unwrap()
    }

    #[test]
    fn only_an_edit_of_the_whole_hunt_that_holds_can_be_promoted() {
        let of = |edits: &[(&str, &str, u64)]| promotable(&harbour(edits), path());
        assert_eq!(of(&[(EVENTS, "128", 15)]).ok().unwrap().revision.get(), 15);
        let said = |edits: &[(&str, &str, u64)]| {
            let failure = of(edits).err().unwrap();
            format!("{} {}", failure.message, failure.hint.unwrap_or_default())
        };
        assert!(said(&[]).contains("nobody has edited buffers.events"));
        assert!(said(&[("node/agent-1/buffers/events", "1", 15)]).contains("edits for agent-1"));
        assert!(said(&[(EVENTS, "lots", 15)]).contains("from 1 to 1048576"));
    }

    #[test]
    fn the_edit_is_taken_back_only_once_the_resource_asks_for_the_same() {
        let mut fleet = harbour(&[]);
        let value = path().field().kind.read(&128.into()).unwrap();
        assert!(!asks_for(&fleet, path(), &value));
        let config = serde_json::json!({"buffers": {"events": 128}});
        let desired = fleet.desired.get_mut(&config_schemas::Generation(2)).unwrap();
        desired.config = config.as_object().unwrap().clone();
        assert!(asks_for(&fleet, path(), &value));
    }
}
