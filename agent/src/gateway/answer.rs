//! What a producer is told of each event: its durable place, or why it has none. In: places and
//! refusals. Out: their JSON and protobuf forms, and a batch's sum. Pure.

use std::time::Duration;

use events::{Flaw, Problem, v1};
use serde_json::{Value, json};

use crate::partitions::answer::Accepted;

/// What became of one event of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The event's id; `None` when what was sent had none that could be read.
    pub id: Option<String>,
    /// Its durable place, or why it has none.
    pub result: Result<Accepted, Refusal>,
}

/// Why an event was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks a rule of form. Sending it again does not help.
    Invalid {
        /// All that is wrong with it.
        problems: Vec<Problem>,
    },
    /// It is larger than what the log takes. Sending it again does not help.
    TooLarge {
        /// How large, or that it is.
        problem: Problem,
    },
    /// There is no room for it; nothing of it was kept.
    Overloaded {
        /// When there will probably be room.
        retry_after: Duration,
    },
    /// Nobody serves its partition at the moment; nothing of it was kept.
    NoOwner {
        /// When to come back.
        retry_after: Duration,
    },
    /// It is not known to be durable: the log failed, or its owner did not answer. The same id may
    /// be sent again.
    LogUnavailable {
        /// When to come back.
        retry_after: Duration,
    },
}

/// What became of a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Every event is durable.
    Accepted,
    /// Every event breaks a rule of form.
    Invalid,
    /// Every event is larger than what the log takes.
    TooLarge,
    /// Every event was refused for want of room.
    Overloaded {
        /// The longest of the delays.
        retry_after: Duration,
    },
    /// No event could be stored, for want of an owner or of a working log.
    Unavailable {
        /// The longest of the delays.
        retry_after: Duration,
    },
    /// Each for itself.
    Mixed,
}

impl Refusal {
    /// One word, as in metrics and in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid { .. } => "INVALID",
            Refusal::TooLarge { .. } => "TOO_LARGE",
            Refusal::Overloaded { .. } => "OVERLOADED",
            Refusal::NoOwner { .. } => "NO_OWNER",
            Refusal::LogUnavailable { .. } => "LOG_UNAVAILABLE",
        }
    }

    /// When to come back; `None` if that does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Invalid { .. } | Refusal::TooLarge { .. } => None,
            Refusal::Overloaded { retry_after }
            | Refusal::NoOwner { retry_after }
            | Refusal::LogUnavailable { retry_after } => Some(*retry_after),
        }
    }

    /// What is wrong with the event itself, if anything is.
    pub(crate) fn problems(&self) -> &[Problem] {
        match self {
            Refusal::Invalid { problems } => problems,
            Refusal::TooLarge { problem } => std::slice::from_ref(problem),
            Refusal::Overloaded { .. }
            | Refusal::NoOwner { .. }
            | Refusal::LogUnavailable { .. } => &[],
        }
    }

    fn wire_code(&self) -> v1::rejected::Code {
        match self {
            Refusal::Invalid { .. } => v1::rejected::Code::Invalid,
            Refusal::TooLarge { .. } => v1::rejected::Code::TooLarge,
            Refusal::Overloaded { .. } => v1::rejected::Code::Overloaded,
            Refusal::NoOwner { .. } => v1::rejected::Code::NoOwner,
            Refusal::LogUnavailable { .. } => v1::rejected::Code::LogUnavailable,
        }
    }
}

/// The refusal of an event that the log does not take; `said` is how large it is.
pub(crate) fn too_large(said: impl std::fmt::Display) -> Refusal {
    let problem = Problem::new("event", said, "what the log takes as one record");
    Refusal::TooLarge { problem: problem.of(Flaw::TooLarge) }
}

/// In whole milliseconds, and at least one: "at once" would make a busy loop of a producer.
pub(crate) fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Answer {
    /// `{id, partition, offset, epoch}` or `{id, error: {code, problems | retryAfterMs}}`.
    pub fn json(&self) -> Value {
        match &self.result {
            Ok(Accepted { partition, offset, epoch }) => {
                json!({"id": self.id, "partition": partition, "offset": offset, "epoch": epoch})
            }
            Err(refusal @ (Refusal::Invalid { .. } | Refusal::TooLarge { .. })) => {
                let error = json!({"code": refusal.code(), "problems": refusal.problems()});
                json!({"id": self.id, "error": error})
            }
            Err(refusal) => {
                let retry_after = refusal.retry_after().map(millis);
                json!({
                    "id": self.id,
                    "error": {"code": refusal.code(), "retryAfterMs": retry_after},
                })
            }
        }
    }
}

