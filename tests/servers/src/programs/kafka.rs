//! Kafka and its tools: Java from PATH, the jars by Maven into the cache, once for each set of
//! pins, and beside them an archive of loaded classes, which halves the start of a broker. Comes
//! in: PATH and a cache folder. Goes out: what to run Java with. I/O: runs Maven and a broker.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::steps::{at, attend, broken, remove};
use super::{Places, ProgramsError, Progress, Step, Unavailable, Version, cache};
use crate::kafka::{KafkaNode, KafkaOptions};
use crate::poll::ServerError;
use crate::process::guarded::Guarded;
use crate::process::launch::{Launch, find_program, log_tail};

/// What pom.xml pins.
const KAFKA_VERSION: Version = Version { major: 4, minor: 3 };
/// Oldest major version of Java that Kafka 4 runs on.
const JAVA_MIN: u32 = 17;
/// What Maven is told, carried in the program: `hunt` works without its checkout.
const POM: &str = include_str!("../../kafka/pom.xml");
/// On a dead network Maven gives up by itself, but only after each file has had its turn.
const FETCH_LIMIT: Duration = Duration::from_secs(15 * 60);
/// A broker that ends writes the archive: 5 s on a quiet machine.
const ARCHIVE_LIMIT: Duration = Duration::from_secs(120);

/// For a start in one second rather than three on two cores: the quick compiler only, and the
/// collector without threads of its own. Java's remarks on its archive help nobody.
const JAVA_FLAGS: [&str; 5] = [
    "-Xms64m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
];

/// Kafka's server and tools: what to run Java with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaPrograms {
    /// Java 17 or newer.
    pub java: PathBuf,
    /// The folder of all jars.
    pub jars: PathBuf,
    /// Kafka's version.
    pub version: Version,
    flags_file: PathBuf,
    archive_flags: Vec<String>,
}

impl KafkaPrograms {
    /// Finds Java, and finds or fetches Kafka: half a minute the first time. Blocks.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn ensure(
        places: &Places,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<Self, Unavailable> {
        let Some((java, said)) = find_java(places) else {
            return Err(left_out(&format!("there is no Java {JAVA_MIN} or newer on PATH")));
        };
        let folder = places.cache.join(format!("kafka-{}", cache::key(&[("pom.xml", POM)])));
        let jars = folder.join("jars");
        if !jars.is_dir() {
            let Some(maven) = find_program(&places.path, Path::new("mvn")) else {
                return Err(left_out("there is no Maven (mvn) on PATH to fetch it"));
            };
            fetch(&folder, &jars, &maven, progress).map_err(|error| broken("Kafka", &error))?;
        }
        let flags = flags(&jars).map_err(|error| broken("Kafka", &error))?;
        let key = cache::key(&[("java", &said), ("flags", &flags)]);
        let flags_file = folder.join(format!("java-{key}.flags"));
        write_once(&flags_file, &flags).map_err(|error| broken("Kafka", &error))?;
        let bare =
            Self { java, jars, version: KAFKA_VERSION, flags_file, archive_flags: Vec::new() };
        let archive = folder.join(format!("classes-{key}.jsa"));
        if !archive.is_file() {
            bare.make_archive(&folder, &archive, progress)
                .map_err(|error| broken("Kafka", &error))?;
        }
        let flag = format!("-XX:SharedArchiveFile={}", archive.display());
        Ok(Self { archive_flags: vec![flag, "-Xshare:auto".to_owned()], ..bare })
    }

