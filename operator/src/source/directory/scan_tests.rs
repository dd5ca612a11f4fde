//! Looks at a real directory, with an etcd in memory: no way of handling files loses a hunt but to
//! remove it. The clock is the test's.

use std::path::Path;
use std::process::Command as Process;

use store::StoreOptions;
use store::sim::SimEtcd;
use tempfile::TempDir;

use super::held::SETTLE;
use super::*;
use crate::state::Observed;

struct World {
    etcd: String,
    dir: TempDir,
    source: Source,
    clock: Instant,
}

impl World {
    async fn new() -> World {
        let etcd = SimEtcd::new().serve_tcp().await.unwrap().0.to_string();
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path(), &etcd);
        World { etcd, dir, source, clock: Instant::now() }
    }

    /// As if killed: only files and etcd are left.
    fn restart(&mut self) {
        self.source = source(self.dir.path(), &self.etcd);
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.path(file)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// One look, and what was told of hunts.
    async fn look(&mut self) -> Vec<Observed> {
        let events = self.source.scan(self.clock).await;
        let seen = events.into_iter().filter_map(|event| match event {
            SourceEvent::Seen(observed) => Some(*observed),
            _ => None,
        });
        seen.collect()
    }

    /// Looks now, after a moment and after long; what was told of hunts.
    async fn long(&mut self) -> Vec<Observed> {
        let mut seen = self.look().await;
        for _ in 0..4 {
            self.clock += SETTLE / 2;
            seen.extend(self.look().await);
        }
        seen
    }

    fn status(&self, file: &str) -> Option<StatusFile> {
        let text = std::fs::read_to_string(self.path(&format!("{file}.status.yaml"))).ok()?;
        Some(serde_yaml::from_str(&text).unwrap())
    }

    fn files(&self) -> BTreeSet<String> {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn source(path: &Path, etcd: &str) -> Source {
    let store = Store::open(StoreOptions::plain([etcd.to_owned()])).unwrap();
    open(path.to_owned(), store, Metrics::new().unwrap()).1
}

fn hunt(name: &str) -> String {
    format!(
        "---\napiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\nmetadata: {{name: \
         {name}}}\nspec: {{}}\n"
    )
}

/// Told of at all, always the same one, and never that it is deleted.
#[track_caller]
fn same(seen: &[Observed], uid: &str) {
    assert!(seen.iter().all(|o| o.uid == uid && !o.deleting && o.generation.0 == 1), "{seen:?}");
}

#[tokio::test]
async fn a_copy_does_not_take_the_hunt_over_at_a_restart() {
    let mut world = World::new().await;
    world.write("harbour.yaml", &hunt("harbour"));
    let uid = world.look().await[0].uid.clone();
    world.write("a-copy.yaml", &hunt("harbour"));
    same(&world.long().await, &uid);
    world.restart();
    let seen = world.long().await;
    same(&seen, &uid);
    assert_eq!(seen.len(), 1);
    assert_eq!(world.status("harbour.yaml").unwrap().hunts.len(), 1);
    let copy = world.status("a-copy.yaml").unwrap();
    assert_eq!(copy.problems, ["hunt default/harbour stands in harbour.yaml already"]);
    assert!(copy.hunts.is_empty());

    // With the first one removed, the copy is what still names the hunt.
    world.remove("harbour.yaml");
    same(&world.long().await, &uid);
    assert_eq!(world.status("a-copy.yaml").unwrap().hunts[0].uid, uid);
    assert_eq!(world.status("harbour.yaml"), None);
}

#[tokio::test]
async fn a_renamed_file_takes_its_hunt_along_and_leaves_nothing_behind() {
    let mut world = World::new().await;
    world.write("bay.yaml", &hunt("bay"));
    let mut uid = world.look().await[0].uid.clone();
    let target = |uid: &str| Target {
        name: "default/bay".parse().unwrap(),
        uid: uid.to_owned(),
        version: String::new(),
    };
    let status = serde_json::json!({"nodes": 3});
    let report = Report::Status(status.to_string().into());
    let (done, _) = oneshot::channel();
    world.source.carry_out(Command::Report(target(&uid), report, done)).await;
    for (from, to, restarts) in [
        ("bay.yaml", "zz.yaml", false),
        ("zz.yaml", "aa.yaml", false),
        ("aa.yaml", "zz.yaml", true),
        ("zz.yaml", "aa.yaml", true),
    ] {
        world.rename(from, to);
        if restarts {
            world.restart();
        }
        let seen = world.long().await;
        same(&seen, &uid);
        assert!(!seen.is_empty());
        let record = world.status(to).unwrap().hunts.remove(0);
        assert_eq!((record.uid, record.status), (uid.clone(), status.clone()), "{to}");
        assert_eq!(world.files(), [to.to_owned(), format!("{to}.status.yaml")].into());
    }
    // Also with its status file, and as one document of another file.
    world.rename("aa.yaml", "bb.yaml");
    world.rename("aa.yaml.status.yaml", "bb.yaml.status.yaml");
    same(&world.long().await, &uid);
    world.write("cc.yaml", &hunt("cc"));
    let other = world.look().await.pop().unwrap().uid;
    world.write("cc.yaml", &(hunt("cc") + &hunt("bay")));
    world.remove("bb.yaml");
    let seen = world.long().await;
    assert!(seen.iter().all(|o| !o.deleting && (o.uid == uid || o.uid == other)), "{seen:?}");
    assert_eq!(world.files(), ["cc.yaml".to_owned(), "cc.yaml.status.yaml".to_owned()].into());
    uid = world.status("cc.yaml").unwrap().hunts.pop().unwrap().uid;
    assert!(world.source.held.place(&target(&uid)).is_some(), "reports find it");
}

#[tokio::test]
async fn an_emptied_file_is_told_and_deletes_nothing_and_one_that_comes_back_was_never_away() {
    let mut world = World::new().await;
    world.write("aa.yaml", &hunt("aa"));
    let uid = world.look().await[0].uid.clone();
    for nothing in ["", "\n\n", "# nothing yet\n"] {
        world.write("aa.yaml", nothing);
        same(&world.long().await, &uid);
        let problem = world.status("aa.yaml").unwrap().problems.remove(0);
        assert!(problem.contains("default/aa") && problem.contains("remove the file"), "{problem}");
        world.restart();
        same(&world.long().await, &uid);
        world.write("aa.yaml", &hunt("aa"));
        same(&world.long().await, &uid);
        assert_eq!(world.status("aa.yaml").unwrap().problems, [""; 0]);
    }
    for _ in 0..3 {
        world.remove("aa.yaml");
        same(&world.look().await, &uid);
        world.clock += SETTLE - Duration::from_millis(1);
        same(&world.look().await, &uid);
        world.write("aa.yaml", &hunt("aa"));
        same(&world.long().await, &uid);
    }
}

#[tokio::test]
async fn a_file_that_stays_away_deletes_its_hunt_and_all_files_at_once_delete_none() {
    let mut world = World::new().await;
    world.write("aa.yaml", &hunt("aa"));
    world.write("bb.yaml", &(hunt("bb") + &hunt("cc")));
    assert_eq!(world.look().await.len(), 3);
    world.remove("aa.yaml");
    world.write("bb.yaml", &hunt("bb"));
    let seen = world.long().await;
    let deleted: BTreeSet<_> =
        seen.iter().filter(|o| o.deleting).map(|o| o.name.name.to_string()).collect();
    assert_eq!(deleted, ["aa".to_owned(), "cc".to_owned()].into());

    let mut world = World::new().await;
    world.write("aa.yaml", &hunt("aa"));
    let uid = world.look().await[0].uid.clone();
    let away = tempfile::tempdir().unwrap();
    let files = ["aa.yaml", "aa.yaml.status.yaml"];
    for file in files {
        std::fs::rename(world.path(file), away.path().join(file)).unwrap();
    }
    assert_eq!(world.long().await, []);
    let target =
        Target { name: "default/aa".parse().unwrap(), uid: uid.clone(), version: String::new() };
    let (done, outcome) = oneshot::channel();
    let report = Report::Status("{}".into());
    world.source.carry_out(Command::Report(target, report, done)).await;
    assert!(matches!(outcome.await.unwrap(), Reported::Failed(_)));
    assert_eq!(world.files(), BTreeSet::new(), "nothing is begun anew in an empty directory");
    for file in files {
        std::fs::rename(away.path().join(file), world.path(file)).unwrap();
    }
    same(&world.long().await, &uid);
}

#[tokio::test]
async fn what_is_no_file_is_told_and_stops_nothing() {
    let mut world = World::new().await;
    world.write("aa.yaml", &hunt("aa"));
    let uid = world.look().await[0].uid.clone();
    let fifo = |world: &World, file| {
        assert!(Process::new("mkfifo").arg(world.path(file)).status().unwrap().success());
    };
    fifo(&world, "pipe.yaml");
    std::fs::create_dir(world.path("folder.yaml")).unwrap();
    std::os::unix::fs::symlink(world.path("nothing"), world.path("link.yaml")).unwrap();
    world.write("zz.yaml", &hunt("zz"));
    let seen = tokio::time::timeout(Duration::from_secs(20), world.look()).await.unwrap();
    assert_eq!(seen.len(), 1);
    let errors = world.source.metrics.source_errors.with_label_values(&["read"]).get();
    assert_eq!(errors, 3);
    // In place of a hunt's file, or of its status file, it is no word about the hunt.
    world.remove("aa.yaml");
    fifo(&world, "aa.yaml");
    assert_eq!(world.long().await, []);
    world.remove("aa.yaml");
    world.write("aa.yaml", &hunt("aa"));
    same(&world.long().await, &uid);
}
