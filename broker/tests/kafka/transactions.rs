//! Events that other people's producers wrote in transactions: what was called off is no event, and
//! the marks that Kafka leaves in the log are passed.

use std::time::Duration;

use broker::{Broker as _, LogKind, Owned as _, Reader as _};
use config_schemas::{Offset, PartitionId};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::world::{LIMIT, batch, cluster, connect, hunt, read_all, take, texts};

/// Two transactions: one that holds, and one that is called off.
fn produce(bootstrap: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", topic)
        .create()
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    for (texts, holds) in [(["one", "two"], true), (["three", "four"], false)] {
        producer.begin_transaction().unwrap();
        for text in texts {
            let record = BaseRecord::<(), str>::to(topic).partition(0).payload(text);
            producer.send(record).unwrap();
        }
        // an abort would take back what is not sent yet
        producer.flush(LIMIT).unwrap();
        match holds {
            true => producer.commit_transaction(LIMIT).unwrap(),
            false => producer.abort_transaction(LIMIT).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_of_transactions_are_passed_and_what_was_called_off_is_no_event() {
    let Some(cluster) = cluster().await else { return };
    let options = hunt(cluster, "transacted").await;
    let (bootstrap, topic) = (cluster.bootstrap(), options.events.clone());
    tokio::task::spawn_blocking(move || produce(&bootstrap, &topic)).await.unwrap();
    let broker = connect(&options).await;
    // a take-over looks as far as the topic reaches, which here ends with a mark
    let owned = take(&broker, 0, 1, "a").await;
    let end = owned.end(LogKind::Events);
    assert_eq!(end, Offset(6), "four records and two marks");
    let mut reader = broker.reader(PartitionId(0), LogKind::Events);
    let (mut next, mut read) = (Offset(0), Vec::new());
    let whole = async {
        while next < end {
            let chunk = reader.read(next, 1 << 20).await.unwrap();
            read.extend(texts(&chunk.records));
            next = chunk.next;
        }
    };
    tokio::time::timeout(LIMIT, whole).await.unwrap();
    assert_eq!(read, ["one", "two"]);
    let caught_up = async {
        while owned.events_behind(next) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, caught_up).await.unwrap();
    // and it goes on behind them
    owned.append(LogKind::Events, batch(["five"])).await.unwrap();
    let all = read_all(&broker, 0, LogKind::Events).await;
    assert_eq!(texts(&all), ["one", "two", "five"]);
    assert_eq!(all[2].offset, Offset(6));
}
