//! Holding on a paused clock: what wakes it, and what ends it.

use std::cell::RefCell;

use config_schemas::{Epoch, NodeName};
use prometheus::Registry;
use telemetry::catalogue::agent::HOLDS_ENDED;

use super::*;

const LIMITS: Limits = Limits { hold: Duration::from_secs(2), held: 10 };

fn routes(node: Option<&str>, revision: u64) -> Arc<Routes> {
    let route = |node| Route {
        node: NodeName::new(node).unwrap(),
        grpc: format!("{node}:1").into(),
        epoch: Epoch(1),
        mine: false,
        leaving: false,
        revision: Revision::FIRST,
    };
    Arc::new(Routes {
        partitions: vec![node.map(route)],
        revision: Revision::new(revision),
        ..Routes::default()
    })
}

fn held() -> Held {
    let ended = HOLDS_ENDED.register(&Registry::new()).unwrap();
    Held::new(IntGauge::new("held", "held").unwrap(), ended)
}

fn delivery<'a>(
    held: &'a Held,
    routes: &watch::Sender<Arc<Routes>>,
    limits: Limits,
) -> Delivery<'a, impl Fn() -> Limits + use<>, fn() -> bool> {
    let routes = routes.subscribe();
    let partition = PartitionId(0);
    let limits = move || limits;
    Delivery { partition, events: 4, cut: 1, routes, held, limits, hold: || true }
}

fn away(knows: u64) -> Attempt<()> {
    Attempt::Away(Away { ambiguous: false, knows: Revision::new(knows) })
}

#[tokio::test(start_paused = true)]
async fn without_a_route_it_waits_for_one_and_asks_nobody() {
    let (held, table) = (held(), watch::Sender::new(routes(None, 1)));
    let began = Instant::now();
    let asked = RefCell::new(Vec::new());
    let deliver = delivery(&held, &table, LIMITS).deliver(async |route: Route| {
        asked.borrow_mut().push(route.node.to_string());
        Attempt::Over(Ok(()))
    });
    let change = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(held.gauge.get(), 4);
        table.send_replace(routes(Some("b"), 2));
    };
    let (result, ()) = tokio::join!(deliver, change);
    assert_eq!(result, Ok(()));
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    assert_eq!(*asked.borrow(), ["b"]);
    assert_eq!((held.gauge.get(), held.count.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(ended(&held), [4, 0, 0]);
}

/// How many events were delivered after a hold, expired, and found no room.
fn ended(held: &Held) -> [u64; 3] {
    ["delivered", "expired", "no_room"].map(|how| held.ended.with_label_values(&[how]).get())
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_after_the_hold_and_says_whether_the_events_may_be_there() {
    for (ambiguous, code) in [(false, "NO_OWNER"), (true, "LOG_UNAVAILABLE")] {
        let (held, table) = (held(), watch::Sender::new(routes(Some("a"), 1)));
        let began = Instant::now();
        let result = delivery(&held, &table, LIMITS)
            .deliver(async |_| Attempt::<()>::Away(Away { ambiguous, knows: None }))
            .await;
        assert_eq!(result.unwrap_err().code(), code);
        assert_eq!(began.elapsed(), LIMITS.hold);
        assert_eq!((held.gauge.get(), ended(&held)), (0, [0, 4, 0]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_attempt_without_an_answer_does_not_say_that_nothing_was_kept() {
    let retry_after = Duration::from_millis(7);
    for (ambiguous, code) in [(false, "OVERLOADED"), (true, "LOG_UNAVAILABLE")] {
        let (held, table) = (held(), watch::Sender::new(routes(Some("a"), 1)));
        let asks = RefCell::new(0);
        let result = delivery(&held, &table, LIMITS)
            .deliver(async |_| {
                *asks.borrow_mut() += 1;
                match *asks.borrow() {
                    1 => Attempt::<()>::Away(Away { ambiguous, knows: None }),
                    _ => Attempt::Over(Err(Refusal::Overloaded { retry_after })),
                }
            })
            .await;
        let refusal = result.unwrap_err();
        assert_eq!((refusal.code(), refusal.retry_after()), (code, Some(retry_after)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_still_opens_is_asked_again_and_one_that_knows_more_is_not() {
    for (knows, asks_at_least, asks_at_most) in [(1, 30, 60), (2, 1, 1)] {
        let (held, table) = (held(), watch::Sender::new(routes(Some("a"), 1)));
        let asks = RefCell::new(0);
        let result = delivery(&held, &table, LIMITS)
            .deliver(async |_| {
                *asks.borrow_mut() += 1;
                away(knows)
            })
            .await;
        assert_eq!(result.unwrap_err().code(), "NO_OWNER");
        let asks = asks.into_inner();
        assert!((asks_at_least..=asks_at_most).contains(&asks), "{asks} for {knows}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_at_another_node_that_lasts_leaves_its_place_to_others_and_goes_on() {
    let slow = Duration::from_secs(3);
    for (mine, has_room, left_after) in
        [(false, true, Some(FOREIGN_MAX)), (false, false, Some(FOREIGN_MAX)), (true, true, None)]
    {
        let mut table = (*routes(Some("a"), 1)).clone();
        table.partitions.iter_mut().flatten().for_each(|route| route.mine = mine);
        let (held, table) = (held(), watch::Sender::new(Arc::new(table)));
        let (began, left) = (Instant::now(), RefCell::new(None));
        let hold = || {
            left.borrow_mut().get_or_insert(began.elapsed());
            has_room
        };
        let Delivery { partition, events, cut, routes, held, limits, hold: _ } =
            delivery(&held, &table, LIMITS);
        let result = Delivery { partition, events, cut, routes, held, limits, hold }
            .deliver(async |_| {
                tokio::time::sleep(slow).await;
                Attempt::Over(Ok(()))
            })
            .await;
        assert_eq!((result, began.elapsed()), (Ok(()), slow), "it is not given up");
        assert_eq!(left.into_inner(), left_after);
        assert_eq!(ended(held), [0, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_beyond_the_bounds() {
    let cases = [(Limits { hold: Duration::ZERO, ..LIMITS }, 0), (Limits { held: 3, ..LIMITS }, 4)];
    for (limits, no_room) in cases {
        let (held, table) = (held(), watch::Sender::new(routes(None, 1)));
        let began = Instant::now();
        let result = delivery(&held, &table, limits).deliver(async |_| Attempt::Over(Ok(()))).await;
        assert_eq!(result.unwrap_err().code(), "NO_OWNER");
        assert_eq!(began.elapsed(), Duration::ZERO, "{limits:?}");
        assert_eq!(ended(&held), [0, 0, no_room]);
    }
    let (held, table) = (held(), watch::Sender::new(routes(None, 1)));
    let began = Instant::now();
    let refused = Delivery { hold: (|| false) as fn() -> bool, ..delivery(&held, &table, LIMITS) };
    let result = refused.deliver(async |_| Attempt::Over(Ok(()))).await;
    assert_eq!(result.unwrap_err().code(), "NO_OWNER");
    assert_eq!((began.elapsed(), ended(&held)), (Duration::ZERO, [0, 0, 4]));
    assert_eq!(held.gauge.get(), 0);
    let first = held.enter(6, 10);
    assert!(first.is_some() && held.enter(5, 10).is_none() && held.enter(4, 10).is_some());
    drop(first);
    assert!(held.enter(10, 10).is_some());
}
