//! What can be asked, as typed by people: resolved once, here. In: arguments and environment.
//! Out: typed commands. Pure but for clap's reading of the environment.

mod changing;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use config_schemas::{FieldPath, HuntName, Kind, NodeName, Value, fields};
use store::EtcdFlags;

use crate::dev::args::DevCommand;
use crate::failure::Failure;
use crate::load::args::LoadFlags;
use crate::shown::Format;

pub use changing::*;

const EXIT_CODES: &str = "Exit codes:
  0  done; what was changed is in effect on every node asked
  1  failed, or not confirmed in time; with check, something is not well
  2  bad input, nothing was done; with lint, the files have faults
  3  written, but refused by the fleet or a part of it
  4  etcd, the Kubernetes API or an agent does not answer

Colours are used on a terminal only, and not when NO_COLOR is set.";

/// Sees and steers a live treasure hunt: what runs where, why a value is what it is, and how to
/// change it in milliseconds.
#[derive(Debug, Parser)]
#[command(name = "hunt", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// How to reach etcd.
    #[command(flatten)]
    pub etcd: EtcdFlags,
    /// Form of the answer.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, global = true)]
    pub format: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Nodes, partitions, generations, live edits and what is refused; without NAME, all hunts.
    Status {
        /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
        hunt: Option<HuntName>,
        /// Go on showing it as it changes: a full screen on a terminal, else a line per change.
        #[arg(short, long)]
        watch: bool,
    },
    /// Why a setting has its value: the layer that wins, those that lose, who set them and why.
    Explain {
        /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
        hunt: HuntName,
        /// The setting, as SECTION.FIELD.
        #[arg(value_parser = field_path)]
        field: FieldPath,
        /// As this node should have it, and what the node itself says.
        #[arg(long)]
        node: Option<NodeName>,
    },
    /// Change a setting on running agents; waits until they run it.
    Set(SetArgs),
    /// Take a live edit back: the layer below returns; waits until agents run it.
    Unset {
        /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
        hunt: HuntName,
        /// The setting, as SECTION.FIELD.
        #[arg(value_parser = field_path)]
        field: FieldPath,
        /// The edit for this node alone.
        #[arg(long)]
        node: Option<NodeName>,
        /// Whether and how long to wait.
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Change live edits in an editor: $VISUAL, $EDITOR or vi. Checked first, written together.
    Edit(EditArgs),
    /// What an apply of files would change: on which nodes, what is shadowed, what swaps or moves.
    Diff(DiffArgs),
    /// Make a live edit part of the resource, in its file or in Kubernetes; then take the edit back.
    Promote(PromoteArgs),
    /// The kept generations: when each was written and what it changed.
    History {
        /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
        hunt: HuntName,
    },
    /// Run a kept generation again, at once and everywhere, until lifted or a newer one comes.
    Rollback(RollbackArgs),
    /// Have a node hand its partitions over and take no more, as before its machine is mended.
    Drain(DrainArgs),
    /// Whether files of TreasureHunts are right, as the operator would judge them; needs no etcd.
    Lint {
        /// Files, and folders of them; - is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Whether the hunt is well: one line for each question, with what to do.
    Check {
        /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
        hunt: HuntName,
    },
    /// Where the load is: the fullest nodes, the dearest partitions, hot keys, what waits.
    Top {
        /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
        hunt: HuntName,
        /// Rows of each.
        #[arg(short = 'n', long, default_value_t = 10)]
        rows: usize,
    },
    /// A support bundle: status, configuration, acks, loads, logs; without secrets.
    Report(ReportArgs),
    /// Publish events as players would, at a rate that does not wait for answers; measure, and
    /// judge what became of each.
    Load(LoadArgs),
    /// What a shell needs to complete this command: `source <(hunt completion bash)`.
    Completion {
        /// Which shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Everything on this machine: servers, operator, agents, a guided tour.
    #[command(subcommand)]
    Dev(DevCommand),
}

/// `hunt load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The hunt, as NAMESPACE/NAME; a bare name is in "default".
    #[arg(required_unless_present = "agents")]
    pub hunt: Option<HuntName>,
    /// Agents to publish to, by their HTTP addresses; those that etcd knows when none is named.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with = "hunt")]
    pub agents: Vec<String>,
    /// What to do.
    #[command(flatten)]
    pub load: LoadFlags,
}

/// `hunt diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Files of TreasureHunts, and folders of them; - is standard input.
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// End with exit code 1 when anything would change.
    #[arg(long)]
    pub exit_code: bool,
}

