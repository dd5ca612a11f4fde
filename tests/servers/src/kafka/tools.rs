//! The command-line tools of the distribution: their names and the classes behind them. Comes in:
//! name and arguments. Goes out: what the tool wrote, or a script that runs it. I/O: runs a Java
//! process of about a second.

use super::options::QUIET;
use crate::poll::{ServerError, run_tool};
use crate::programs::KafkaPrograms;

/// Heap of a tool in MiB: they hold a few records.
const HEAP_MB: u32 = 128;

/// The scripts of the distribution are not in its packages; these are the classes that they run.
const TOOLS: &[(&str, &str)] = &[
    ("kafka-acls", "org.apache.kafka.tools.AclCommand"),
    ("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-dump-log", "org.apache.kafka.tools.DumpLogSegments"),
    ("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    ("kafka-metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
    ("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
    ("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
];

/// Tools that read files, and know of no brokers.
const OF_FILES: [&str; 1] = ["kafka-dump-log"];

/// Runs the tool to its end, at most a minute.
pub(super) async fn run(
    programs: &KafkaPrograms,
    bootstrap: &str,
    name: &str,
    args: &[&str],
    input: Option<&str>,
) -> Result<String, ServerError> {
    let Some((_, class)) = TOOLS.iter().find(|(known, _)| *known == name) else {
        let stderr = "there is no such tool".to_owned();
        return Err(ServerError::ToolFailed { command: name.to_owned(), stderr });
    };
    let mut all = java_args(programs, class);
    all.extend(with_bootstrap(bootstrap, name, args).into_iter().map(str::to_owned));
    run_tool(&programs.java, &all, input).await
}

/// All tools by name, each as a shell script for people: as in the distribution, but that it asks
/// the cluster at `bootstrap` unless it is told another.
pub(super) fn scripts(programs: &KafkaPrograms, bootstrap: &str) -> Vec<(&'static str, String)> {
    let script = |&(name, class): &(&'static str, &str)| {
        let java = programs.java.display().to_string();
        let words = std::iter::once(java).chain(java_args(programs, class));
        let words: Vec<String> = words.map(|word| quoted(&word)).collect();
        let asks = if OF_FILES.contains(&name) {
            String::new()
        } else {
            format!(
                "# Asks the cluster of this environment unless told another.\ncase \" $* \" in\n*' \
                 --bootstrap-server '*) ;;\n*) set -- \"$@\" --bootstrap-server {bootstrap} ;;\nesac\n"
            )
        };
        let (version, command) = (programs.version, words.join(" "));
        let head = format!("#!/bin/sh\n# {name} of Kafka {version}.\n");
        (name, format!("{head}{asks}exec {command} \"$@\"\n"))
    };
    TOOLS.iter().map(script).collect()
}

fn java_args(programs: &KafkaPrograms, class: &str) -> Vec<String> {
    let mut all = vec![QUIET.to_owned()];
    all.extend(programs.java_args(HEAP_MB, class));
    all
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last place suits all tools: some have a command of their own before the flags.
fn with_bootstrap<'a>(bootstrap: &'a str, name: &str, args: &[&'a str]) -> Vec<&'a str> {
    let mut all = args.to_vec();
    if !args.contains(&"--bootstrap-server") && !OF_FILES.contains(&name) {
        all.extend(["--bootstrap-server", bootstrap]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expected: &[&str]) {
        assert_eq!(with_bootstrap("b:1", "kafka-topics", args), expected);
        assert_eq!(with_bootstrap("b:1", "kafka-dump-log", args), args);
    }

    #[test]
    fn a_word_stays_one_in_a_shell() {
        assert_eq!([quoted("a b"), quoted("it's")], ["'a b'", r"'it'\''s'"]);
    }

    #[test]
    fn tools_ask_the_cluster_unless_told_otherwise() {
        check(&["--list"], &["--list", "--bootstrap-server", "b:1"]);
        check(&["--bootstrap-server", "c:2", "--list"], &["--bootstrap-server", "c:2", "--list"]);
    }
}
