//! What commands that change a hunt can be asked: what to change, who does it and why, and how long
//! to wait. In: arguments. Out: typed values. Pure but for clap's reading.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use config_schemas::{FieldPath, Generation, HuntName, NodeName};
use jiff::Timestamp;

use super::{duration, field_path};

/// `hunt set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
    pub hunt: HuntName,
    /// The setting, as SECTION.FIELD.
    #[arg(value_parser = field_path)]
    pub field: FieldPath,
    /// The value, as in YAML: 250ms, 64Mi, 128, true, '[3=agent-1]'.
    #[arg(allow_hyphen_values = true)]
    pub value: String,
    /// For this node alone.
    #[arg(long)]
    pub node: Option<NodeName>,
    /// Also for a node that does not live now.
    #[arg(long, requires = "node")]
    pub absent: bool,
    /// Who, why, until when.
    #[command(flatten)]
    pub signature: SignatureArgs,
    /// Whether and how long to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `hunt edit`.
#[derive(Debug, Args)]
pub struct EditArgs {
    /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
    pub hunt: HuntName,
    /// Who, why, until when, for what changes and does not say so itself.
    #[command(flatten)]
    pub signature: SignatureArgs,
    /// Whether and how long to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `hunt rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
    pub hunt: HuntName,
    /// The generation to run; see `hunt history`.
    #[arg(required_unless_present_any = ["to", "lift"], conflicts_with_all = ["to", "lift"])]
    pub generation: Option<Generation>,
    /// The generation to run: a number, or "previous".
    #[arg(long, conflicts_with = "lift", value_name = "GENERATION|previous")]
    pub to: Option<To>,
    /// End the rollback: agents run the newest generation again.
    #[arg(long)]
    pub lift: bool,
    /// Who, why, until when.
    #[command(flatten)]
    pub signature: SignatureArgs,
    /// Whether and how long to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `hunt promote`.
#[derive(Debug, Args)]
pub struct PromoteArgs {
    /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
    pub hunt: HuntName,
    /// The setting, as SECTION.FIELD.
    #[arg(value_parser = field_path)]
    pub field: FieldPath,
    /// The file that the hunt comes from; it is changed in place. Kubernetes when not given.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the changed file, and change nothing.
    #[arg(long, requires = "file")]
    pub print: bool,
    /// The kubeconfig file; what the environment says when not given.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig.
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub context: Option<String>,
    /// Whether and how long to wait for the operator and the agents.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `hunt drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
    pub hunt: HuntName,
    /// The node.
    pub node: NodeName,
    /// End it: the node takes partitions again.
    #[arg(long)]
    pub undo: bool,
    /// Also a node that does not live now.
    #[arg(long, conflicts_with = "undo")]
    pub absent: bool,
    /// Who, why, until when.
    #[command(flatten)]
    pub signature: SignatureArgs,
    /// Whether and how long to wait until it has no partition any more.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Where a rollback leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The newest kept one below the one that runs.
    Previous,
    /// That one.
    Generation(Generation),
}

/// Who, why, until when.
#[derive(Debug, Clone, Default, Args)]
pub struct SignatureArgs {
    /// Who makes the edit; $USER@host when not given.
    #[arg(long)]
    pub owner: Option<String>,
    /// Why.
    #[arg(long)]
    pub reason: Option<String>,
    /// When it ends by itself, as 2026-12-01T00:00:00Z.
    #[arg(long, value_name = "RFC3339")]
    pub until: Option<Timestamp>,
    /// After which time it ends by itself, as 10m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with = "until")]
    pub lasts: Option<Duration>,
}

/// Whether and how long to wait.
#[derive(Debug, Clone, Copy, Args)]
pub struct WaitArgs {
    /// Do not wait until the agents confirm.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for the agents.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub timeout: Duration,
}

impl std::str::FromStr for To {
    type Err = String;
    fn from_str(text: &str) -> Result<To, String> {
        if text == "previous" {
            return Ok(To::Previous);
        }
        let number = text.parse().map_err(|_| "a generation's number, or \"previous\"");
        Ok(To::Generation(number?))
    }
}
