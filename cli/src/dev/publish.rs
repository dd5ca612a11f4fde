//! Events to agents over HTTP and outcomes back, as any producer would. In: events. Out: which ids
//! were acknowledged, which were not and why. Reading answers is pure, the rest is I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::http::{Answer, Http};

/// Longest wait for a batch: longer than the agents' own limits, so that theirs are heard.
pub(super) const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// Durable.
    pub(super) accepted: Vec<String>,
    /// Not taken in, and why; may be sent again.
    pub(super) refused: Vec<(String, String)>,
}

/// Publishes a batch to one agent. A failure means that nothing is known of any of its events.
pub(super) async fn publish(
    http: &Http,
    address: &str,
    events: &[(String, Json)],
) -> Result<Answered, Failure> {
    let lines: Vec<_> = events.iter().map(|(_, event)| event.to_string()).collect();
    let body = Bytes::from(lines.join("\n"));
    let answer = http.post(address, "/v1/events", body, PUBLISH_WITHIN).await?;
    read(&answer, events)
}

/// One answer for each event, in the order of the request, each naming the event's id.
fn read(answer: &Answer, events: &[(String, Json)]) -> Result<Answered, Failure> {
    let text = String::from_utf8_lossy(&answer.body);
    let whole: Option<Json> = serde_json::from_slice(&answer.body).ok();
    let results: Vec<Json> = match whole {
        Some(Json::Array(list)) => list,
        Some(Json::Object(mut map)) => match map.remove("results") {
            Some(Json::Array(list)) => list,
            _ => vec![Json::Object(map)],
        },
        _ => text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
    };
    if results.len() != events.len() {
        let said = config_schemas::excerpt(text.trim());
        return Err(Failure::failed(format!(
            "the agent answered {} to {} events: {said}",
            answer.status,
            events.len()
        )));
    }
    let mut answered = Answered::default();
    for ((id, _), result) in events.iter().zip(results) {
        let accepted = result.get("accepted").unwrap_or(&result);
        if accepted.get("offset").is_some_and(Json::is_u64) {
            answered.accepted.push(id.clone());
        } else {
            let code = result["error"]["code"].as_str().map(str::to_owned);
            let why = code.unwrap_or_else(|| result.to_string());
            answered.refused.push((id.clone(), config_schemas::excerpt(&why)));
        }
    }
    Ok(answered)
}

/// Where the outcomes of each event id stand in their partition's log.
pub(super) type Places = BTreeMap<String, Vec<u64>>;

/// The outcomes of every event, over all partitions, asked of one agent. Duplicates are no outcome
/// of their own.
pub(super) async fn outcomes(
    http: &Http,
    address: &str,
    partitions: u32,
) -> Result<Places, Failure> {
    let mut places = Places::new();
    for partition in 0..partitions {
        let mut from = 0;
        loop {
            let path = format!("/v1/outcomes?partition={partition}&from={from}");
            let page = http.get(address, &path).await?.json()?;
            let next = place(&page, &mut places);
            match next.filter(|next| *next > from) {
                Some(next) => from = next,
                None => break,
            }
        }
    }
    Ok(places)
}

/// Takes in one page; where the next one begins.
fn place(page: &Json, places: &mut Places) -> Option<u64> {
    let records = page.get("outcomes").and_then(Json::as_array)?;
    for item in records {
        let record = item.get("record").unwrap_or(item);
        let kind = record["outcome"]["type"].as_str();
        let Some(id) = record["event_id"].as_str().filter(|_| kind != Some("duplicate")) else {
            continue;
        };
        let offset = item["offset"].as_u64().unwrap_or_default();
        places.entry(id.to_owned()).or_default().push(offset);
    }
    page.get("next").and_then(Json::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use serde_json::json;

    fn check(status: StatusCode, body: &str, expected: Result<(&[&str], usize), &str>) {
        let events: Vec<_> = ["a", "b"].map(|id| (id.to_owned(), json!({}))).into();
        let answer = Answer { status, body: Bytes::from(body.to_owned()) };
        match (read(&answer, &events), expected) {
            (Ok(found), Ok((accepted, refused))) => {
                assert_eq!(
                    (found.accepted.as_slice(), found.refused.len()),
                    (
                        accepted.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>().as_slice(),
                        refused
                    ),
                    "{body}"
                );
            }
            (Err(found), Err(expected)) => assert!(found.message.contains(expected), "{found:?}"),
            (found, _) => panic!("{body}: {found:?}"),
        }
    }

    #[test]
    fn only_what_has_a_place_in_the_log_counts_as_accepted() {
        let place = r#"{"id":"a","partition":1,"offset":0,"epoch":1}"#;
        let full = r#"{"id":"b","error":{"code":"OVERLOADED","retryAfterMs":5}}"#;
        let both = format!("{place}\n{}\n", place.replace("\"a\"", "\"b\""));
        check(StatusCode::OK, &both, Ok((&["a", "b"], 0)));
        check(StatusCode::MULTI_STATUS, &format!("{place}\n{full}\n"), Ok((&["a"], 1)));
        check(StatusCode::TOO_MANY_REQUESTS, &format!("{full}\n{full}\n"), Ok((&[], 2)));
        check(StatusCode::OK, place, Err("200 OK to 2 events"));
        check(StatusCode::NOT_FOUND, "", Err("404 Not Found to 2 events"));
        let malformed = r#"{"error":{"code":"INVALID","problems":[]}}"#;
        check(StatusCode::BAD_REQUEST, malformed, Err("400 Bad Request"));
    }

    #[test]
    fn outcomes_are_placed_by_event_without_duplicates_and_deliveries() {
        let record =
            |id: &str, kind: &str| json!({"offset": 7, "event_id": id, "outcome": {"type": kind}});
        let delivered = json!({"offset": 3, "outcome": {"type": "delivered", "event_ids": ["x"]}});
        let page = json!({"next": 5, "outcomes": [
            record("a", "joined"), record("b", "refused"), record("a", "duplicate"), delivered,
        ]});
        let mut places = Places::new();
        assert_eq!(place(&page, &mut places), Some(5));
        assert_eq!(places, Places::from([("a".to_owned(), vec![7]), ("b".to_owned(), vec![7])]));
        assert_eq!(place(&json!({}), &mut places), None);
    }
}
