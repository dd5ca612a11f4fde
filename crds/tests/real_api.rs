//! The real API server takes the generated definition, and refuses what must be refused with a
//! message that names field, value and what is allowed.

#![allow(clippy::unwrap_used)]

use servers::{Etcd, EtcdPrograms, KubeApi, KubePrograms};

struct Api {
    _etcd: Etcd,
    kube: KubeApi,
}

async fn api() -> Api {
    let etcd = Etcd::temporary(EtcdPrograms::shared().await.unwrap()).await.unwrap();
    let programs = KubePrograms::shared().await.unwrap();
    let kube = KubeApi::temporary(programs, &etcd.endpoint()).await.unwrap();
    kube.apply(&crds::yaml()).await.unwrap();
    let established = ["wait", "--for=condition=Established", "crd/treasurehunts.treasurehunt.dev"];
    kube.kubectl(&established).await.unwrap();
    Api { _etcd: etcd, kube }
}

impl Api {
    async fn apply(&self, name: &str, spec: &str) -> Result<String, String> {
        let manifest = format!(
            "apiVersion: treasurehunt.dev/v1alpha1\nkind: TreasureHunt\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        self.kube.apply(&manifest).await.map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error} {}", source.unwrap_or_default())
        })
    }

    async fn good(&self, spec: &str) {
        let done = self.apply("good", spec).await;
        assert!(done.is_ok(), "{spec}: {done:?}");
    }

    async fn bad(&self, name: &str, spec: &str, words: &[&str]) {
        let message = self.apply(name, spec).await.expect_err(spec);
        for word in words {
            assert!(message.contains(word), "{spec}: no {word:?} in {message}");
        }
    }
}

#[tokio::test]
async fn the_api_server_takes_what_is_valid_and_says_what_is_wrong_with_the_rest() {
    let api = api().await;
    api.good("{}").await;
    api.good("{heartbeat: {interval: 20ms, misses: 100}, buffers: {events: 1048576}}").await;
    api.good("{heartbeat: {interval: 1m}, buffers: {bytes: 1Gi, event: 1Mi}}").await;
    api.good("{workers: {batch: 32}, buffers: {events: 32}}").await;
    api.good("{partitions: {count: 16, pins: ['3=agent-1']}, broker: {kind: embedded}}").await;
    api.good("{agents: {replicas: 3}, history: 50, deletionPolicy: Retain}").await;
    let time = "a time with a unit (ms, s, m, h) from 20ms to 1m";
    api.bad("a", "{heartbeat: {interval: 1ms}}", &["heartbeat.interval: 1ms is not", time]).await;
    api.bad("a", "{heartbeat: {interval: 61s}}", &["heartbeat.interval: 61s is not", time]).await;
    api.bad("a", "{heartbeat: {interval: fast}}", &["spec.heartbeat.interval", "fast"]).await;
    api.bad("a", "{heartbeat: {interval: 99999999999999999999s}}", &["heartbeat.interval", time])
        .await;
    let bytes = "from 4Ki to 1Gi";
    api.bad("a", "{buffers: {bytes: '4095', event: '300'}}", &["buffers.bytes: 4095", bytes]).await;
    api.bad("a", "{buffers: {bytes: 2Gi}}", &["buffers.bytes: 2Gi", bytes]).await;
    api.bad("a", "{buffers: {events: 0}}", &["spec.buffers.events", "0", "than or equal to 1"])
        .await;
    api.bad("a", "{buffers: {events: lots}}", &["spec.buffers.events", "integer"]).await;
    let batch = "workers.batch: 64 is not allowed; allowed: at most buffers.events, which is 32";
    api.bad("a", "{buffers: {events: 32}}", &[batch, "spec.workers.batch"]).await;
    let event = "buffers.event: 1Mi is not allowed; allowed: at most buffers.bytes, which is 64Ki";
    api.bad("a", "{buffers: {event: 1Mi, bytes: 64Ki}}", &[event]).await;
    api.bad("a", "{partitions: {pins: ['x=y']}}", &["spec.partitions.pins", "x=y"]).await;
    api.bad("a", "{broker: {kind: paper}}", &["spec.broker.kind", "paper", "embedded"]).await;
    api.bad("a", "{history: 1}", &["spec.history", "than or equal to 2"]).await;
    api.bad("a", "{heartbeat: {speed: 3}}", &["spec.heartbeat.speed"]).await;
    api.bad("a", "{treasure: {}}", &["spec.treasure"]).await;
    api.bad("a.b", "{}", &["metadata.name", "63 lower-case letters"]).await;
    api.bad(&"a".repeat(64), "{}", &["metadata.name", "63 lower-case letters"]).await;
}

