//! The clients of Kafka, as settings and Secrets want them: wishes come from the road, Secrets from
//! their folder, and whoever owns the clients is asked to take over, apart from the road, so that no
//! other edit waits for a proof. In: configurations, files. Out: decisions, which acks wait for. I/O;
//! the deciding is in `course`.

#[cfg(test)]
mod clients_tests;
mod course;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker::KafkaOptions;
use broker::kafka::{secret_fields, secret_refs};
use config_schemas::diff::Plan;
use config_schemas::{BrokerKind, Component, Config, HuntName, NodeName, SecretRef};
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use course::Decision;
use course::{Course, Step, Target};

use crate::secrets::{self, Found};

/// How often Secrets in use are looked at again: so late at most a new password is taken over.
const LOOK: Duration = Duration::from_secs(1);

/// Takes the settings of Kafka's clients over, or what is wrong with them: once the new clients have
/// proven themselves, or says why all stays as it was.
pub type RetuneKafka = Arc<
    dyn Fn(Result<KafkaOptions, Vec<String>>) -> BoxFuture<'static, Result<(), String>>
        + Send
        + Sync,
>;

/// Where wishes are told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clients {
    wishes: Arc<watch::Sender<Wish>>,
    decisions: watch::Receiver<Decision>,
}

/// A configuration as the clients are to have it.
#[derive(Debug, Clone)]
struct Wish {
    number: u64,
    config: Arc<Config>,
}

/// What looks after the clients.
pub struct Keeper {
    /// The hunt that the topics belong to.
    hunt: HuntName,
    /// How the process is called there.
    client_id: String,
    /// Where Secrets are.
    folder: Option<PathBuf>,
    retune: RetuneKafka,
    /// Changes when what was taken over was given up.
    given_up: watch::Receiver<u64>,
    wishes: watch::Receiver<Wish>,
    decisions: watch::Sender<Decision>,
    course: Course,
    found: Found,
}

/// Starts with what `config` wants. Nothing is wanted yet where the hunt is kept elsewhere. Whoever is
/// asked with `retune` says by `given_up` that he has given up what he had.
pub fn clients(
    config: &Config,
    hunt: &HuntName,
    node: &NodeName,
    folder: Option<PathBuf>,
    (retune, given_up): (RetuneKafka, watch::Receiver<u64>),
) -> (Clients, Keeper) {
    let number = u64::from(config.broker.kind == BrokerKind::Kafka);
    let first = Wish { number, config: Arc::new(config.clone()) };
    let (wishes, wanted) = watch::channel(first);
    let (decided, decisions) = watch::channel(Decision { number: 0, outcome: Ok(()) });
    let keeper = Keeper {
        hunt: hunt.clone(),
        client_id: format!("treasurehunt.{}.{}.{node}", hunt.namespace, hunt.name),
        folder,
        retune,
        given_up,
        wishes: wanted,
        decisions: decided,
        course: Course::default(),
        found: Found::default(),
    };
    (Clients { wishes: Arc::new(wishes), decisions }, keeper)
}

impl Clients {
    /// Tells what is wanted, if `plan` concerns the clients. Out: the number of the newest wish;
    /// what has just been told is in effect, or not, once that is decided.
    pub fn want(&self, config: &Config, plan: &Plan) -> u64 {
        let kafka = |config: &Config| config.broker.kind == BrokerKind::Kafka;
        let concerned = CONCERNED.iter().any(|component| plan.contains_key(component));
        self.wishes.send_if_modified(|wish| {
            let new = concerned && (kafka(config) || kafka(&wish.config));
            if new {
                *wish = Wish { number: wish.number + 1, config: Arc::new(config.clone()) };
            }
            new
        });
        self.wished()
    }

    /// The number of the newest wish.
    pub fn wished(&self) -> u64 {
        self.wishes.borrow().number
    }

    /// The newest decision, and those to come.
    pub fn decisions(&self) -> watch::Receiver<Decision> {
        self.decisions.clone()
    }
}

/// Components whose settings a client is made from: besides its own, which broker there is, the
/// names of topics and how many partitions they have.
const CONCERNED: [Component; 4] =
    [Component::Kafka, Component::Log, Component::Topics, Component::Placement];