    /// The same for everyone in this process, from PATH and the default cache: for tests.
    ///
    /// # Errors
    /// As [`KafkaPrograms::ensure`].
    pub async fn shared() -> Result<&'static Self, Unavailable> {
        static SHARED: OnceCell<KafkaPrograms> = OnceCell::const_new();
        let ensure = || Self::ensure(&Places::default(), &mut |_| ());
        SHARED.get_or_try_init(|| super::blocking(ensure)).await
    }

    /// The same for tests: none, said aloud, on a machine that cannot have Kafka.
    ///
    /// # Panics
    /// When Kafka can be had and is broken.
    #[allow(clippy::print_stdout, reason = "what is left out is said aloud")]
    pub async fn shared_or_left_out() -> Option<&'static Self> {
        match Self::shared().await {
            Ok(programs) => Some(programs),
            Err(left_out) if !left_out.is_fault => {
                println!("{left_out}");
                None
            }
            Err(fault) => panic!("{fault}"),
        }
    }

    /// The arguments of Java that run `class` with a heap of so many MiB; what the class is to be
    /// told comes after them.
    #[must_use]
    pub fn java_args(&self, heap_mb: u32, class: &str) -> Vec<String> {
        let all = [format!("@{}", self.flags_file.display()), format!("-Xmx{heap_mb}m")];
        all.into_iter().chain(self.archive_flags.clone()).chain([class.to_owned()]).collect()
    }

    /// Runs a broker once: Java writes the classes that it has loaded when it ends.
    fn make_archive(
        &self,
        folder: &Path,
        archive: &Path,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), ProgramsError> {
        let _lock = cache::lock(folder, "kafka", progress)?;
        if archive.is_file() {
            return Ok(());
        }
        let began = Instant::now();
        let work = tempfile::tempdir_in(folder).map_err(|source| at(folder, source))?;
        let beside = work.path().join("classes.jsa");
        let trial = self.trial(work.path(), &beside);
        attend("kafka", Step::Archiving, progress, trial)?.map_err(ProgramsError::Trial)?;
        std::fs::rename(&beside, archive).map_err(|source| at(archive, source))?;
        progress(&Progress {
            program: "kafka",
            elapsed: began.elapsed(),
            step: Step::Built(archive),
        });
        Ok(())
    }

    async fn trial(&self, dir: &Path, archive: &Path) -> Result<(), ServerError> {
        let options = KafkaOptions::of_nodes(dir, 1)?;
        options.prepare(self).await?;
        let flag = format!("-XX:ArchiveClassesAtExit={}", archive.display());
        let writing = Self { archive_flags: vec![flag], ..self.clone() };
        let mut node = KafkaNode::spawn(&writing, &options, 1)?;
        node.ready().await?;
        node.stop(ARCHIVE_LIMIT).await
    }
}

