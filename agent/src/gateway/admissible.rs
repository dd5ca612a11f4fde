//! What a parsed event must be to go on, by the settings that hold now: not too large, not too old.
//! In: an event, bounds, the time. Out: what is wrong with it. Pure.

use std::time::Duration;

use config_schemas::Config;
use events::{Event, Flaw, Problem};

/// How far a producer's clock may be ahead: more is a mistake, such as another unit.
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// Everything that is wrong with `event`; nothing is when it may go on.
pub(crate) fn problems(event: &Event, config: &Config, now_millis: u64) -> Vec<Problem> {
    let age = millis(config.routing.age);
    let event_max = (config.buffers.event, "buffers.event");
    let record_max = (config.record_bytes_max(), "producer.message");
    let bound = event_max.min(record_max);
    let found = [too_large(event, bound), too_old(event, age, now_millis)];
    found.into_iter().flatten().collect()
}

/// Most bytes that an event has beside its texts, as it stands in the log: tags, lengths, numbers.
const FRAME_BYTES_MAX: usize = 64;

/// Why `event` is above the bound, if it is.
fn too_large(event: &Event, (bound, by): (u64, &str)) -> Option<Problem> {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = event.id.as_str().len()
        + event.kind.as_str().len()
        + len(&event.player)
        + len(&event.treasure)
        + len(&event.payload_json);
    if (texts + FRAME_BYTES_MAX) as u64 <= bound {
        return None;
    }
    let mut encoded = Vec::new();
    event.clone().encode(&mut encoded);
    let allowed = format!("at most {bound} bytes ({by})");
    let problem = || Problem::new("event", format!("{} bytes", encoded.len()), allowed);
    (encoded.len() as u64 > bound).then(|| problem().of(Flaw::TooLarge))
}

/// Why `event` happened too long ago, or has not happened yet.
fn too_old(event: &Event, age: u64, now: u64) -> Option<Problem> {
    let at = event.at_millis?;
    let (oldest, newest) = (now.saturating_sub(age), now.saturating_add(millis(AHEAD_MAX)));
    if (oldest..=newest).contains(&at) {
        return None;
    }
    let allowed = format!("{oldest} to {newest}, in milliseconds since 1970 (routing.age)");
    Some(Problem::new("at_millis", at, allowed).of(Flaw::TooOld))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::{EventId, Kind};

    const NOW: u64 = 1_700_000_000_000;

    fn join() -> Event {
        Event {
            player: Some("p".repeat(128)),
            ..Event::new(EventId::new("e").unwrap(), Kind::Join, NOW)
        }
    }

    #[test]
    fn the_bound_on_an_event_is_exact_and_named() {
        let event = Event { payload_json: Some(format!("\"{}\"", "x".repeat(300))), ..join() };
        let mut encoded = Vec::new();
        event.clone().encode(&mut encoded);
        let size = encoded.len() as u64;
        assert_eq!(too_large(&event, (size, "x")), None);
        assert_eq!(too_large(&event, (u64::MAX, "x")), None);
        let problem = too_large(&event, (size - 1, "x")).unwrap();
        assert_eq!(
            (problem.value.as_str(), problem.flaw),
            (format!("{size} bytes").as_str(), Flaw::TooLarge)
        );
        assert_eq!(problem.allowed, format!("at most {} bytes (x)", size - 1));
    }

    #[test]
    fn an_event_that_says_when_it_happened_must_be_of_about_now() {
        let config = Config::default();
        let (day, ahead) = (24 * 3600 * 1000, 300_000);
        let check = |at_millis, expected: &[Flaw]| {
            let found = problems(&Event { at_millis, ..join() }, &config, NOW);
            assert_eq!(found.iter().map(|p| p.flaw).collect::<Vec<_>>(), expected, "{at_millis:?}");
        };
        check(None, &[]);
        check(Some(NOW), &[]);
        check(Some(NOW - day), &[]);
        check(Some(NOW - day - 1), &[Flaw::TooOld]);
        check(Some(NOW + ahead), &[]);
        check(Some(NOW + ahead + 1), &[Flaw::TooOld]);
        // Microseconds and seconds are the usual mistakes.
        check(Some(NOW * 1000), &[Flaw::TooOld]);
        check(Some(NOW / 1000), &[Flaw::TooOld]);
        check(Some(u64::MAX), &[Flaw::TooOld]);
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let mut config = Config::default();
        config.buffers.event = 64;
        let event = Event { at_millis: Some(1), ..join() };
        let found: Vec<_> = problems(&event, &config, NOW).iter().map(|p| p.flaw).collect();
        assert_eq!(found, [Flaw::TooLarge, Flaw::TooOld]);
    }

    #[test]
    fn what_is_larger_than_a_record_of_kafka_is_refused_by_the_setting_that_bounds_it() {
        let mut config = Config::default();
        config.producer.message = 512;
        let event = Event { payload_json: Some(format!("\"{}\"", "x".repeat(300))), ..join() };
        let check = |config: &Config, expected: &[&str]| {
            let found = problems(&event, config, NOW);
            let allowed: Vec<_> = found.iter().map(|found| found.allowed.as_str()).collect();
            assert_eq!(allowed, expected);
        };
        check(&config, &[]);
        config.broker.kind = config_schemas::BrokerKind::Kafka;
        check(&config, &["at most 256 bytes (producer.message)"]);
        config.producer.message = 4096;
        check(&config, &[]);
    }
}
