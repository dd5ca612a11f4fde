//! Outcomes that were acknowledged and are not in their file any more: readers over HTTP and gRPC
//! are told which file, and where. Through whole agents.

use std::fs;
use std::path::PathBuf;

use axum::http::StatusCode;
use config_schemas::PartitionId;
use events::v1;
use futures::StreamExt as _;
use tonic::Code;

use super::server_tests::{PATIENCE, World, get, hunts, joins, request};

fn newest_outcomes(world: &World, partition: u32) -> PathBuf {
    let lives = fs::read_dir(world.data.path().join("hunts")).unwrap();
    let life = lives.map(|life| life.unwrap().path()).next().expect("one life of the hunt");
    let dir = life.join("default.harbour").join(PartitionId(partition).to_string());
    let entries = fs::read_dir(dir).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("outcomes.") && name.ends_with(".log")
    });
    paths.sort();
    paths.pop().expect("a log")
}

#[tokio::test]
async fn readers_of_outcomes_that_were_lost_are_told_the_file_and_the_place() {
    let world = World::placed().await;
    hunts(&world.a).await.publish(request(joins(40))).await.unwrap();
    let (status, _, body) = get(&world.a, "/v1/outcomes?partition=0&from=0&wait=20000").await;
    assert!(status == StatusCode::OK && !body.is_empty(), "{status}: {body}");
    let path = newest_outcomes(&world, 0);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 20).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();

    // B reads what A owns, from its files.
    let reading = get(&world.b, "/v1/outcomes?partition=0&from=0");
    let (status, _, body) = tokio::time::timeout(PATIENCE, reading).await.expect("it spins");
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
    assert!(body.contains(name) && body.contains("corrupt at byte"), "{body}");

    let wanted = v1::WatchRequest { partitions: vec![0], ..Default::default() };
    let mut watch = hunts(&world.b).await.watch(wanted).await.unwrap().into_inner();
    let told = async {
        loop {
            if let Err(status) = watch.next().await.expect("told before the end") {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, told).await.expect("it spins");
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    assert!(status.message().contains(name), "{status}");
    world.end().await;
}