impl Keeper {
    /// Looks after the clients until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut attempt: Option<BoxFuture<'static, Result<(), String>>> = None;
        let mut look: Option<BoxFuture<'static, Found>> = Some(self.look());
        let mut look_at: Option<Instant> = None;
        loop {
            let wake = match attempt.is_none().then(|| self.course.next(Instant::now())) {
                Some(Step::Try(target)) => {
                    attempt = Some(self.attempt(target));
                    None
                }
                Some(Step::Wait(until)) => until,
                None => None,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.given_up.changed() => self.course.given_up(),
                outcome = ended(&mut attempt) => {
                    self.course.ended(outcome, Instant::now());
                    self.tell();
                }
                found = ended(&mut look) => {
                    look_at = (!found.wanted.is_empty()).then(|| Instant::now() + LOOK);
                    look = (!self.take(found)).then(|| self.look());
                }
                changed = self.wishes.changed() => match changed {
                    // A look under way is not begun anew, or a stream of wishes would have no end.
                    Ok(()) => look = look.or_else(|| Some(self.look())),
                    Err(_) => return,
                },
                () = sleep_until(look_at), if look.is_none() => look = Some(self.look()),
                () = sleep_until(wake) => {}
            }
        }
    }

    fn attempt(&self, target: Target) -> BoxFuture<'static, Result<(), String>> {
        match target {
            Target::None => Box::pin(std::future::ready(Ok(()))),
            Target::Reach(options) => (self.retune)(Ok(*options)),
            Target::Broken(problems) => (self.retune)(Err(problems)),
        }
    }

    /// A look at what the newest wish needs; none at the disk when it needs nothing.
    fn look(&self) -> BoxFuture<'static, Found> {
        let wanted = secret_refs(&self.wishes.borrow().config);
        if wanted.is_empty() {
            return Box::pin(std::future::ready(Found::default()));
        }
        let (folder, looked_for) = (self.folder.clone(), wanted.clone());
        Box::pin(async move {
            let look = move || secrets::look(folder.as_deref(), &looked_for);
            tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| {
                let why = || "looking for it panicked".to_owned();
                let problems = wanted.iter().map(|reference| (reference.clone(), why())).collect();
                Found { wanted, problems, ..Found::default() }
            })
        })
    }

    /// Makes the newest wish of what was found; not, if it needs other Secrets than were looked for.
    fn take(&mut self, found: Found) -> bool {
        let wish = self.wishes.borrow().clone();
        let fields = secret_fields(&wish.config);
        if !fields.keys().eq(&found.wanted) {
            return false;
        }
        if found.wanted == self.found.wanted && found != self.found {
            tracing::info!("a Secret in use has changed");
        }
        self.found = found;
        let problem = |(reference, why): (&SecretRef, &String)| {
            format!("{}: Secret {reference} cannot be read: {why}", fields[reference])
        };
        let unread: Vec<_> = self.found.problems.iter().map(problem).collect();
        let target = match () {
            () if wish.config.broker.kind != BrokerKind::Kafka => Target::None,
            () if !unread.is_empty() => Target::Broken(unread),
            () => self.target(&wish.config),
        };
        self.course.want(wish.number, target);
        self.tell();
        true
    }

    fn target(&self, config: &Config) -> Target {
        match KafkaOptions::of(config, &self.hunt, &self.client_id, &self.found.secrets) {
            Ok(options) => Target::Reach(Box::new(options)),
            Err(problems) => Target::Broken(problems),
        }
    }

    fn tell(&self) {
        let Some(decision) = self.course.decision() else { return };
        self.decisions.send_if_modified(|told| {
            let new = told != decision;
            if new {
                if let Err(reason) = &decision.outcome {
                    tracing::warn!(%reason, "the clients of Kafka stay as they are");
                }
                *told = decision.clone();
            }
            new
        });
    }
}

/// The result of what is under way, and then nothing is.
async fn ended<T>(running: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = running else { return std::future::pending().await };
    let result = future.await;
    *running = None;
    result
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
