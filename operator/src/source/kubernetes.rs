//! TreasureHunts from the Kubernetes API. Objects are watched undecoded, so that one that this
//! version cannot read neither stops the others nor goes unreported. I/O.
//!
//! Verbs that it needs: treasurehunts get, list, watch, patch (finalizers); treasurehunts/status
//! patch; events (events.k8s.io) create, patch. `topics::secrets` needs secrets get besides.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use config_schemas::{Generation, HuntName};
use crds::{FINALIZER, TreasureHunt};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, utils::StreamBackoff};
use kube::{Client, Resource as _};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Report, Reported, SourceEvent, Target};
use crate::metrics::Metrics;
use crate::plan::{Note, Severity};
use crate::state::{Observed, parse_status};

/// Who owns the fields that we apply.
pub const FIELD_MANAGER: &str = "treasurehunt-operator";
/// Longest time for one call; the API server's own limit is a minute.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Objects of one page of a list: bounds memory while listing.
const PAGE_SIZE: u32 = 500;
/// Notes that may wait to be published; more are dropped and counted.
const NOTES_WAITING_MAX: usize = 512;
/// Pause between two published notes: at most 50 a second.
const NOTE_PAUSE: Duration = Duration::from_millis(20);
/// Longest texts that the Events API takes.
const ACTION_CHARS_MAX: usize = 128;
const NOTE_BYTES_MAX: usize = 1000;

/// Watches the resources and tells the controller.
pub struct Source {
    client: Client,
    namespace: Option<String>,
    metrics: Metrics,
}

impl Source {
    /// All namespaces, or one.
    pub fn new(client: Client, namespace: Option<String>, metrics: Metrics) -> Source {
        Source { client, namespace, metrics }
    }

    /// Runs until told to stop, or until nobody listens.
    pub async fn run(self, to: mpsc::Sender<SourceEvent>, stop: CancellationToken) {
        let api = api(&self.client, self.namespace.as_deref());
        let config = watcher::Config::default().page_size(PAGE_SIZE);
        let stream = StreamBackoff::new(watcher(api, config), watcher::DefaultBackoff::default());
        let stream = stream.modify(|object| {
            object.metadata.managed_fields = None;
            object.metadata.annotations = None;
        });
        let stream = pin!(stream);
        tokio::select! {
            () = forward(stream, &to, &self.metrics) => {}
            () = stop.cancelled() => {}
        }
    }
}

type Watched = Result<Event<DynamicObject>, watcher::Error>;

async fn forward(
    mut stream: impl Stream<Item = Watched> + Unpin,
    to: &mpsc::Sender<SourceEvent>,
    metrics: &Metrics,
) {
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        let told = match event {
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitApply(object)) => observe(&object, metrics).map(|observed| {
                listed.insert(observed.name.clone());
                SourceEvent::Seen(Box::new(observed))
            }),
            Ok(Event::InitDone) => Some(SourceEvent::Listed(std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => {
                observe(&object, metrics).map(|observed| SourceEvent::Seen(Box::new(observed)))
            }
            Ok(Event::Delete(object)) => observe(&object, metrics)
                .map(|gone| SourceEvent::Deleted { name: gone.name, uid: gone.uid }),
            Err(error) => {
                metrics.source_errors.with_label_values(&[kind(&error)]).inc();
                tracing::warn!(error = %chain(&error), "watching the Kubernetes API failed");
                None
            }
        };
        if let Some(told) = told
            && to.send(told).await.is_err()
        {
            return;
        }
    }
}

/// Keeps of the object what the operator needs.
fn observe(object: &DynamicObject, metrics: &Metrics) -> Option<Observed> {
    let meta = &object.metadata;
    let (namespace, name) = (meta.namespace.clone()?, meta.name.clone()?);
    let name = match HuntName::new(namespace, name) {
        Ok(name) => name,
        Err(error) => {
            metrics.source_errors.with_label_values(&["name"]).inc();
            tracing::warn!(error = %error, "a TreasureHunt that cannot be a hunt is left alone");
            return None;
        }
    };
    let finalizers = meta.finalizers.iter().flatten();
    Some(Observed {
        name,
        uid: meta.uid.clone()?,
        generation: Generation(meta.generation.and_then(|g| u64::try_from(g).ok()).unwrap_or(0)),
        deleting: meta.deletion_timestamp.is_some(),
        held: finalizers.into_iter().any(|finalizer| finalizer == FINALIZER),
        version: meta.resource_version.clone().unwrap_or_default(),
        spec: object.data.get("spec").unwrap_or(&Json::Null).to_string().into(),
        status: object.data.get("status").map(parse_status).unwrap_or_default(),
    })
}

