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
            answered.refused.push((id.clone(), config_schemas::excerpt(&result.to_string())));
        }
    }
    Ok(answered)
}

/// How often each event id has an outcome, over all partitions, asked of one agent. Duplicates are
/// no outcome of their own.
pub(super) async fn outcomes(
    http: &Http,
    address: &str,
    partitions: u32,
) -> Result<BTreeMap<String, usize>, Failure> {
    let mut counted = BTreeMap::new();
    for partition in 0..partitions {
        let mut from = 0;
        loop {
            let path = format!("/v1/outcomes?partition={partition}&from={from}");
            let page = http.get(address, &path).await?.json()?;
            let next = count(&page, &mut counted);
            match next.filter(|next| *next > from) {
                Some(next) => from = next,
                None => break,
            }
        }
    }
    Ok(counted)
}

/// Counts one page; where the next one begins.
fn count(page: &Json, counted: &mut BTreeMap<String, usize>) -> Option<u64> {
    let records = page.get("outcomes").and_then(Json::as_array)?;
    for item in records {
        let record = item.get("record").unwrap_or(item);
        let kind = record["outcome"]["type"].as_str();
        let Some(id) = record["event_id"].as_str().filter(|_| kind != Some("duplicate")) else {
            continue;
        };
        *counted.entry(id.to_owned()).or_default() += 1;
    }
    page.get("next").and_then(Json::as_u64)
}
