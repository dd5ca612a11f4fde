//! The Kubernetes API server for real: users, restart, and an etcd that goes away below it.
//! Without a way to get one (no Go) these tests say so and pass: then there is nothing to test.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test, also in its shared steps")]

use std::path::Path;
use std::time::{Duration, Instant};

use servers::{Etcd, EtcdPrograms, FaultProxy, KubeApi, KubePrograms};

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: harbour}
";

const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: viewers}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: viewers}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: viewers}]
";

/// Rights are granted by a watch inside the API server, so a moment after they are written.
async fn eventually_can(api: &KubeApi, kubeconfig: &Path, verb: &str, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let can = ["auth", "can-i", verb, what];
    while api.kubectl_as(kubeconfig, &can, None).await.is_err() {
        assert!(Instant::now() < deadline, "still not allowed to {verb} {what}");
    }
}

#[tokio::test]
async fn an_api_server_knows_its_users_and_survives_kill_and_a_lost_etcd() {
    let kube = match KubePrograms::shared().await {
        Ok(kube) => kube,
        Err(left_out) if !left_out.is_fault => return println!("{left_out}"),
        Err(fault) => panic!("{fault}"),
    };
    let mut etcd = Etcd::temporary(EtcdPrograms::shared().await.unwrap()).await.unwrap();
    let mut api = KubeApi::temporary(kube, &etcd.endpoint()).await.unwrap();

    let version = api.kubectl(&["version", "-o", "json"]).await.unwrap();
    assert!(version.contains(&format!("v{}.", kube.version)), "{version}");
    api.apply(NAMESPACE).await.unwrap();

    let ana = api.kubeconfig_for("team/ana", &["viewers", "guests"]).await.unwrap();
    let can = ["auth", "can-i", "list", "configmaps"];
    assert!(api.kubectl_as(&ana, &can, None).await.is_err());
    api.apply(ROLE).await.unwrap();
    eventually_can(&api, &ana, "list", "configmaps").await;
    assert!(api.kubectl_as(&ana, &["auth", "can-i", "list", "secrets"], None).await.is_err());
    let who = api.kubectl_as(&ana, &["auth", "whoami", "-o", "json"], None).await.unwrap();
    assert!(who.contains("\"team/ana\"") && who.contains("\"guests\""), "{who}");

    let proxy = FaultProxy::in_front_of(&api.endpoint()).await.unwrap();
    let proxied = api.kubeconfig_through(&proxy).unwrap();
    let list = ["get", "ns", "--request-timeout=5s"];
    api.kubectl_as(&proxied, &list, None).await.unwrap();
    proxy.cut();
    assert!(api.kubectl_as(&proxied, &list, None).await.is_err());

    let endpoint = api.endpoint();
    api.kill();
    assert!(api.kubectl(&["get", "ns", "--request-timeout=1s"]).await.is_err());
    api.restart().await.unwrap();
    assert_eq!(api.endpoint(), endpoint);
    api.kubectl(&["get", "ns", "harbour"]).await.unwrap();
    eventually_can(&api, &ana, "list", "configmaps").await;

    etcd.kill();
    let lost = api.kubectl(&["create", "ns", "lost", "--request-timeout=1s"]).await;
    assert!(lost.is_err(), "{lost:?}");
    etcd.restart().await.unwrap();
    api.ready().await.unwrap();
    api.kubectl(&["create", "ns", "found"]).await.unwrap();
}
