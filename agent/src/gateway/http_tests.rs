//! The forms of HTTP requests and answers.

use super::*;
use crate::gateway::answer::Refusal;
use crate::partitions::answer::Accepted;
use config_schemas::Epoch;

#[test]
fn a_reader_names_all_partitions_or_one() {
    let check = |query: &str, expected: Result<(Vec<u32>, &str), &str>| {
        let Query(asked) =
            Query::<Asked>::try_from_uri(&format!("http://a/v1/outcomes?{query}").parse().unwrap())
                .unwrap();
        let found = wanted(&asked, 3);
        let shown = found.as_ref().map(|wanted| {
            let partitions: Vec<_> = wanted.partitions.iter().map(|id| id.0).collect();
            (partitions, wanted.from.to_string())
        });
        let expected = expected.map(|(partitions, from)| (partitions, from.to_owned()));
        assert_eq!(shown.map_err(|problem| problem.field.as_str()), expected, "{query}");
    };
    check("", Ok((vec![0, 1, 2], "")));
    check("from=0:12,2:7", Ok((vec![0, 1, 2], "0:12,2:7")));
    check("partition=1&from=12", Ok((vec![1], "1:12")));
    check("partition=1&from=1:12", Ok((vec![1], "1:12")));
    check("partition=1", Ok((vec![1], "")));
    check("from=12", Err("from"));
    check("from=nonsense", Err("from"));
    check("partition=3", Err("partition"));
}

#[test]
fn an_unknown_or_malformed_parameter_is_refused() {
    for query in ["form=1", "partition=x", "limit=-1", "wait=1s"] {
        let uri = format!("http://a/v1/outcomes?{query}").parse().unwrap();
        assert!(Query::<Asked>::try_from_uri(&uri).is_err(), "{query}");
    }
}

#[test]
fn the_status_sums_up_and_names_the_delay() {
    let ok = || Ok(Accepted { partition: PartitionId(0), offset: Offset(1), epoch: Epoch(1) });
    let delay = Duration::from_millis(1200);
    let full = || Err(Refusal::Overloaded { retry_after: delay });
    let nobody = || Err(Refusal::NoOwner { retry_after: delay });
    let invalid = || Err(Refusal::Invalid { problems: Vec::new() });
    let check = |results: Vec<Result<Accepted, Refusal>>, status: u16, seconds: Option<&str>| {
        let answers: Vec<_> =
            results.into_iter().map(|result| Answer { id: None, result }).collect();
        let response = answered(&answers);
        assert_eq!(response.status().as_u16(), status);
        let header = response.headers().get(header::RETRY_AFTER);
        assert_eq!(header.map(|value| value.to_str().unwrap()), seconds);
        let millis = response.headers().get(RETRY_AFTER_MS);
        assert_eq!(millis.is_some(), seconds.is_some());
    };
    check(vec![ok()], 200, None);
    check(vec![ok(), full()], 207, None);
    check(vec![invalid()], 400, None);
    check(vec![full(), full()], 429, Some("2"));
    check(vec![nobody()], 503, Some("2"));
}

#[test]
fn where_the_next_page_begins_is_an_offset_for_one_partition() {
    let page = Page { records: Vec::new(), next: "0:3,1:9".parse().unwrap() };
    let check = |one: Option<u32>, expected: &str| {
        let response = shown(&page, one.map(PartitionId), false);
        assert_eq!(response.headers().get(NEXT_CURSOR).unwrap(), expected);
    };
    check(None, "0:3,1:9");
    check(Some(1), "9");
    check(Some(2), "0");
}

#[test]
fn what_no_log_takes_is_too_large_a_payload() {
    let refused = || Answer { id: None, result: Err(crate::gateway::answer::too_large("9 bytes")) };
    assert_eq!(answered(&[refused(), refused()]).status(), StatusCode::PAYLOAD_TOO_LARGE);
    let json = refused().json();
    assert_eq!(json["error"]["code"], "TOO_LARGE", "{json}");
    assert_eq!(json["error"]["problems"][0]["value"], "9 bytes", "{json}");
}