/// `hunt report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The hunt, as NAMESPACE/NAME; a bare name is in "default". All when not given.
    pub hunt: Option<HuntName>,
    /// The archive; hunt-report-TIME.tar.gz in this folder when not given.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A folder instead of an archive.
    #[arg(long, value_name = "FOLDER", conflicts_with = "file")]
    pub folder: Option<PathBuf>,
}

/// A shell whose command lines can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// GNU's.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly one.
    Fish,
}

/// The name under which help shows the command: as a plugin of kubectl, or its own.
pub fn called(program: Option<OsString>) -> &'static str {
    let program = program.map(PathBuf::from);
    let name = program.as_deref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    if name.is_some_and(|name| name.starts_with("kubectl-")) { "kubectl hunt" } else { "hunt" }
}

/// Whether arguments that cannot be read ask for JSON all the same: programs read errors too.
pub fn wants_json(args: impl IntoIterator<Item = OsString>) -> bool {
    let (mut asked, mut named) = (false, false);
    for arg in args {
        let Some(arg) = arg.to_str() else { continue };
        if arg == "--" {
            break;
        }
        let joined = arg.strip_prefix("--output=").or_else(|| {
            let short = arg.strip_prefix("-o")?;
            Some(short.strip_prefix('=').unwrap_or(short))
        });
        let value = if named { Some(arg) } else { joined.filter(|value| !value.is_empty()) };
        asked = value.map_or(asked, |value| value == "json");
        named = !named && matches!(arg, "-o" | "--output");
    }
    asked
}

