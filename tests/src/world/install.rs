//! What stands in the Kubernetes of a world before any hunt: `deploy/kubernetes` as people apply it,
//! and the operator's own account there. In: etcd. Out: an API server and a kubeconfig. I/O.

use std::path::PathBuf;

use anyhow::{Result, bail};
use servers::{KubeApi, KubePrograms};

use super::root;

/// As whom the operator runs: it can do what `deploy/kubernetes/rbac.yaml` allows, and nothing else.
pub const OPERATOR: &str = "system:serviceaccount:treasurehunt-system:treasurehunt-operator";
/// The groups of that account.
const GROUPS: [&str; 2] = ["system:serviceaccounts", "system:serviceaccounts:treasurehunt-system"];

/// An API server with what docs/kubernetes.md installs, and the operator's kubeconfig. Nothing makes
/// pods of it there.
pub(super) async fn api(etcd: &str) -> Result<(KubeApi, PathBuf)> {
    let programs = match KubePrograms::shared().await {
        Ok(programs) => programs,
        Err(unavailable) => bail!("{unavailable}"),
    };
    let api = KubeApi::temporary(programs, etcd).await?;
    let path = |rest: &str| root().join(rest).to_string_lossy().into_owned();
    api.kubectl(&["apply", "-f", &path("crds/treasurehunts.yaml")]).await?;
    api.kubectl(&["apply", "-k", &path("deploy/kubernetes")]).await?;
    let wait = ["wait", "--for=condition=Established", "crd/treasurehunts.treasurehunt.dev"];
    api.kubectl(&wait).await?;
    let kubeconfig = api.kubeconfig_for(OPERATOR, &GROUPS).await?;
    Ok((api, kubeconfig))
}