/// Each breaks one rule between settings.
const CONTRADICTIONS: &[(&str, &str)] = &[
    ("{broker: {kind: kafka}}", "kafka.bootstrap"),
    ("{broker: {kind: kafka}, kafka: {bootstrap: []}}", "kafka.bootstrap"),
    ("{kafka: {mechanism: plain, user: ana, password: {name: a, key: b}}}", "kafka.mechanism"),
    ("{kafka: {mechanism: scram-sha-512, user: ana}}", "kafka.mechanism"),
    ("{kafka: {mechanism: scram-sha-256, password: {name: a, key: b}}}", "kafka.mechanism"),
    ("{kafka: {tls: true, certificate: {name: a, key: b}}}", "kafka.certificate"),
    ("{kafka: {tls: true, privateKey: {name: a, key: b}}}", "kafka.privateKey"),
    ("{kafka: {authority: {name: a, key: b}}}", "kafka.tls"),
    ("{topics: {events: a, deadLetters: a}}", "topics.events"),
    ("{topics: {outcomesRetention: 59m}}", "topics.outcomesRetention"),
    ("{topics: {configs: ['events:retention.ms=1']}}", "topics.configs"),
    ("{topics: {configs: ['snapshots:cleanup.policy=delete']}}", "topics.configs"),
    ("{topics: {configs: ['events:leader.replication.throttled.replicas=1']}}", "topics.configs"),
    ("{topics: {replicationFactor: 1}}", "topics.minInSync"),
    ("{topics: {minInSync: 4}}", "topics.minInSync"),
    ("{topics: {message: 512Ki}}", "producer.message"),
    ("{producer: {message: 64Ki}}", "producer.batch"),
    ("{producer: {queue: 2Mi, message: 3Mi}, topics: {message: 3Mi}}", "producer.message"),
    ("{consumer: {fetchMin: 2Mi, fetchMax: 1Mi}}", "consumer.fetchMin"),
    ("{consumer: {fetchWait: 5s}, session: {socketTimeout: 5s}}", "consumer.fetchWait"),
    ("{session: {reconnectMin: 2s}}", "session.reconnectMin"),
];

/// Each is at the edge of such a rule, on its good side.
const CONSENTS: &[&str] = &[
    "{broker: {kind: kafka}, kafka: {bootstrap: ['a:1']}}",
    "{kafka: {tls: true, mechanism: plain, user: ana, password: {name: a, key: b}}}",
    "{kafka: {mechanism: scram-sha-512, user: ana, password: {name: a.b, key: .c_d-e}}}",
    "{kafka: {tls: true, certificate: {name: a, key: b}, privateKey: {name: a, key: c}}}",
    "{kafka: {tls: true, authority: {name: a, key: b}}}",
    "{topics: {events: a, outcomes: b, snapshots: c, deadLetters: d}}",
    "{topics: {outcomesRetention: 1h, eventsBytes: 16384Gi}}",
    "{topics: {outcomesRetention: 0s, replicationFactor: 1, minInSync: 1}}",
    "{topics: {configs: ['events:segment.bytes=67108864', 'deadLetters:compression.type=zstd']}}",
    "{consumer: {fetchWait: 5s}, session: {socketTimeout: 6s, reconnectMin: 1s}}",
    "{producer: {compression: zstd, inFlight: 1, message: 64Mi}, topics: {message: 64Mi}}",
];

