//! Every example is a valid resource: it parses, its values are allowed, it says at its head what it
//! shows and by which commands, and the real API server takes it.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use config_schemas::read_sections;
use crds::{TreasureHunt, yaml};
use servers::{Etcd, EtcdPrograms, KubeApi, KubePrograms};

/// Lines of comment at the head of an example: what it shows, and how.
const HEAD_LINES_MAX: usize = 5;

fn examples() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let mut all: Vec<_> =
        yaml.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect();
    all.sort();
    assert!(all.len() >= 5, "{all:?}");
    all
}

#[test]
fn every_example_parses_and_all_its_values_are_allowed() {
    for (path, text) in examples() {
        let name = path.display();
        let hunt: TreasureHunt =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read = read_sections(&hunt.spec.config);
        assert!(read.problems.is_empty() && read.unknown.is_empty(), "{name}: {read:?}");
        assert!(!read.values.is_empty(), "{name} sets nothing");
    }
}

#[test]
fn every_example_says_at_its_head_what_it_shows_and_how_to_see_it() {
    for (path, text) in examples() {
        let name = path.display();
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!((2..=HEAD_LINES_MAX).contains(&head.len()), "{name}: {head:?}");
        let command = head.iter().find(|line| line.starts_with("#   "));
        let file = path.file_name().unwrap().to_string_lossy();
        let command = command.unwrap_or_else(|| panic!("{name}: no command"));
        // The one that `./dev up` applies by itself shows an edit instead.
        let names_itself = command.contains(&format!("kubectl apply -f examples/{file}"));
        assert!(names_itself || command.contains("etcdctl put"), "{name}: {command}");
    }
}

#[tokio::test]
async fn the_api_server_takes_every_example() {
    let etcd = Etcd::temporary(EtcdPrograms::shared().await.unwrap()).await.unwrap();
    let programs = KubePrograms::shared().await.unwrap();
    let api = KubeApi::temporary(programs, &etcd.endpoint()).await.unwrap();
    api.apply(&yaml()).await.unwrap();
    let established = ["wait", "--for=condition=Established", "crd/treasurehunts.treasurehunt.dev"];
    api.kubectl(&established).await.unwrap();
    for (path, text) in examples() {
        let taken = api.apply(&text).await;
        assert!(taken.is_ok(), "{}: {taken:?}", path.display());
        // The next one may differ in what is fixed once a hunt exists.
        api.kubectl(&["delete", "treasurehunt", "--all"]).await.unwrap();
    }
}
