//! `hunt rollback`: run a kept generation again, or end that. In: arguments and the hunt as it
//! stands. Out: a change of `override/hunt/generation`, or why not. The choice is pure.

use config_schemas::Generation;
use config_schemas::edit::{self, Signature};
use config_schemas::generation::ROLLBACK;
use jiff::Timestamp;

use super::change::{self, Change};
use crate::args::{RollbackArgs, To};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::reach::Etcd;
use crate::shown::Out;

/// `hunt rollback`.
pub async fn run(etcd: &Etcd, out: Out, args: &RollbackArgs) -> Result<(), Failure> {
    let now = telemetry::clock::now();
    let fleet = etcd.fleet(&args.hunt).await?;
    let to = args.generation.map(To::Generation).or(args.to).filter(|_| !args.lift);
    let (value, generation) = match to {
        None => (None, ordinary(&fleet)),
        Some(to) => {
            let signature = change::signature(&args.signature, change::whoami(), now);
            let generation = destination(&fleet, to, signature.until, now)?;
            (Some(written(generation, &signature)?), Some(generation))
        }
    };
    let change = Change {
        hunt: args.hunt.clone(),
        rest: ROLLBACK.to_owned(),
        value,
        node: None,
        section: None,
        // On trial, nodes differ: then their acked revision alone has to do.
        generation: generation.filter(|_| to.is_some() || !on_trial(&fleet)),
        only_at: None,
    };
    change::carry_out(etcd, out, change, args.wait).await
}

fn written(generation: Generation, signature: &Signature) -> Result<String, Failure> {
    let written = edit::write(&generation.0.into(), signature);
    edit::rollback(written.as_bytes()).map_err(|refused| Failure::bad_input(refused.reason))?;
    Ok(written)
}

fn ordinary(fleet: &Fleet) -> Option<Generation> {
    fleet.rollout.as_ref().map(|(rollout, _)| rollout.stable)
}

fn on_trial(fleet: &Fleet) -> bool {
    fleet.rollout.as_ref().is_some_and(|(rollout, _)| rollout.candidate.is_some())
}

/// The generation that `to` means, if it is kept.
fn destination(
    fleet: &Fleet,
    to: To,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Generation, Failure> {
    if let Some(until) = until.filter(|until| *until <= now) {
        return Err(Failure::bad_input(format!("--until {until} has passed; it is {now} now")));
    }
    let kept: Vec<_> = fleet.kept.keys().map(ToString::to_string).collect();
    let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
    let runs = fleet.choice(None, now).generation;
    let found = match to {
        To::Generation(generation) => Some(generation),
        To::Previous => runs.and_then(|runs| {
            fleet.kept.range(..runs).next_back().map(|(generation, _)| *generation)
        }),
    };
    match found {
        Some(generation) if fleet.kept.contains_key(&generation) => Ok(generation),
        Some(generation) => {
            Err(Failure::bad_input(format!("generation {generation} is not kept; kept: {kept}"))
                .hint("`hunt history` shows what each of them changed"))
        }
        None => {
            let runs = runs.map_or("none".to_owned(), |runs| runs.to_string());
            Err(Failure::bad_input(format!(
                "there is no kept generation before the one that runs ({runs}); kept: {kept}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::sample::{harbour, now};

    fn check(edits: &[(&str, &str, u64)], to: To, expected: Result<u64, &str>) {
        match (destination(&harbour(edits), to, None, now()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, Generation(expected)),
            (Err(found), Err(expected)) => assert!(found.message.contains(expected), "{found:?}"),
            (found, _) => panic!("{to:?}: {found:?}"),
        }
    }

    #[test]
    fn a_rollback_leads_to_a_kept_generation_only() {
        let rolled = [("hunt/generation", "1", 25)];
        check(&[], To::Previous, Ok(1));
        check(&[], To::Generation(Generation(2)), Ok(2));
        check(&[], To::Generation(Generation(9)), Err("kept: 1, 2"));
        check(&rolled, To::Previous, Err("before the one that runs (1)"));
    }

    #[test]
    fn a_rollback_that_is_over_is_not_written() {
        let failure = destination(&harbour(&[]), To::Previous, Some(now()), now()).unwrap_err();
        assert!(failure.message.contains("has passed"), "{failure:?}");
    }
}
