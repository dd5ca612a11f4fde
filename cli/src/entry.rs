//! What both programs, `hunt` and `kubectl-hunt`, do: read the arguments, do what is asked, and say
//! how it went. I/O.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{self, Cli};
use crate::failure::{Code, Failure};
use crate::shown::Format;

/// Runs the command line that this process was given.
pub async fn run() -> ExitCode {
    let name = args::called(std::env::args_os().next());
    let parsed = Cli::command()
        .bin_name(name)
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let format = cli.format;
    match crate::commands::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure, format);
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Help that was asked for, or what is wrong with the arguments.
fn misused(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && args::wants_json(std::env::args_os().skip(1)) {
        tell(&args::failure(error), Format::Json);
    } else {
        // A closed stream leaves the exit code.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Code::BadInput as u8))
}

/// Says on standard error what failed, in the form that was asked for.
fn tell(failure: &Failure, format: Format) {
    let text = match format {
        Format::Json => {
            let code = failure.code as u8;
            let json = serde_json::json!({
                "error": failure.message, "hint": failure.hint, "exitCode": code,
            });
            format!("{json}\n")
        }
        _ => {
            let hint = failure.hint.as_ref().map(|hint| format!("hint: {hint}\n"));
            format!("hunt: {}\n{}", failure.message, hint.unwrap_or_default())
        }
    };
    // What failed may repeat what strangers wrote. A closed standard error leaves the exit code.
    let text = crate::shown::harmless(&text);
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
