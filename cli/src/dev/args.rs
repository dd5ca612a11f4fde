//! What `hunt dev` can be asked.
use clap::Subcommand;

/// Everything on this machine.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Ends all that `up` started, and nothing else.
    Down,
}
