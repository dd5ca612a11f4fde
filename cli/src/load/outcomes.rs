//! What the hunt says happened, asked of its agents page by page. In: addresses, a cursor. Out:
//! outcomes in each partition's order, and where the next ones begin. I/O.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::checker::{Checker, Finding, Line, Told};
use crate::failure::Failure;
use crate::http::Http;

/// Outcomes asked for at once.
const PAGE: usize = 5_000;
/// Longest wait of an agent for outcomes to come.
const WAIT: Duration = Duration::from_secs(1);
/// Longest wait for a page on a busy machine.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// Before a page that failed is asked for again, from another agent.
const AGAIN: Duration = Duration::from_millis(100);
/// Pages that failed one after the other before reading is given up.
const FAILURES_MAX: u32 = 100;
/// Before it is looked again whether what is missing has come.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Reads outcomes from any of some agents.
#[derive(Debug, Clone)]
pub struct Reader {
    http: Http,
    addresses: Vec<String>,
    at: usize,
    cursor: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    outcomes: Vec<Line>,
    next: String,
}

/// Ids that were seen together, and when.
#[derive(Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// The ids of events with their outcome.
    pub ids: Vec<String>,
}

impl Reader {
    /// From the beginning of all, or from a cursor of earlier.
    pub fn new(http: &Http, addresses: &[String], cursor: &str) -> Reader {
        let (http, addresses) = (http.clone(), addresses.to_vec());
        Reader { http, addresses, at: 0, cursor: cursor.to_owned() }
    }

    /// Where the next page begins.
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The next outcomes; none when there are none within `wait`.
    pub async fn page(&mut self, wait: Duration) -> Result<Vec<Line>, Failure> {
        let mut failures = 0;
        loop {
            let path =
                format!("/v1/outcomes?from={}&limit={PAGE}&wait={}", self.cursor, wait.as_millis());
            let address = &self.addresses[self.at % self.addresses.len()];
            let answer = self.http.get_within(address, &path, PAGE_WITHIN).await;
            let page = answer.and_then(|answer| answer.json()).and_then(|page| {
                serde_json::from_value::<Page>(page)
                    .map_err(|error| Failure::caused("reading outcomes", &error))
            });
            match page {
                Ok(page) => {
                    self.cursor = page.next;
                    return Ok(page.outcomes);
                }
                Err(failure) if failures >= FAILURES_MAX => return Err(failure),
                Err(_) => {
                    failures += 1;
                    self.at += 1;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Goes on to the end of what is there now.
    pub async fn skip(&mut self) -> Result<(), Failure> {
        while !self.page(Duration::ZERO).await?.is_empty() {}
        Ok(())
    }

    /// Tells of each event of this run that has its outcome, until nobody listens.
    pub async fn follow(mut self, run: String, seen: mpsc::Sender<Seen>) -> Result<(), Failure> {
        loop {
            let page = tokio::select! {
                page = self.page(WAIT) => page?,
                () = seen.closed() => return Ok(()),
            };
            let ids = page.into_iter().filter_map(|line| {
                let is_first = line.record.outcome.is_first();
                let id = line.record.event_id.filter(|_| is_first)?;
                id.as_str().starts_with(&run).then(|| id.to_string())
            });
            let ids: Vec<_> = ids.collect();
            if !ids.is_empty() && seen.send(Seen { at: Instant::now(), ids }).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Reads until every acknowledged event and every claim has what it waits for, or `limit` has
    /// passed, and judges. Out: what is wrong, and how many outcomes were read.
    pub async fn judge(
        &mut self,
        mut checker: Checker,
        told: &[Told],
        limit: Duration,
    ) -> Result<(Vec<Finding>, u64), Failure> {
        let (began, mut read) = (Instant::now(), 0);
        loop {
            let page = self.page(Duration::ZERO).await?;
            read += page.len() as u64;
            page.iter().for_each(|line| checker.read(line));
            if !page.is_empty() {
                continue;
            }
            if began.elapsed() >= limit || !told.iter().any(|told| checker.awaits(told)) {
                return Ok((checker.judge(told), read));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
