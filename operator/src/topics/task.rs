//! The loop of one hunt's topics: looks at the cluster every few seconds and at once when something
//! else is wanted, carries out what the plan says, looks again. In: assignments. Out: how the topics
//! stand, and notes. Ends with its assignments. I/O, and no decisions about topics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use broker::kafka::{Connection, connection, secret_refs};
use config_schemas::{Config, HuntName, Revision};
use store::{Guard, Store, Txn, Verdict};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::admin::{Admin, AdminError, Answer};
use super::plan::{Memory, Plan, Step, Trouble, plan};
use super::secrets::SecretStore;
use super::seen::{Seen, Sizes};
use super::standing::{Standing, told};
use super::wanted::TopicsWanted;
use crate::metrics::Metrics;
use crate::plan::Note;

/// At rest, the cluster is looked at this often: what somebody changes by hand is found so soon.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The same where there are many hunts, for each of them: at most 200 looks a second at rest.
const LOOK_EVERY_PER_HUNT: Duration = Duration::from_millis(5);
/// While partitions move, or something is about to change by itself.
const MOVING_EVERY: Duration = Duration::from_millis(500);
/// After a step, until the cluster shows it.
const ECHO_EVERY: Duration = Duration::from_millis(50);
/// Pauses after a look that failed: doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long Secrets are believed while the client that was made of them does well.
const SECRETS_FOR: Duration = Duration::from_secs(15);
/// How long sizes on disks are believed: asking for them costs the brokers most.
const SIZES_FOR: Duration = Duration::from_secs(60);

/// What a hunt's task has to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// What is asked for.
    pub asked: Asked,
    /// Holds only while this operator leads.
    pub leader: Guard,
    /// Topics that other hunts name: they are not deleted.
    pub spared: BTreeSet<String>,
}

/// What a hunt asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Which hunt.
    pub hunt: HuntName,
    /// Where its cluster is and who we are to it.
    pub config: Arc<Config>,
    /// Its topics.
    pub wanted: TopicsWanted,
    /// When the hunt came into the store: of several that name a topic, the oldest has it.
    pub since: Revision,
    /// The cluster that has them; nothing is done before it is known.
    pub bound: Option<String>,
    /// They are to be deleted.
    pub remove: bool,
}

/// What a task says.
#[derive(Debug)]
pub struct Told {
    /// What was asked for.
    pub asked: Asked,
    /// How its topics stand to that.
    pub standing: Standing,
    /// What to tell people.
    pub notes: Vec<Note>,
}

/// What all tasks share.
#[derive(Clone)]
pub struct Shared {
    /// Says who leads.
    pub store: Store,
    /// Where Secrets are.
    pub secrets: SecretStore,
    /// What is counted.
    pub metrics: Metrics,
    /// Where tasks say how topics stand.
    pub to: mpsc::Sender<Told>,
    /// Hunts with a task.
    pub hunts: Arc<AtomicU32>,
}

/// The loop of one hunt's topics.
pub struct Task {
    shared: Shared,
    /// Since when something else is asked for than was read back.
    asked_at: Option<Instant>,
    link: Option<Link>,
    memory: Memory,
    sizes: Option<(Instant, Sizes)>,
    last: Option<(Asked, Standing)>,
    failures: u32,
}

/// A client and what it was made of.
struct Link {
    config: Arc<Config>,
    connection: Connection,
    read_at: Instant,
    admin: Admin,
}

impl Task {
    /// Nothing is known yet.
    pub fn new(shared: Shared) -> Task {
        Task {
            shared,
            asked_at: Some(Instant::now()),
            link: None,
            memory: Memory::default(),
            sizes: None,
            last: None,
            failures: 0,
        }
    }