/// What is wrong with the arguments, in one sentence, and how they are used.
pub fn failure(error: &clap::Error) -> Failure {
    // Which of the two it is hangs on whether the environment names an etcd.
    let missing =
        [ErrorKind::MissingSubcommand, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
    if missing.contains(&error.kind()) {
        return Failure::bad_input("a command is missing").hint("`--help` lists them");
    }
    let text = error.render().to_string();
    let words = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = text.trim().split("\n\n").map(words);
    let message = parts.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    Failure::bad_input(message).hint(parts.collect::<Vec<_>>().join("; "))
}

/// A setting that exists, or the names of those that do.
pub fn field_path(text: &str) -> Result<FieldPath, String> {
    FieldPath::parse(text).ok_or_else(|| {
        let section = text.split('.').next().unwrap_or_default();
        let near: Vec<_> = fields()
            .map(|field| field.path)
            .filter(|path| path.section() == section)
            .map(|path| path.to_string())
            .collect();
        if near.is_empty() {
            let names: Vec<_> = config_schemas::SECTIONS.iter().map(|s| s.name).collect();
            format!("a setting is SECTION.FIELD; the sections are {}", names.join(", "))
        } else {
            format!("section {section} has {}", near.join(", "))
        }
    })
}

/// A time with a unit, as in settings.
pub fn duration(text: &str) -> Result<Duration, String> {
    const ANY: Kind = Kind::Duration {
        default: Duration::from_secs(1),
        min: Duration::from_millis(1),
        max: Duration::from_secs(366 * 24 * 3600),
    };
    match ANY.read(&serde_json::Value::from(text)) {
        Ok(Value::Duration(time)) => Ok(time),
        Ok(_) => Err(ANY.allowed()),
        Err(allowed) => Err(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn check(line: &str, error: Option<&str>) {
        let parsed = Cli::try_parse_from(line.split_whitespace());
        match (parsed, error) {
            (Ok(_), None) => {}
            (Err(found), Some(expected)) => {
                assert_eq!(found.exit_code(), 2);
                assert!(found.to_string().contains(expected), "{line}: {found}");
            }
            (found, _) => panic!("{line}: {found:?}"),
        }
    }

    #[test]
    fn arguments_are_checked_with_what_would_be_allowed() {
        check("hunt status", None);
        check("hunt status harbour -o json", None);
        check("hunt set harbour buffers.events 128 --for 10m --reason x", None);
        check("hunt set harbour buffers.events -5", None);
        check("hunt rollback harbour 3", None);
        check("hunt rollback harbour --to previous", None);
        check("hunt rollback harbour --lift", None);
        check("hunt rollback harbour", Some("GENERATION"));
        check("hunt rollback harbour 3 --lift", Some("cannot be used with"));
        check("hunt rollback harbour --to last", Some("previous"));
        check("hunt explain harbour buffers.size", Some("buffers.events"));
        check("hunt explain harbour treasure", Some("heartbeat"));
        check("hunt explain Harbour! buffers.events", Some("is not a name"));
        check("hunt set harbour buffers.events 1 --until tomorrow", Some("--until"));
        check("hunt set harbour buffers.events 1 --for 10", Some("a time with a unit"));
        check("hunt set harbour buffers.events 1 --absent", Some("--node"));
        check("hunt -o xml status", Some("json"));
        check("hunt status --watch", None);
        check("hunt edit harbour --reason x --for 1h --no-wait", None);
        check("hunt edit", Some("HUNT"));
        check("hunt diff -f a -f b --exit-code", None);
        check("hunt diff a", Some("unexpected argument"));
        check("hunt promote harbour buffers.events", None);
        check("hunt promote harbour buffers.events --print", Some("--file"));
        check("hunt promote harbour buffers.events -f a --context b", Some("cannot be used"));
        check("hunt drain harbour agent-1 --undo", None);
        check("hunt drain harbour agent-1 --undo --absent", Some("cannot be used"));
        check("hunt drain harbour", Some("NODE"));
        check("hunt lint", Some("FILE"));
        check("hunt top harbour -n 3", None);
        check("hunt report --folder a --file b", Some("cannot be used"));
        check("hunt completion csh", Some("bash"));
    }

    #[test]
    fn json_is_asked_for_in_every_form_that_clap_reads() {
        for (line, expected) in [
            ("-o json status", true),
            ("status --output json x y", true),
            ("status -ojson", true),
            ("status -o=json", true),
            ("status --output=json", true),
            ("-o json status -o yaml", false),
            ("status --owner json", false),
            ("status -- -o json", false),
            ("status", false),
        ] {
            let found = wants_json(line.split(' ').map(OsString::from));
            assert_eq!(found, expected, "{line}");
            if let Ok(cli) = Cli::try_parse_from(format!("hunt {line}").split(' ')) {
                assert_eq!(cli.format == Format::Json, expected, "{line}");
            }
        }
    }

    #[test]
    fn help_shows_the_name_by_which_the_command_was_called() {
        for (program, expected) in [
            (Some("/usr/bin/hunt"), "hunt"),
            (Some("/usr/bin/kubectl-hunt"), "kubectl hunt"),
            (None, "hunt"),
        ] {
            assert_eq!(called(program.map(OsString::from)), expected, "{program:?}");
        }
    }

    #[test]
    fn every_option_is_described() {
        let mut command = Cli::command();
        command.build();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
                let shows = !arg.is_hide_possible_values_set() && arg.get_action().takes_values();
                for value in arg.get_possible_values().iter().filter(|_| shows) {
                    let is_switch = ["true", "false"].contains(&value.get_name());
                    assert!(is_switch || value.get_help().is_some(), "{}", value.get_name());
                }
            }
            open.extend(command.get_subcommands().cloned());
        }
    }
}
