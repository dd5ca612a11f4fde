//! Appends that come while the partition is being opened, on a paused clock.

use broker::{AnyBroker, Broker as _, Claim, Embedded, EmbeddedOptions};
use config_schemas::{Config, Epoch, HuntName, Revision};
use events::{HuntGame, Machine as _};
use prometheus::Registry;
use tokio::time::Instant;

use super::*;
use crate::capacity::credits::{Credits, Size};
use crate::config::live::channel;
use crate::load::meter::Meters;

const MS: Duration = Duration::from_millis(1);

fn serve() -> Option<Order> {
    Some(Order::Serve { epoch: Epoch(1), revision: Revision::FIRST })
}

/// A way in, and where its log is.
async fn way_in() -> (Intake, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let hunt = HuntName::new("default", "harbour").unwrap();
    let log = Embedded::open(EmbeddedOptions::new(data.path(), hunt)).unwrap();
    let log = AnyBroker::Embedded(log);
    let claim = Claim { epoch: Epoch(1), owner: "a".into(), incarnation: "a-1".into() };
    let owned = log.take(PartitionId(0), claim).await.unwrap();
    let credits = Credits::new(Size { events: 10, bytes: 1000 });
    let metrics = PlaneMetrics::register(&Registry::new(), Meters::default()).unwrap();
    (
        Intake::new(
            owned,
            credits,
            channel(Config::default()).1,
            metrics,
            HuntGame::vocabulary(),
            watch::Sender::new(Default::default()).subscribe(),
        ),
        data,
    )
}

/// What becomes of an append when after so long the door opens, or another order comes, and after
/// what time.
async fn append(opens: Option<(Duration, Intake)>, orders: Option<Duration>) -> (bool, Duration) {
    let seat =
        Seat { orders: watch::Sender::new(serve()), door: Arc::new(watch::Sender::new(None)) };
    let began = Instant::now();
    let appending = async {
        let taken = seat.append(Vec::new(), Source::Outbox).await.is_ok();
        (taken, began.elapsed())
    };
    let opening = async {
        let Some((after, intake)) = opens else { return };
        tokio::time::sleep(after).await;
        seat.door.send_replace(Some(intake));
    };
    let ordering = async {
        let Some(after) = orders else { return };
        tokio::time::sleep(after).await;
        seat.order(None);
    };
    tokio::join!(appending, opening, ordering).0
}

#[tokio::test(start_paused = true)]
async fn an_append_waits_for_a_partition_that_is_being_opened_and_for_no_other() {
    let (intake, _data) = way_in().await;
    let soon = OPENING_MAX - MS;
    assert_eq!(append(Some((soon, intake.clone())), None).await, (true, soon));
    assert_eq!(append(None, None).await, (false, OPENING_MAX));
    assert_eq!(append(None, Some(7 * MS)).await, (false, 7 * MS));
    assert_eq!(append(Some((2 * OPENING_MAX, intake)), None).await, (false, OPENING_MAX));
}