    /// Runs as long as somebody assigns.
    pub async fn run(mut self, mut assigned: watch::Receiver<Assignment>) {
        loop {
            if assigned.has_changed().unwrap_or_default() {
                self.asked_at = Some(Instant::now());
            }
            let assignment = assigned.borrow_and_update().clone();
            let asked = &assignment.asked;
            // A look can be left at any time, and hangs for seconds where nobody answers.
            let looked = tokio::select! {
                looked = self.look(asked) => looked,
                changed = assigned.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let pause = match looked {
                Ok(seen) if asked.remove => self.remove(&assignment, &seen).await,
                Ok(seen) => self.bring_about(asked, &assignment.leader, seen).await,
                Err(standing) => self.failed(asked, standing).await,
            };
            tokio::select! {
                () = sleep(pause) => {}
                changed = assigned.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The hunt's cluster as it stands, or why it cannot be worked on.
    async fn look(&mut self, asked: &Asked) -> Result<Seen, Standing> {
        let begun = Instant::now();
        self.connect(asked).await?;
        let Some(Link { admin, .. }) = &self.link else {
            return Err(Standing::no_access("there is no client".to_owned()));
        };
        let names: Vec<&str> = asked.wanted.names().collect();
        let seen = admin.look(&names, asked.bound.as_deref()).await;
        let mut seen = seen.map_err(|error| {
            self.lose_link_on(&error);
            Standing::unreachable(&error)
        })?;
        self.shared.metrics.topics_look_seconds.observe(begun.elapsed().as_secs_f64());
        match &asked.bound {
            None => return Err(Standing::unbound(&seen.cluster)),
            Some(bound) if *bound != seen.cluster => {
                let standing = Standing::wrong_cluster(&seen.cluster, bound);
                self.link = None;
                return Err(standing);
            }
            Some(_) => {}
        }
        self.measure(&mut seen).await;
        Ok(seen)
    }

    /// A client for what the hunt and its Secrets say now; the present one if they say nothing new.
    async fn connect(&mut self, asked: &Asked) -> Result<(), Standing> {
        let fresh =
            |link: &&Link| link.config == asked.config && link.read_at.elapsed() < SECRETS_FOR;
        if self.link.as_ref().filter(fresh).is_some() {
            return Ok(());
        }
        let (config, read_at) = (asked.config.clone(), Instant::now());
        let wanted = secret_refs(&config);
        let secrets = self.shared.secrets.read(asked.hunt.namespace.as_str(), &wanted).await;
        let secrets = secrets.map_err(|error| Standing::no_access(chain(&error)))?;
        let connection = connection(&config, &secrets)
            .map_err(|problems| Standing::no_access(problems.join("; ")))?;
        if let Some(link) = self.link.as_mut().filter(|link| link.connection == connection) {
            (link.config, link.read_at) = (config, read_at);
            return Ok(());
        }
        self.link = None;
        let admin = Admin::connect(&connection).await;
        let admin = admin.map_err(|error| Standing::unreachable(&error))?;
        self.link = Some(Link { config, connection, read_at, admin });
        Ok(())
    }

    async fn measure(&mut self, seen: &mut Seen) {
        let fresh = |(at, _): &&(Instant, Sizes)| at.elapsed() < SIZES_FOR;
        if self.sizes.as_ref().filter(fresh).is_none()
            && let Some(Link { admin, .. }) = &self.link
            && !seen.topics.is_empty()
        {
            self.sizes = Some((Instant::now(), admin.sizes(seen).await));
        }
        if let Some((_, sizes)) = &self.sizes {
            seen.sizes = sizes.clone();
        }
    }

    /// One plan, carried out. How long to wait for the next look.
    async fn bring_about(&mut self, asked: &Asked, leader: &Guard, seen: Seen) -> Duration {
        self.failures = 0;
        let now = Instant::now();
        self.memory.see(&asked.wanted, &seen, now);
        let plan = plan(&asked.wanted, &seen, &self.memory, now);
        let count = asked.wanted.topics.len();
        let partitions = asked.wanted.topics.iter().map(|topic| seen.count(&topic.name)).min();
        let standing = Standing { partitions, ..Standing::of(&seen.cluster, count, &plan) };
        if plan.is_settled()
            && let Some(since) = self.asked_at.take()
        {
            self.shared.metrics.topics_ready_seconds.observe(since.elapsed().as_secs_f64());
        }
        if plan.steps.is_empty() {
            self.tell(asked, standing, Vec::new()).await;
            return self.pause(&plan);
        }
        let mut notes = Vec::new();
        let mut failed = None;
        for step in &plan.steps {
            // A step can take seconds, and another operator may lead by then.
            if !self.leads(leader).await {
                self.tell(asked, standing, notes).await;
                return RETRY_MIN;
            }
            match self.step(step).await {
                Ok(told) => notes.extend(told),
                Err(error) => {
                    self.lose_link_on(&error);
                    failed = failed.or(Some(error));
                }
            }
            // Without a client none of the others can be tried.
            if self.link.is_none() {
                break;
            }
        }
        let Some(error) = failed else {
            self.tell(asked, standing, notes).await;
            return ECHO_EVERY;
        };
        self.tell(asked, Standing::unreachable(&error), notes).await;
        RETRY_MIN
    }

    fn pause(&self, plan: &Plan) -> Duration {
        let ends_by_itself =
            |t: &Trouble| matches!(t, Trouble::NoLeader { .. } | Trouble::BrokerAway { .. });
        let restless = self.memory.is_restless() || plan.troubles.iter().any(ends_by_itself);
        if plan.unseen > 0 {
            ECHO_EVERY
        } else if restless || !plan.progress.is_empty() {
            MOVING_EVERY
        } else {
            let hunts = self.shared.hunts.load(Ordering::Relaxed);
            LOOK_EVERY.max(LOOK_EVERY_PER_HUNT.saturating_mul(hunts))
        }
    }

    async fn step(&mut self, step: &Step) -> Result<Vec<Note>, AdminError> {
        let Some(Link { admin, .. }) = &self.link else {
            return Err(AdminError::Unreachable { why: "there is no client".to_owned() });
        };
        let answers = admin.carry_out(step).await;
        let now = Instant::now();
        let mut refused = answers.missing.is_some();
        for answer in answers.given {
            match answer {
                Answer::Taken(what, tried) => self.memory.taken(what, tried, now),
                Answer::Refused(what, refusal) => {
                    refused = true;
                    self.memory.refused(what, refusal, now);
                }
                Answer::Busy(what, refusal) => {
                    refused = true;
                    self.memory.busy(what, refusal, now);
                }
                Answer::Singly(topic) => {
                    refused = true;
                    self.memory.go_singly(&topic, now);
                }
            }
        }
        let result = if refused { "refused" } else { "taken" };
        self.shared.metrics.topic_steps.with_label_values(&[step.kind(), result]).inc();
        if let Some(error) = answers.missing {
            return Err(error);
        }
        Ok(if refused { Vec::new() } else { told(step) })
    }

    /// Deletes the topics that are still there and nobody else's. Only of the cluster that has them.
    async fn remove(&mut self, assignment: &Assignment, seen: &Seen) -> Duration {
        let Assignment { asked, leader, spared } = assignment;
        let go = seen.topics.keys().filter(|topic| !spared.contains(*topic));
        let left: Vec<&str> = go.map(String::as_str).collect();
        let standing = Standing::removing(&seen.cluster, left.is_empty()).sparing(spared);
        if !left.is_empty()
            && self.leads(leader).await
            && let Some(Link { admin, .. }) = &self.link
            && let Err(error) = admin.remove(&left).await
        {
            self.lose_link_on(&error);
            return self.failed(asked, Standing::unreachable(&error)).await;
        }
        self.tell(asked, standing, Vec::new()).await;
        ECHO_EVERY
    }

    async fn failed(&mut self, asked: &Asked, standing: Standing) -> Duration {
        let pause = RETRY_MIN.saturating_mul(1 << self.failures.min(4)).min(RETRY_MAX);
        self.failures = if standing.is_trouble { self.failures.saturating_add(1) } else { 0 };
        self.tell(asked, standing, Vec::new()).await;
        pause
    }

    fn lose_link_on(&mut self, error: &AdminError) {
        if error.ends_client() {
            self.link = None;
        }
    }

    /// Whether this operator leads, by the store's word: one that was paused may not know that
    /// another one acts by now.
    async fn leads(&self, leader: &Guard) -> bool {
        let ask = Txn { guards: vec![leader.clone()], writes: Vec::new() };
        matches!(self.shared.store.commit(&ask).await, Ok(Verdict::Committed(_)))
    }

    /// Says what is new.
    async fn tell(&mut self, asked: &Asked, standing: Standing, notes: Vec<Note>) {
        let hunt = asked.hunt.to_string();
        let left = i64::try_from(standing.moves_left).unwrap_or(i64::MAX);
        self.shared.metrics.topic_moves_left.with_label_values(&[&hunt]).set(left);
        let said = (asked.clone(), standing.clone());
        if self.last.as_ref() == Some(&said) && notes.is_empty() {
            return;
        }
        self.last = Some(said);
        // Whoever listens may be gone; then so are the assignments.
        let _ = self.shared.to.send(Told { asked: asked.clone(), standing, notes }).await;
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
