//! What only a real etcd shows: users and tokens, several members, a full disk quota, no quorum.

use std::time::Duration;

use servers::{Certificates, Etcd, EtcdCluster, EtcdOptions, EtcdPrograms, Usage};
use store::{
    FollowOptions, Follower, Guard, KeyRange, Phase, Store, StoreError, StoreOptions, TlsFiles,
    Txn, User, Verdict, follow,
};
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(40);

async fn etcd(extra_args: &[&str]) -> (Etcd, tempfile::TempDir) {
    let programs = EtcdPrograms::shared().await.expect("an etcd");
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = EtcdOptions::in_dir(folder.path()).expect("ports");
    options.fsync = false;
    options.extra_args = extra_args.iter().map(|arg| (*arg).to_owned()).collect();
    (Etcd::start(programs, options).await.expect("etcd starts"), folder)
}

/// Drives the follower until it holds the value.
async fn until(follower: &mut Follower, key: &str, value: &str) {
    let held = async {
        while follower.held().get(key).is_none_or(|entry| entry.value != value) {
            follower.next().await;
        }
    };
    let reached = timeout(PATIENCE, held).await;
    assert!(reached.is_ok(), "status {:?}", *follower.status().borrow());
}

fn put(key: &str) -> Txn {
    Txn::put(Guard::Absent(key.into()), "x")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_renewed_for_calls_and_for_watches() {
    let (etcd, _folder) = etcd(&["--auth-token-ttl=2"]).await;
    let with_user = |name: &str, password: &str| {
        let user = Some(User { name: name.into(), password: password.into() });
        StoreOptions { user, ..StoreOptions::plain([etcd.endpoint()]) }
    };
    let off = Store::open(with_user("root", "canary-4711")).expect("options");
    let refused = off.revision().await;
    assert!(matches!(refused, Err(StoreError::AuthDisabled)), "{refused:?}");

    let root = ["--user", "root:canary-4711"];
    etcd.ctl(&["user", "add", "root:canary-4711"]).await.expect("a user");
    etcd.ctl(&["user", "grant-role", "root", "root"]).await.expect("a role");
    etcd.ctl(&["user", "add", "ana:canary-0815"]).await.expect("a user");
    etcd.ctl(&["role", "add", "reader"]).await.expect("a role");
    etcd.ctl(&["role", "grant-permission", "reader", "--prefix=true", "read", "/h/"])
        .await
        .expect("a permission");
    etcd.ctl(&["user", "grant-role", "ana", "reader"]).await.expect("a role");
    etcd.ctl(&["auth", "enable"]).await.expect("enabled");

    let wrong = Store::open(with_user("root", "wrong")).expect("options").revision().await;
    let Err(StoreError::Unauthenticated { reason }) = wrong else { panic!("{wrong:?}") };
    assert!(!reason.contains("wrong"), "no password in {reason}");
    let nobody = Store::open(StoreOptions::plain([etcd.endpoint()])).expect("options");
    let nobody = nobody.read("/h/a").await;
    assert!(matches!(nobody, Err(StoreError::Unauthenticated { .. })), "{nobody:?}");

    let ana = Store::open(with_user("ana", "canary-0815")).expect("options");
    assert_eq!(ana.read("/h/a").await.expect("allowed"), None);
    let denied = ana.commit(&put("/h/a")).await;
    assert!(matches!(denied, Err(StoreError::PermissionDenied)), "{denied:?}");

    let mut follower = follow(&ana, FollowOptions::new("ana", KeyRange::prefix("/h/")));
    timeout(PATIENCE, follower.next()).await.expect("the first update");
    // Idle past the token's life; then a call, and a watch that has to be opened anew.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(ana.read("/h/a").await.expect("renewed"), None);
    let mut second = follow(&ana, FollowOptions::new("second", KeyRange::prefix("/h/")));
    let put = [&root[..], &["put", "/h/a", "1"]].concat();
    etcd.ctl(&put).await.expect("a put");
    until(&mut follower, "/h/a", "1").await;
    until(&mut second, "/h/a", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_says_so_and_goes_on_serving_reads_and_watches() {
    let (etcd, _folder) = etcd(&["--quota-backend-bytes=2000000"]).await;
    let store = Store::open(StoreOptions::plain([etcd.endpoint()])).expect("options");
    store.commit(&put("/h/a")).await.expect("room");
    let mut follower = follow(&store, FollowOptions::new("full", KeyRange::prefix("/h/")));
    until(&mut follower, "/h/a", "x").await;
    let mut refused = None;
    for n in 0..40 {
        let large = Txn::put(Guard::Absent(format!("/full/{n}")), vec![b'x'; 200_000]);
        if let Err(error) = store.commit(&large).await {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("a quota of 2 MB is used up by 8 MB");
    assert!(matches!(refused, StoreError::NoSpace), "{refused:?}");
    assert!(refused.retryable());
    assert!(store.read("/h/a").await.expect("reads go on").is_some());
    let delete = Txn { guards: vec![], writes: vec![store::Write::delete("/h/a")] };
    store.commit(&delete).await.expect("deletes go on");
    let gone = async {
        while follower.held().contains_key("/h/a") {
            follower.next().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the watch goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_or_frozen_member_is_left_for_another_and_no_quorum_is_told() {
    let programs = EtcdPrograms::shared().await.expect("an etcd");
    let mut cluster = EtcdCluster::temporary(programs).await.expect("three members");
    let store = Store::open(StoreOptions::plain(cluster.endpoints())).expect("options");
    let mut follower = follow(&store, FollowOptions::new("three", KeyRange::prefix("/h/")));
    timeout(PATIENCE, follower.next()).await.expect("the first update");

    let used = |store: &Store, cluster: &mut EtcdCluster| {
        let endpoint = store.endpoint().trim_end_matches('/').to_owned();
        cluster.members().iter().position(|member| member.endpoint() == endpoint).expect("known")
    };
    // Frozen: reads go elsewhere within their time limit, and so does the watch.
    let at = used(&store, &mut cluster);
    cluster.members()[at].freeze().await.expect("frozen");
    let began = Instant::now();
    store.read("/h/a").await.expect("another member answers");
    assert!(began.elapsed() < Duration::from_secs(8), "bounded");
    assert_ne!(used(&store, &mut cluster), at);
    let written = store.commit_decided(&put("/h/a")).await.expect("decided");
    assert!(matches!(written, Verdict::Committed(_)));
    until(&mut follower, "/h/a", "x").await;
    cluster.members()[at].thaw().await.expect("thawed");

    // Two dead: the third says that it has no leader, and all is kept.
    let at = used(&store, &mut cluster);
    for (n, member) in cluster.members().iter_mut().enumerate() {
        if n != at {
            member.kill();
        }
    }
    let mut status = follower.status();
    let noticed = status.wait_for(|s| matches!(s.phase, Phase::BackingOff { .. }));
    let noticed = async {
        tokio::select! {
            noticed = timeout(PATIENCE, noticed) => noticed.is_ok(),
            update = follower.next() => panic!("emitted {update:?}"),
        }
    };
    assert!(noticed.await, "an isolated member's watch is given up");
    let refused = store.commit(&put("/h/b")).await.expect_err("no quorum");
    assert!(refused.retryable() || matches!(refused, StoreError::Ambiguous { .. }), "{refused:?}");
    for (n, member) in cluster.members().iter_mut().enumerate() {
        if n != at {
            member.respawn().expect("started");
        }
    }
    cluster.ready().await.expect("quorum");
    store.commit_decided(&Txn::put(Guard::Exists("/h/a".into()), "y")).await.expect("decided");
    until(&mut follower, "/h/a", "y").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_s_common_name_is_the_user_where_etcd_asks_for_one() {
    let programs = EtcdPrograms::shared().await.expect("an etcd");
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_dir(&folder.path().join("certificates"));
    certificates.make_authority().await.expect("an authority");
    let sign = async |name: &str, usage| {
        certificates.sign(name, &format!("/CN={name}"), usage).await.expect("a certificate")
    };
    let server = sign("etcd", Usage::Server).await;
    let mut options = EtcdOptions::in_dir(folder.path()).expect("ports");
    let secure = format!("https://127.0.0.1:{}", servers::free_port().expect("a port"));
    let file = |path: &std::path::Path| path.display().to_string();
    options.fsync = false;
    // The plain port stays: the one who sets users up comes by it.
    options.extra_args = vec![
        format!("--listen-client-urls={},{secure}", options.endpoint()),
        format!("--cert-file={}", file(&server.certificate)),
        format!("--key-file={}", file(&server.key)),
        format!("--trusted-ca-file={}", file(&certificates.authority())),
        "--client-cert-auth".to_owned(),
    ];
    let etcd = Etcd::start(programs, options).await.expect("etcd starts");
    for line in [
        "user add root:canary-4711",
        "user grant-role root root",
        "user add --no-password ana",
        "role add writer",
        "role grant-permission writer --prefix=true readwrite /h/",
        "user grant-role ana writer",
        "auth enable",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        etcd.ctl(&words).await.unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let store = |identity: Option<servers::Certificate>| {
        let identity = identity.map(|mine| (mine.certificate, mine.key));
        let tls = TlsFiles { ca: certificates.authority(), identity, domain: None };
        let options = StoreOptions { tls: Some(tls), ..StoreOptions::plain([secure.clone()]) };
        Store::open(options).expect("options")
    };
    let ana = store(Some(sign("ana", Usage::Client).await));
    let mut follower = follow(&ana, FollowOptions::new("ana", KeyRange::prefix("/h/")));
    assert!(matches!(ana.commit(&put("/h/a")).await, Ok(Verdict::Committed(_))));
    until(&mut follower, "/h/a", "x").await;
    let elsewhere = ana.commit(&put("/other/a")).await;
    assert!(matches!(elsewhere, Err(StoreError::PermissionDenied)), "{elsewhere:?}");
    let stranger = store(Some(sign("stranger", Usage::Client).await)).read("/h/a").await;
    assert!(stranger.is_err(), "a good certificate of nobody: {stranger:?}");
    let nobody = store(None).read("/h/a").await;
    assert!(nobody.is_err(), "no certificate: {nobody:?}");
}