#[tokio::test]
async fn the_api_server_and_the_operator_agree_on_what_goes_together() {
    let api = api().await;
    let problems = |spec: &str| {
        let spec: serde_json::Map<_, _> = serde_yaml::from_str(spec).unwrap();
        let read = config_schemas::read_sections(&spec);
        assert_eq!(read.unknown, []);
        read.problems
    };
    for (index, spec) in CONSENTS.iter().enumerate() {
        assert_eq!(problems(spec), [], "{spec}");
        // One hunt each: names of topics never change.
        let done = api.apply(&format!("good-{index}"), spec).await;
        assert!(done.is_ok(), "{spec}: {done:?}");
    }
    for (spec, field) in CONTRADICTIONS {
        let ours: Vec<_> = problems(spec).into_iter().map(|problem| problem.field).collect();
        assert_eq!(ours, [*field], "{spec}");
        api.bad("a", spec, &[field, "allowed: "]).await;
    }
    let untold = config_schemas::RULES.iter().filter(|rule| {
        let field = rule.field.to_string();
        !CONTRADICTIONS.iter().any(|(_, told)| *told == field)
    });
    assert_eq!(untold.count(), 0, "a rule that no contradiction here breaks");
}

#[tokio::test]
async fn a_secret_is_named_and_never_written_down() {
    let api = api().await;
    let password = "spec.kafka.password";
    api.bad("a", "{kafka: {password: pa55}}", &[password, "must be of type object"]).await;
    api.bad("a", "{kafka: {password: {name: a, key: b, value: c}}}", &["password.value"]).await;
    api.bad("a", "{kafka: {password: {name: a}}}", &["password.key"]).await;
    for wrong in ["{name: ../a, key: b}", "{name: a, key: ..}", "{name: a, key: b/c}"] {
        api.bad("a", &format!("{{kafka: {{password: {wrong}}}}}"), &[password]).await;
    }
    for wrong in ["ssl://a:1", "a", "a:b", "::1:2"] {
        let spec = format!("{{kafka: {{bootstrap: ['{wrong}']}}}}");
        api.bad("a", &spec, &["spec.kafka.bootstrap"]).await;
    }
    for wrong in [".", "..", "a b"] {
        api.bad("a", &format!("{{topics: {{events: '{wrong}'}}}}"), &["spec.topics.events"]).await;
    }
}

#[tokio::test]
async fn what_is_fixed_stays_whether_it_was_named_or_not() {
    let api = api().await;
    let kind = "broker.kind: kafka is not allowed; allowed: embedded, because it cannot change";
    let kafka = "{broker: {kind: kafka}, kafka: {bootstrap: ['a:1']}}";
    api.good("{}").await;
    api.bad("good", kafka, &[kind]).await;
    api.good("{broker: {kind: embedded}}").await;
    api.bad("good", kafka, &[kind]).await;
}

#[tokio::test]
async fn partitions_only_become_more_by_whole_multiples_and_by_name() {
    let api = api().await;
    let refused = |count: u32, before: u32| {
        let allowed = config_schemas::cuts::allowed(before);
        format!("partitions.count: {count} is not allowed; allowed: {allowed}")
    };
    api.good("{}").await;
    api.bad("good", "{partitions: {count: 24}}", &[&refused(24, 16)]).await;
    api.bad("good", "{partitions: {count: 8}}", &[&refused(8, 16)]).await;
    api.good("{partitions: {count: 32}}").await;
    api.bad("good", "{partitions: {count: 16}}", &[&refused(16, 32)]).await;
    api.bad("good", "{heartbeat: {interval: 2s}}", &[&refused(16, 32)]).await;
    api.apply("eight", "{partitions: {count: 8}}").await.unwrap();
    api.bad("eight", "{heartbeat: {interval: 2s}}", &[&refused(16, 8)]).await;
}

#[tokio::test]
async fn kubectl_can_explain_scale_and_list_a_hunt() {
    let api = api().await;
    api.kube.apply(include_str!("../../examples/harbour.yaml")).await.unwrap();
    let explained = api.kube.kubectl(&["explain", "th.spec.heartbeat"]).await.unwrap();
    assert!(explained.contains("Time between two heartbeats"), "{explained}");
    api.kube.kubectl(&["scale", "th/harbour", "--replicas=5"]).await.unwrap();
    let path = "jsonpath={.spec.agents.replicas}";
    assert_eq!(api.kube.kubectl(&["get", "th/harbour", "-o", path]).await.unwrap(), "5");
    let wide = api.kube.kubectl(&["get", "th", "-o", "wide"]).await.unwrap();
    for column in ["READY", "CONVERGED", "GENERATION", "AGE", "HEARTBEAT", "BUFFERS", "PARTITIONS"]
    {
        assert!(wide.contains(column), "{wide}");
    }
}