impl From<Answer> for v1::PublishResult {
    fn from(answer: Answer) -> v1::PublishResult {
        use v1::publish_result::Result as Wire;
        let result = match answer.result {
            Ok(Accepted { partition, offset, epoch }) => Wire::Accepted(v1::Accepted {
                partition: partition.0,
                offset: offset.0,
                epoch: epoch.0,
            }),
            Err(refusal) => Wire::Rejected(v1::Rejected {
                code: refusal.wire_code().into(),
                retry_after_millis: refusal.retry_after().map_or(0, millis),
                problems: refusal.problems().iter().cloned().map(Into::into).collect(),
            }),
        };
        v1::PublishResult { event_id: answer.id.unwrap_or_default(), result: Some(result) }
    }
}

/// The sum of a request's answers; an empty request is accepted.
pub fn sum(answers: &[Answer]) -> Sum {
    let refusals: Vec<&Refusal> =
        answers.iter().filter_map(|answer| answer.result.as_ref().err()).collect();
    if refusals.is_empty() {
        return Sum::Accepted;
    }
    if refusals.len() < answers.len() {
        return Sum::Mixed;
    }
    let retry_after = refusals.iter().filter_map(|refusal| refusal.retry_after()).max();
    let all = |fits: fn(&Refusal) -> bool| refusals.iter().all(|refusal| fits(refusal));
    if all(|refusal| matches!(refusal, Refusal::Overloaded { .. })) {
        return Sum::Overloaded { retry_after: retry_after.unwrap_or_default() };
    }
    if all(|refusal| matches!(refusal, Refusal::Invalid { .. })) {
        return Sum::Invalid;
    }
    if all(|refusal| matches!(refusal, Refusal::TooLarge { .. })) {
        return Sum::TooLarge;
    }
    match retry_after {
        Some(retry_after)
            if all(|refusal| {
                matches!(refusal, Refusal::NoOwner { .. } | Refusal::LogUnavailable { .. })
            }) =>
        {
            Sum::Unavailable { retry_after }
        }
        _ => Sum::Mixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::{Epoch, Offset, PartitionId};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn accepted() -> Result<Accepted, Refusal> {
        Ok(Accepted { partition: PartitionId(3), offset: Offset(7), epoch: Epoch(2) })
    }

    fn overloaded(retry: u64) -> Result<Accepted, Refusal> {
        Err(Refusal::Overloaded { retry_after: ms(retry) })
    }

    fn invalid() -> Result<Accepted, Refusal> {
        Err(Refusal::Invalid { problems: vec![Problem::new("clue", 0, "from 1")] })
    }

    #[test]
    fn a_request_is_summed_up_only_when_all_its_events_fared_alike() {
        let no_owner = || Err(Refusal::NoOwner { retry_after: ms(9) });
        let log = || Err(Refusal::LogUnavailable { retry_after: ms(4) });
        let too_large = || {
            let problem = Problem::new("event", "9 bytes", "8");
            Err(Refusal::TooLarge { problem })
        };
        let check = |results: Vec<Result<Accepted, Refusal>>, expected| {
            let answers: Vec<_> =
                results.into_iter().map(|result| Answer { id: None, result }).collect();
            assert_eq!(sum(&answers), expected, "{answers:?}");
        };
        check(vec![], Sum::Accepted);
        check(vec![accepted(), accepted()], Sum::Accepted);
        check(vec![accepted(), invalid()], Sum::Mixed);
        check(vec![invalid(), invalid()], Sum::Invalid);
        check(vec![too_large(), too_large()], Sum::TooLarge);
        check(vec![too_large(), invalid()], Sum::Mixed);
        check(vec![too_large(), log()], Sum::Mixed);
        check(vec![overloaded(5), overloaded(8)], Sum::Overloaded { retry_after: ms(8) });
        check(vec![no_owner(), log()], Sum::Unavailable { retry_after: ms(9) });
        check(vec![overloaded(5), no_owner()], Sum::Mixed);
        check(vec![overloaded(5), invalid()], Sum::Mixed);
        check(vec![accepted(), overloaded(5)], Sum::Mixed);
    }

    #[test]
    fn an_answer_in_json_names_the_place_or_the_reason() {
        let check = |result, expected: Value| {
            assert_eq!(Answer { id: Some("e1".to_owned()), result }.json(), expected);
        };
        check(accepted(), json!({"id": "e1", "partition": 3, "offset": 7, "epoch": 2}));
        check(
            overloaded(0),
            json!({"id": "e1", "error": {"code": "OVERLOADED", "retryAfterMs": 1}}),
        );
        check(
            invalid(),
            json!({"id": "e1", "error": {
                "code": "INVALID",
                "problems": [{"field": "clue", "value": "0", "allowed": "from 1"}],
            }}),
        );
    }

    #[test]
    fn an_answer_in_protobuf_says_the_same() {
        let wire = v1::PublishResult::from(Answer { id: None, result: overloaded(20) });
        let Some(v1::publish_result::Result::Rejected(rejected)) = wire.result else {
            panic!("{wire:?}");
        };
        assert_eq!(rejected.code(), v1::rejected::Code::Overloaded);
        assert_eq!(rejected.retry_after_millis, 20);
    }
}