fn api(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<TreasureHunt>(&());
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn kind(error: &watcher::Error) -> &'static str {
    match error {
        watcher::Error::InitialListFailed(_) => "list",
        watcher::Error::WatchStartFailed(_) => "watch_start",
        watcher::Error::WatchError(_) => "watch_error",
        watcher::Error::WatchFailed(_) => "watch",
        watcher::Error::NoResourceVersion => "no_version",
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Writes to the resources.
#[derive(Clone)]
pub struct Outlet {
    client: Client,
    notes: mpsc::Sender<(Target, Note)>,
    metrics: Metrics,
}

impl Outlet {
    /// The outlet, and the task that publishes its notes.
    pub fn new(
        client: Client,
        identity: &str,
        metrics: Metrics,
    ) -> (Outlet, impl Future<Output = ()> + use<>) {
        let (notes, waiting) = mpsc::channel(NOTES_WAITING_MAX);
        let reporter =
            Reporter { controller: FIELD_MANAGER.into(), instance: Some(identity.into()) };
        let recorder = Recorder::new(client.clone(), reporter);
        (Outlet { client, notes, metrics }, publish(recorder, waiting))
    }

    /// Writes one report.
    pub async fn report(&self, target: &Target, report: Report) -> Reported {
        let api = api(&self.client, Some(target.name.namespace.as_str()));
        let name = target.name.name.as_str();
        let written = tokio::time::timeout(CALL_TIMEOUT, async {
            match report {
                Report::Status(status) => {
                    let params = PatchParams::apply(FIELD_MANAGER).force();
                    api.patch_status(name, &params, &Patch::Apply(applied(target, &status))).await
                }
                Report::Hold => self.finalizers(&api, target, true).await,
                Report::Release => self.finalizers(&api, target, false).await,
            }
        })
        .await;
        match written {
            Ok(Ok(object)) => {
                Reported::Written(object.metadata.resource_version.unwrap_or_default())
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Reported::Gone,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Reported::Overtaken,
            Ok(Err(error)) => Reported::Failed(chain(&error)),
            Err(_) => Reported::Failed(format!("no answer within {CALL_TIMEOUT:?}")),
        }
    }

    /// Adds our finalizer or takes it away, and leaves those of others.
    async fn finalizers(
        &self,
        api: &Api<DynamicObject>,
        target: &Target,
        held: bool,
    ) -> kube::Result<DynamicObject> {
        let name = target.name.name.as_str();
        let mut object = api.get_metadata(name).await?;
        let same = object.metadata.uid.as_deref() == Some(target.uid.as_str());
        let mut finalizers = object.metadata.finalizers.take().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if held {
            finalizers.push(FINALIZER.to_owned());
        }
        // A resource of that name with another id refuses the patch: its uid does not change.
        let body = json!({ "metadata": {
            "uid": target.uid,
            "resourceVersion": object.metadata.resource_version.filter(|_| same),
            "finalizers": finalizers,
        }});
        api.patch(name, &PatchParams::default(), &Patch::Merge(body)).await
    }

    /// Queues a note for publication.
    pub fn tell(&self, target: &Target, note: &Note) {
        if self.notes.try_send((target.clone(), note.clone())).is_err() {
            self.metrics.notes.with_label_values(&["Dropped"]).inc();
        }
    }
}

/// The whole status as we want it; what it leaves out, the API server takes away.
fn applied(target: &Target, status: &str) -> Json {
    json!({
        "apiVersion": TreasureHunt::api_version(&()),
        "kind": TreasureHunt::kind(&()),
        "metadata": { "name": target.name.name, "uid": target.uid },
        "status": serde_json::from_str::<Json>(status).unwrap_or(Json::Null),
    })
}

async fn publish(recorder: Recorder, mut waiting: mpsc::Receiver<(Target, Note)>) {
    while let Some((target, note)) = waiting.recv().await {
        let reference = ObjectReference {
            api_version: Some(TreasureHunt::api_version(&()).into_owned()),
            kind: Some(TreasureHunt::kind(&()).into_owned()),
            namespace: Some(target.name.namespace.to_string()),
            name: Some(target.name.name.to_string()),
            uid: Some(target.uid.clone()),
            ..ObjectReference::default()
        };
        let event = event(&note);
        let call = recorder.publish(&event, &reference);
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(())) => {}
            // An Event is a courtesy: in a namespace that goes away it cannot be made.
            Ok(Err(error)) => tracing::debug!(error = %chain(&error), "an Event was not taken"),
            Err(_) => tracing::debug!("an Event was not taken in time"),
        }
        tokio::time::sleep(NOTE_PAUSE).await;
    }
}

/// The recorder merges events of the same action and keeps the first one's text, so the action
/// says what the event is about.
fn event(note: &Note) -> KubeEvent {
    let mut text = note.text.clone();
    while text.len() > NOTE_BYTES_MAX {
        text.pop();
    }
    KubeEvent {
        type_: match note.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: note.reason.to_owned(),
        note: Some(text),
        action: note.about.chars().take(ACTION_CHARS_MAX).collect(),
        secondary: None,
    }
}
