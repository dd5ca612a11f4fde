//! Log output: for people on a terminal, as JSON lines otherwise. In: what `tracing` is told.
//! Out: standard error. Secrets are kept out by their types, whose `Debug` is redacted.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` says nothing: our own parts, and only trouble of others.
const FILTER_DEFAULT: &str = "warn,agent=info,operator=info,store=info,broker=info,hunt=info";

/// Sets the output up; a second call changes nothing, so that tests may call it freely.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| FILTER_DEFAULT.into());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The error says that output was already set up.
    let _ = if std::io::stderr().is_terminal() {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
