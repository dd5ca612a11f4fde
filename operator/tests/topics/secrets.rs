//! How the operator comes to its passwords and certificates, and what it says when they are wrong.

use serde_json::{Value as Json, json};
use servers::KafkaSecurity;

use crate::support::{Fleet, World as Kubernetes, found, page};
use crate::world::{Cluster, World};

#[tokio::test(flavor = "multi_thread")]
async fn passwords_come_from_secrets_and_a_wrong_one_is_told() {
    const PASSWORD: &str = "correct-horse";
    let security = KafkaSecurity { user: "ana".to_owned(), password: PASSWORD.to_owned() };
    let Some(world) = World::new(Some(security)).await else { return };
    let authority = world.kafka.certificates().unwrap().authority();
    world.secret("kafka", "ca.crt", &std::fs::read_to_string(authority).unwrap());
    let secret = |key: &str| json!({"name": "kafka", "key": key});
    let kafka = json!({
        "tls": true, "authority": secret("ca.crt"),
        "mechanism": "scram-sha-512", "user": "ana", "password": secret("password"),
    });
    world.apply("harbour", 3, &json!({"kafka": kafka}));
    let message = world.not_ready("harbour", "NoAccess").await;
    assert!(message.contains("there is no Secret kafka/password"), "{message}");
    world.secret("kafka", "password", "wrong-battery");
    let message = world.not_ready("harbour", "WrongPassword").await;
    assert!(!message.contains("wrong-battery"), "{message}");
    world.secret("kafka", "password", PASSWORD);
    world.ready("harbour", 1).await;
    let stranger = servers::Certificates::in_dir(&world.folder.path().join("stranger"));
    stranger.make_authority().await.unwrap();
    world.secret("kafka", "ca.crt", &std::fs::read_to_string(stranger.authority()).unwrap());
    world.not_ready("harbour", "Certificate").await;
    let shown = page(&world.operator, "/config?hunt=default/harbour").await.unwrap();
    let keys = Fleet::new(&world.etcd, "default/harbour").all().await;
    assert!(!shown.contains(PASSWORD) && !format!("{keys:?}").contains(PASSWORD));
    world.operator.stop().await;
}

/// Everything through the Kubernetes API, the Secret too.
#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_in_kubernetes_has_its_topics_by_a_secret_of_its_namespace() {
    let security = KafkaSecurity { user: "ana".to_owned(), password: "correct-horse".to_owned() };
    let Some(Cluster { one: _one, kafka }) = Cluster::new(Some(security)).await else { return };
    let world = Kubernetes::new().await;
    let operator = world.operator("one").await;
    let authority = kafka.certificates().unwrap().authority();
    let spec = |retention: &str| {
        let secret = |key: &str| json!({"name": "kafka", "key": key});
        json!({
            "broker": {"kind": "kafka"}, "partitions": {"count": 4},
            "topics": {"eventsRetention": retention},
            "kafka": {
                "bootstrap": kafka.bootstrap().split(',').collect::<Vec<_>>(),
                "tls": true, "authority": secret("ca.crt"),
                "mechanism": "scram-sha-512", "user": "ana", "password": secret("password"),
            },
        })
        .to_string()
    };
    world.apply("harbour", &spec("1h")).await;
    let reason = |status: &Json| found(status, "TopicsReady")["reason"].clone();
    let status = world.status("harbour", "no Secret", |s| reason(s) == "NoAccess").await;
    let message = found(&status, "TopicsReady")["message"].as_str().unwrap();
    assert!(message.contains("there is no Secret kafka/ca.crt"), "{message}");
    let from = ["create", "secret", "generic", "kafka", "--from-literal=password=correct-horse"];
    let file = format!("--from-file=ca.crt={}", authority.display());
    let args: Vec<&str> = from.into_iter().chain([file.as_str()]).collect();
    world.kube.kubectl(&args).await.unwrap();
    let wait = ["wait", "th/harbour", "--for=condition=TopicsReady", "--timeout=120s"];
    world.kube.kubectl(&wait).await.unwrap();
    world.apply("harbour", &spec("21h")).await;
    let read_back = |status: &Json| {
        let topics = found(status, "TopicsReady");
        topics["status"] == "True" && topics["observedGeneration"] == 2
    };
    world.status("harbour", "read back", read_back).await;
    let retention = kafka
        .tool(
            "kafka-configs",
            &["--describe", "--entity-type", "topics", "--entity-name", "default.harbour.events"],
        )
        .await
        .unwrap();
    assert!(retention.contains("retention.ms=75600000"), "{retention}");
    let all = world.hunt("harbour").await.to_string();
    assert!(!all.contains("correct-horse"));
    operator.stop().await;
}
