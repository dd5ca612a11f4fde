//! How gRPC callers are told: the codes that the proto promises, with the delay in every form that
//! clients understand. In: reasons. Out: statuses. Pure.

use std::time::Duration;

use config_schemas::{Epoch, Revision};
use events::{Flaw, Problem};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::answer::millis;
use super::bounds::{BUSY_RETRY, LOG_RETRY, MAP_REVISION, OWNER_EPOCH, RETRY_AFTER_MS};
use super::layers::Shed;
use super::outcomes::OutcomesError;
use crate::config::road::chain;

/// What gRPC clients with a retry policy go by (gRFC A6).
const RETRY_PUSHBACK_MS: &str = "grpc-retry-pushback-ms";

/// What tonic says, as INTERNAL or OUT_OF_RANGE, of requests that it cannot decode: these words are
/// all that tells them from faults of our own. The tests send one of each.
const UNDECODED: [(&str, Flaw); 5] = [
    ("failed to decode Protobuf message", Flaw::Malformed),
    ("Unexpected EOF decoding stream", Flaw::Malformed),
    ("Missing request message", Flaw::Malformed),
    ("protocol error: received message with", Flaw::Malformed),
    ("Error, decoded message length too large", Flaw::TooLarge),
];

/// If `status` says that a request could not be decoded: the same as the proto promises it, and
/// what is wrong.
pub(crate) fn undecoded(status: &Status) -> Option<(Status, Problem)> {
    if !matches!(status.code(), Code::Internal | Code::OutOfRange) {
        return None;
    }
    let said = status.message();
    let (_, flaw) = UNDECODED.iter().find(|(words, _)| said.starts_with(words))?;
    let problem = Problem::new("message", "undecoded", said).of(*flaw);
    Some((Status::invalid_argument(said), problem))
}

pub(crate) fn overloaded(retry_after: Duration) -> Status {
    retrying(Code::ResourceExhausted, "out of credits; nothing was queued", retry_after)
}

pub(crate) fn unavailable(message: &str, retry_after: Duration) -> Status {
    retrying(Code::Unavailable, message, retry_after)
}

pub(crate) fn wrong_owner(epoch: Option<Epoch>, revision: Option<Revision>) -> Status {
    let status = Status::failed_precondition("wrong owner");
    let status = with_metadata(status, OWNER_EPOCH, epoch.map(|epoch| epoch.0));
    with_metadata(status, MAP_REVISION, revision.map(Revision::get))
}

/// What a call is told that did not get as far as its method, or not to the end of it.
pub(crate) fn shed(shed: Shed) -> axum::response::Response {
    let status = match shed {
        Shed::Busy => overloaded(BUSY_RETRY),
        Shed::Late => Status::deadline_exceeded("not answered in time; send the same ids again"),
    };
    status.into_http()
}

/// The delay as google.rpc.RetryInfo, and as metadata for those who do not read that.
fn retrying(code: tonic::Code, message: &str, after: Duration) -> Status {
    let after_ms = millis(after);
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(after_ms)));
    let status = Status::with_error_details(code, message, details);
    let status = with_metadata(status, RETRY_AFTER_MS, Some(after_ms));
    with_metadata(status, RETRY_PUSHBACK_MS, Some(after_ms))
}

fn with_metadata(mut status: Status, key: &'static str, number: Option<u64>) -> Status {
    if let Some(number) = number {
        status.metadata_mut().insert(key, number.into());
    }
    status
}

pub(crate) fn unreadable(error: &OutcomesError) -> Status {
    let why = chain(error);
    match error {
        OutcomesError::Unknown => unavailable(&why, BUSY_RETRY),
        OutcomesError::Read { source, .. } if source.retryable() => unavailable(&why, LOG_RETRY),
        OutcomesError::Read { .. } | OutcomesError::Decode { .. } => {
            tracing::error!(error = %why, "outcomes cannot be read");
            Status::data_loss(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_decoded_is_the_callers_mistake() {
        let check = |code, message: &str, expected| {
            let found = undecoded(&Status::new(code, message));
            let shown = found.map(|(status, problem)| {
                assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
                problem.flaw
            });
            assert_eq!(shown, expected, "{message}");
        };
        let text = "failed to decode Protobuf message: Event.id: invalid string value";
        check(Code::Internal, text, Some(Flaw::Malformed));
        check(Code::DataLoss, text, None);
        check(Code::Internal, "the disk is on fire", None);
        let large = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        check(Code::OutOfRange, large, Some(Flaw::TooLarge));
    }

    #[test]
    fn statuses_carry_what_the_proto_promises() {
        let check = |status: Status, code, expected: &[(&str, &str)]| {
            assert_eq!(status.code(), code);
            for (key, value) in expected {
                assert_eq!(status.metadata().get(*key).unwrap(), value);
            }
            assert_eq!(status.metadata().len(), expected.len());
        };
        let ms = Duration::from_millis;
        check(
            overloaded(ms(7)),
            Code::ResourceExhausted,
            &[(RETRY_AFTER_MS, "7"), (RETRY_PUSHBACK_MS, "7")],
        );
        check(
            unavailable("why", ms(0)),
            Code::Unavailable,
            &[(RETRY_AFTER_MS, "1"), (RETRY_PUSHBACK_MS, "1")],
        );
        check(
            wrong_owner(Some(Epoch(3)), Revision::new(40)),
            Code::FailedPrecondition,
            &[(OWNER_EPOCH, "3"), (MAP_REVISION, "40")],
        );
        check(wrong_owner(None, None), Code::FailedPrecondition, &[]);
    }

    #[test]
    fn the_delay_stands_in_the_details_too() {
        let check = |status: Status, expected| {
            let info = status.get_details_retry_info().unwrap();
            assert_eq!(info.retry_delay, Some(Duration::from_millis(expected)));
        };
        check(overloaded(Duration::from_millis(1500)), 1500);
        check(unavailable("why", Duration::ZERO), 1);
        assert!(wrong_owner(None, None).get_details_retry_info().is_none());
    }
}
