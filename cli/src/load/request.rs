//! One request: some events to an agent, and one reply for each, whatever came back. In: events.
//! Out: replies. Reading answers is pure, the rest is I/O.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::cast::Deed;
use super::tally::Answer;
use crate::http::Http;

/// Longest wait for an answer: longer than the agents' own limits, so that theirs are heard.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Refusals that say that nothing of the event was kept. Any other leaves it open: what could not be
/// made durable may be durable all the same (LOG_UNAVAILABLE).
const KEPT_NOTHING: [&str; 4] = ["INVALID", "TOO_LARGE", "OVERLOADED", "NO_OWNER"];
/// Longest answer that is told of an event without one.
const SEEN_LEN_MAX: usize = 60;

/// An event on its way.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) due: Duration,
    pub(super) body: String,
    pub(super) deed: Option<Deed>,
    pub(super) player: String,
    pub(super) claim: bool,
    pub(super) ordered: bool,
}

/// What came back of a request.
pub(super) struct Done {
    pub(super) gateway: usize,
    pub(super) events: Vec<Event>,
    pub(super) sent: Instant,
    pub(super) heard: Instant,
    pub(super) answers: Vec<Reply>,
}

/// The answer to one event, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// What became of it.
    pub(crate) answer: Answer,
    /// The partition of what was accepted.
    pub(crate) partition: u32,
}

/// Sends them.
pub(super) async fn send(http: Http, gateway: usize, address: String, events: Vec<Event>) -> Done {
    let sent = Instant::now();
    let bodies = events.iter().map(|event| event.body.as_str());
    let answers = publish(&http, &address, bodies).await;
    Done { gateway, sent, heard: Instant::now(), answers, events }
}

/// Publishes events, each as its JSON, in one request to one agent; one reply for each.
pub(crate) async fn publish<'a>(
    http: &Http,
    address: &str,
    bodies: impl Iterator<Item = &'a str>,
) -> Vec<Reply> {
    let (mut body, mut count) = (String::new(), 0);
    for event in bodies {
        body.push_str(event);
        body.push('\n');
        count += 1;
    }
    match http.post(address, "/v1/events", Bytes::from(body), ANSWER_WITHIN).await {
        Ok(answer) => read(&answer.body, answer.status.as_u16(), count),
        Err(failure) => {
            let seen = match failure.message.contains("nothing within") {
                true => "no answer in time".to_owned(),
                false => "no answer".to_owned(),
            };
            vec![Reply { answer: Answer::Unanswered(seen), partition: 0 }; count]
        }
    }
}

/// One line of an answer.
#[derive(Debug, Deserialize)]
struct AnswerLine {
    partition: Option<u32>,
    error: Option<AnswerError>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerError {
    code: String,
    retry_after_ms: Option<u64>,
}

impl AnswerError {
    /// What may be sent again has to say when; a mistake of the producer's does not.
    fn told(self) -> String {
        match self.retry_after_ms.is_some() || self.code == "INVALID" {
            true => self.code,
            false => format!("{} without a delay", self.code),
        }
    }
}

/// One reply for each of `count` events. An error for the whole request is one for each.
fn read(body: &[u8], status: u16, count: usize) -> Vec<Reply> {
    let lines = serde_json::Deserializer::from_slice(body).into_iter::<AnswerLine>();
    let replies: Vec<_> = lines.map_while(Result::ok).map(reply).collect();
    match replies.as_slice() {
        [one] if matches!(one.answer, Answer::Refused(_)) => vec![one.clone(); count],
        all if all.len() == count => replies,
        _ => {
            let said = String::from_utf8_lossy(body);
            let said: String = said.trim().chars().take(SEEN_LEN_MAX).collect();
            let seen = format!("status {status}: {said}");
            vec![Reply { answer: Answer::Unanswered(seen), partition: 0 }; count]
        }
    }
}

fn reply(line: AnswerLine) -> Reply {
    match (line.partition, line.error) {
        (Some(partition), None) => Reply { answer: Answer::Accepted, partition },
        (_, Some(error)) if KEPT_NOTHING.contains(&error.code.as_str()) => {
            Reply { answer: Answer::Refused(error.told()), partition: 0 }
        }
        (_, Some(error)) => Reply { answer: Answer::Unanswered(error.told()), partition: 0 },
        (None, None) => {
            Reply { answer: Answer::Unanswered("an odd answer".to_owned()), partition: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_one_reply_whatever_was_answered() {
        let check = |body: &str, count, expected: &[&str]| {
            let shown: Vec<_> = read(body.as_bytes(), 200, count)
                .into_iter()
                .map(|reply| match reply.answer {
                    Answer::Accepted => format!("at {}", reply.partition),
                    Answer::Refused(code) => code,
                    Answer::Unanswered(seen) => format!("? {seen}"),
                    Answer::Unsent => "-".to_owned(),
                })
                .collect();
            assert_eq!(shown, expected, "{body}");
        };
        let at = r#"{"id":"a","partition":3,"offset":0,"epoch":1}"#;
        let full = r#"{"id":"b","error":{"code":"OVERLOADED","retryAfterMs":5}}"#;
        let log = r#"{"id":"c","error":{"code":"LOG_UNAVAILABLE","retryAfterMs":5}}"#;
        check(&format!("{at}\n{full}\n{log}\n"), 3, &["at 3", "OVERLOADED", "? LOG_UNAVAILABLE"]);
        let busy = r#"{"error":{"code":"OVERLOADED","retryAfterMs":50}}"#;
        check(busy, 2, &["OVERLOADED", "OVERLOADED"]);
        check(r#"{"error":{"code":"NO_OWNER"}}"#, 1, &["NO_OWNER without a delay"]);
        check(r#"{"error":{"code":"ODD","retryAfterMs":1}}"#, 1, &["? ODD"]);
        check(at, 2, &["? status 200: {\"id\":\"a\",\"partition\":3,\"offset\":0,\"epoch\":1}"; 2]);
        check("gone", 1, &["? status 200: gone"]);
        check("", 1, &["? status 200: "]);
    }
}