/// Copies beside and renames, so that the folder of jars is always whole.
fn fetch(
    folder: &Path,
    jars: &Path,
    maven: &Path,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<(), ProgramsError> {
    let _lock = cache::lock(folder, "kafka", progress)?;
    if jars.is_dir() {
        return Ok(());
    }
    let began = Instant::now();
    let (pom, store, beside) =
        (folder.join("pom.xml"), folder.join("maven"), folder.join("jars.new"));
    std::fs::write(&pom, POM).map_err(|source| at(&pom, source))?;
    remove(&beside)?;
    let define = |name: &str, path: &Path| format!("-D{name}={}", path.display());
    let launch = Launch::new(maven, folder.join("maven.log"))
        // What comes is checked against the checksums beside it, or refused.
        .args(["--batch-mode", "--no-transfer-progress", "--strict-checksums", "--file"])
        .arg(&pom)
        .arg(define("maven.repo.local", &store))
        .arg(define("outputDirectory", &beside))
        .arg("dependency:copy-dependencies");
    let cannot = |source| {
        let source = std::io::Error::other(source);
        ProgramsError::Run { program: "mvn".to_owned(), source }
    };
    let mut child = Guarded::spawn(&launch).map_err(cannot)?;
    let status = attend("kafka", Step::Fetching, progress, child.wait(FETCH_LIMIT))?;
    if !status.map_err(cannot)?.success() {
        let tail = log_tail(&launch.log);
        return Err(ProgramsError::Build { program: "kafka".to_owned(), log: launch.log, tail });
    }
    std::fs::rename(&beside, jars).map_err(|source| at(jars, source))?;
    remove(&store)?;
    progress(&Progress { program: "kafka", elapsed: began.elapsed(), step: Step::Built(jars) });
    Ok(())
}

/// Java on PATH that is new enough, and all that it says of itself: an archive fits no other.
fn find_java(places: &Places) -> Option<(PathBuf, String)> {
    let java = find_program(&places.path, Path::new("java"))?;
    let output = Command::new(&java).arg("--version").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (java_major(&said)? >= JAVA_MIN).then_some((java, said))
}

/// From `openjdk 17.0.15 2025-04-15`, or `java 21 2023-09-19`.
fn java_major(said: &str) -> Option<u32> {
    let word = said.split_whitespace().nth(1)?;
    word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What Java reads from a file, since 92 jars are too long to be told in any message. They come in
/// one order: the archive is refused when it changes.
fn flags(jars: &Path) -> Result<String, ProgramsError> {
    let entries = std::fs::read_dir(jars).map_err(|source| at(jars, source))?;
    let mut paths: Vec<String> =
        entries.flatten().map(|entry| entry.path().display().to_string()).collect();
    paths.sort_unstable();
    let quoted = paths.join(":").replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!("{}\n-cp\n\"{quoted}\"\n", JAVA_FLAGS.join("\n")))
}

/// Its name tells its text, so that one that is there is right.
fn write_once(path: &Path, text: &str) -> Result<(), ProgramsError> {
    if path.is_file() {
        return Ok(());
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|source| at(path, source))
}

fn left_out(lack: &str) -> Unavailable {
    let reason =
        format!("Kafka is left out: {lack} (Debian's packages: default-jre-headless and maven).");
    Unavailable { reason, is_fault: false }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_version_named_here_is_the_one_that_the_pom_pins() {
        let pinned = format!("<version>{KAFKA_VERSION}.");
        assert_eq!(POM.matches(&pinned).count(), 2, "{POM}");
    }

    fn check_major(said: &str, expected: Option<u32>) {
        assert_eq!(java_major(said), expected, "{said}");
    }

    #[test]
    fn java_tells_its_version_with_and_without_a_dot() {
        check_major("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime", Some(17));
        check_major("java 21 2023-09-19 LTS", Some(21));
        check_major("openjdk 25-ea 2025-09-16", Some(25));
        check_major("Unrecognized option: --version", None);
        check_major("", None);
    }

    /// What is said on a machine whose `java` says `said` and that has nothing else.
    fn check(said: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let java = folder.path().join("java");
        std::fs::write(&java, format!("#!/bin/sh\necho {said}\n")).unwrap();
        std::fs::set_permissions(&java, PermissionsExt::from_mode(0o755)).unwrap();
        let places = Places { path: folder.path().into(), cache: folder.path().join("cache") };
        let left_out = KafkaPrograms::ensure(&places, &mut |_| ()).unwrap_err();
        assert!(!left_out.is_fault && left_out.reason.contains(expected), "{left_out}");
        assert!(!places.cache.exists());
    }

    #[test]
    fn without_java_or_maven_kafka_is_left_out_with_a_sentence() {
        check("nothing", "no Java 17 or newer on PATH");
        check("openjdk 11.0.2 2019-01-15", "no Java 17 or newer on PATH");
        check("openjdk 17.0.15 2025-04-15", "no Maven (mvn) on PATH");
    }

    #[test]
    fn a_maven_that_fails_is_a_fault_that_shows_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("java", "echo openjdk 21.0.1 2023-10-17"), ("mvn", "echo no such artifact; exit 1")]
        {
            let program = folder.path().join(name);
            std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let places = Places { path: folder.path().into(), cache: folder.path().join("cache") };
        let left_out = KafkaPrograms::ensure(&places, &mut |_| ()).unwrap_err();
        assert!(left_out.is_fault && left_out.reason.contains("no such artifact"), "{left_out}");
    }
}
