//! `hunt completion`: what a shell needs to complete our command line. In: which shell. Out: its
//! script. Pure but for writing it.

use clap::CommandFactory as _;
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use crate::args::{Cli, Shell};
use crate::failure::Failure;
use crate::shown;

/// `hunt completion`.
pub fn run(shell: Shell) -> Result<(), Failure> {
    shown::write(&script(shell))
}

fn script(shell: Shell) -> String {
    let mut command = Cli::command();
    let mut script = Vec::new();
    match shell {
        Shell::Bash => generate(Bash, &mut command, "hunt", &mut script),
        Shell::Zsh => generate(Zsh, &mut command, "hunt", &mut script),
        Shell::Fish => generate(Fish, &mut command, "hunt", &mut script),
    }
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?}: {}", command.get_name());
            }
        }
    }
}
