//! What is told of events that are followed: that a producer was answered, that an event is durable,
//! and what came of it. In: answers, places, outcomes. Out: stages of traces; nothing, at the price of
//! one look each, while traces are off. No I/O.

use config_schemas::{Epoch, Offset, PartitionId};
use events::{Event, OutcomeRecord};
use telemetry::traces::{OUTCOME, PUBLISH, Role, Stage, Trace, TraceId, Traces};
use tokio::time::Instant;

use crate::gateway::answer::Answer;
use crate::partitions::answer::Accepted;

/// From a request's arrival to its answers.
pub(crate) fn answered(traces: &Traces, arrived: Instant, answers: &[Answer]) {
    if !traces.are_on() {
        return;
    }
    let within = (arrived, Instant::now());
    for answer in answers {
        let Some(id) = &answer.id else { continue };
        let Some(trace) = traces.event(id) else { continue };
        let stage = Stage { name: PUBLISH, role: Role::Serves, within, about: &[], failed: None };
        match &answer.result {
            Ok(Accepted { partition, offset, .. }) => trace.tell(&Stage {
                about: &[("event", id), ("partition", partition), ("offset", offset)],
                ..stage
            }),
            Err(refusal) => trace.tell(&Stage {
                about: &[("event", id), ("refused", &refusal.code())],
                failed: Some(refusal.code()),
                ..stage
            }),
        }
    }
}

/// Those events of an append that are followed, with their places in it.
#[derive(Debug)]
pub(crate) struct Followed(Vec<(usize, Trace)>);

impl Followed {
    pub(crate) fn of(traces: &Traces, events: &[Event]) -> Followed {
        if !traces.are_on() {
            return Followed(Vec::new());
        }
        let ids = events.iter().enumerate();
        Followed(
            ids.filter_map(|(at, event)| Some((at, traces.event(event.id.as_str())?))).collect(),
        )
    }

    /// One of them, which stands for all.
    pub(crate) fn first(&self) -> Option<TraceId> {
        self.0.first().map(|(_, trace)| trace.id)
    }

    /// They are durable at these places.
    pub(crate) fn accepted(
        &self,
        arrived: Instant,
        (partition, epoch): (PartitionId, Epoch),
        offsets: &[Offset],
    ) {
        let within = (arrived, Instant::now());
        for (at, trace) in &self.0 {
            let Some(offset) = offsets.get(*at) else { continue };
            trace.tell(&Stage {
                name: "accept",
                role: Role::Works,
                within,
                about: &[("partition", &partition), ("offset", offset), ("epoch", &epoch)],
                failed: None,
            });
        }
    }
}

/// An outcome of an event that is followed, on its way to the disk.
#[derive(Debug)]
pub(crate) struct Decided {
    trace: Trace,
    since: Instant,
    /// What it is, as a word.
    what: String,
    partition: PartitionId,
    epoch: Epoch,
    revision: u64,
}

impl Decided {
    /// The outcome was decided in a batch that began then; `None` if its event is not followed.
    pub(crate) fn of(traces: &Traces, outcome: &OutcomeRecord, since: Instant) -> Option<Decided> {
        let trace = traces.event(outcome.event_id.as_ref()?.as_str())?;
        let said = serde_json::to_value(&outcome.outcome).unwrap_or_default();
        Some(Decided {
            trace,
            since,
            what: said["type"].as_str().unwrap_or_default().to_owned(),
            partition: outcome.partition,
            epoch: outcome.epoch,
            revision: outcome.config_revision,
        })
    }

    /// It is durable.
    pub(crate) fn durable(self) {
        let letter = self.what == "dead_letter";
        self.trace.tell(&Stage {
            name: OUTCOME,
            role: Role::Consumes,
            within: (self.since, Instant::now()),
            about: &[
                ("outcome", &self.what),
                ("partition", &self.partition),
                ("epoch", &self.epoch),
                // the trace of the edit that this was decided under
                ("config_revision", &self.revision),
            ],
            failed: letter.then_some("a dead letter"),
        });
    }
}
