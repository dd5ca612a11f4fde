//! One setting of a TreasureHunt in Kubernetes, by server-side apply: what other managers own of it
//! stays theirs. In: hunt, setting, value. Out: what stood there. I/O, with an answer within three
//! seconds.

use std::path::Path;
use std::time::Duration;

use config_schemas::{FieldPath, HuntName};
use crds::TreasureHunt;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value as Json, json};

use crate::failure::{Code, Failure, chain};

/// Whose fields these are from then on.
const MANAGER: &str = "hunt";
/// A person waits no longer than three seconds to hear that the API is not there.
const ANSWER_WITHIN: Duration = Duration::from_millis(2_500);

/// Which cluster, and as whom: a kubeconfig file and a context of it, else what the environment says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whose<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) context: Option<&'a str>,
}

/// Writes the setting; what stood there, and what the resource is called.
pub(super) async fn apply(
    hunt: &HuntName,
    path: FieldPath,
    value: &Json,
    whose: Whose<'_>,
) -> Result<(Option<Json>, String), Failure> {
    let place = format!("th/{} in namespace {}", hunt.name, hunt.namespace);
    let act = async {
        let client = client(whose).await?;
        let hunts: Api<TreasureHunt> = Api::namespaced(client, hunt.namespace.as_str());
        let name = hunt.name.as_str();
        let found = hunts.get_opt(name).await.map_err(|error| failure(&place, &error))?;
        let found = found.ok_or_else(|| {
            Failure::bad_input(format!("there is no {place} in Kubernetes"))
                .hint("where hunts come from a directory, give the file: -f FILE")
        })?;
        let asked = found.spec.config.get(path.section());
        let before = asked.and_then(|section| section.get(path.name())).cloned();
        let patch = json!({
            "apiVersion": "treasurehunt.dev/v1alpha1",
            "kind": "TreasureHunt",
            "metadata": {"name": name},
            "spec": {path.section(): {path.name(): value}},
        });
        // Forced: whoever promotes takes this one field over.
        let params = PatchParams::apply(MANAGER).force();
        let applied = hunts.patch(name, &params, &Patch::Apply(&patch)).await;
        applied.map_err(|error| failure(&place, &error))?;
        Ok(before)
    };
    match tokio::time::timeout(ANSWER_WITHIN, act).await {
        Ok(before) => Ok((before?, place)),
        Err(_) => {
            let within = ANSWER_WITHIN.as_secs_f64();
            Err(unreachable(format!("the Kubernetes API does not answer within {within} s")))
        }
    }
}

async fn client(whose: Whose<'_>) -> Result<Client, Failure> {
    let options =
        KubeConfigOptions { context: whose.context.map(str::to_owned), ..Default::default() };
    let wrong = |error| Failure::bad_input(chain(&error));
    let config = match whose {
        Whose { file: Some(file), .. } => {
            let read = Kubeconfig::read_from(file).map_err(wrong)?;
            Config::from_custom_kubeconfig(read, &options).await.map_err(wrong)?
        }
        Whose { file: None, context: Some(_) } => {
            Config::from_kubeconfig(&options).await.map_err(wrong)?
        }
        Whose { file: None, context: None } => {
            Config::infer().await.map_err(|error| unreachable(chain(&error)))?
        }
    };
    Client::try_from(config).map_err(|error| unreachable(chain(&error)))
}

fn failure(place: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            Failure::failed(format!("{place}: {}", status.message))
                .hint("ask for the right to patch treasurehunts, or give the file: -f FILE")
        }
        kube::Error::Api(status) => Failure::bad_input(format!("{place}: {}", status.message)),
        other => unreachable(format!("the Kubernetes API: {}", chain(other))),
    }
}

fn unreachable(message: String) -> Failure {
    Failure::new(Code::Unreachable, message).hint(
        "does KUBECONFIG name a cluster that runs? Where hunts come from a directory, give the \
         file: -f FILE",
    )
}
