//! From a hunt's configuration to a way to its cluster: which Secrets it needs, and, with their
//! texts, how to connect. In: typed settings, Secrets that somebody read. Out: options of clients, or
//! every reason why there are none, by field and without any secret. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config_schemas::{BrokerKind, Config, HuntName, SaslMechanism, SecretRef, TopicRole};

use super::KafkaOptions;
use super::connection::{Bootstrap, Connection, Identity, Login, Mechanism, Secret, Tls};
use super::settings::ClientSettings;

/// The texts of Secrets, as far as they could be read.
pub type Secrets = BTreeMap<SecretRef, Secret>;

/// The Secrets that are in use: none that only stand there, so that none is read for nothing.
pub fn secret_refs(config: &Config) -> BTreeSet<SecretRef> {
    secret_fields(config).into_keys().collect()
}

/// The same with the setting that names each, for messages.
pub fn secret_fields(config: &Config) -> BTreeMap<SecretRef, &'static str> {
    let kafka = &config.kafka;
    if config.broker.kind != BrokerKind::Kafka {
        return BTreeMap::new();
    }
    let known = kafka.mechanism != SaslMechanism::None;
    let all = [
        (kafka.tls, &kafka.authority, "kafka.authority"),
        (kafka.tls, &kafka.certificate, "kafka.certificate"),
        (kafka.tls, &kafka.privateKey, "kafka.privateKey"),
        (known, &kafka.password, "kafka.password"),
    ];
    let used = all.into_iter().filter(|(used, ..)| *used);
    used.filter_map(|(_, reference, field)| Some((reference.clone()?, field))).collect()
}

impl KafkaOptions {
    /// How to reach the hunt's cluster and topics. `client_id` is how this process is called there.
    /// The error names every problem as `section.field: what is wrong`.
    pub fn of(
        config: &Config,
        hunt: &HuntName,
        client_id: &str,
        secrets: &Secrets,
    ) -> Result<KafkaOptions, Vec<String>> {
        let connection = connection(config, secrets)?;
        let problems = connection.problems();
        if !problems.is_empty() {
            return Err(problems);
        }
        let topic = |role| config.topics.name(role, hunt);
        Ok(KafkaOptions {
            events: topic(TopicRole::Events),
            outcomes: topic(TopicRole::Outcomes),
            snapshots: topic(TopicRole::Snapshots),
            dead: topic(TopicRole::DeadLetters),
            partitions: u32::try_from(config.partitions.count).unwrap_or(u32::MAX),
            cluster: None,
            client_id: client_id.to_owned(),
            connection,
            settings: ClientSettings::from(config),
        })
    }
}

/// Where the cluster is and who we are to it.
pub fn connection(config: &Config, secrets: &Secrets) -> Result<Connection, Vec<String>> {
    let mut reading = Reading { secrets, problems: Vec::new() };
    let bootstrap = reading.bootstrap(config);
    let tls = config.kafka.tls.then(|| reading.tls(config));
    let login = reading.login(config);
    match (bootstrap, reading.problems) {
        (Some(bootstrap), problems) if problems.is_empty() => {
            Ok(Connection { bootstrap, tls, login })
        }
        (_, problems) => Err(problems),
    }
}

/// What has been found wrong so far; nothing ends it early, so that all is named at once.
struct Reading<'a> {
    secrets: &'a Secrets,
    problems: Vec<String>,
}

impl Reading<'_> {
    fn bootstrap(&mut self, config: &Config) -> Option<Bootstrap> {
        let addresses = &config.kafka.bootstrap;
        if addresses.is_empty() {
            self.wrong("kafka.bootstrap", "names no broker");
            return None;
        }
        let parsed = addresses.join(",").parse();
        parsed.map_err(|error| self.wrong("kafka.bootstrap", &format!("{error}"))).ok()
    }

    fn tls(&mut self, config: &Config) -> Tls {
        let kafka = &config.kafka;
        let authority = kafka.authority.as_ref();
        let authority = authority.and_then(|at| self.pem("kafka.authority", at, "CERTIFICATE"));
        let authority = authority.map(|pem| pem.reveal().to_owned());
        let identity = match (&kafka.certificate, &kafka.privateKey) {
            (None, _) => None,
            (Some(_), None) => {
                self.wrong("kafka.certificate", "is of no use without kafka.privateKey");
                None
            }
            (Some(certificate), Some(key)) => {
                let certificate = self.pem("kafka.certificate", certificate, "CERTIFICATE");
                let key = self.pem("kafka.privateKey", key, "PRIVATE KEY");
                let certificate = certificate.map(|pem| pem.reveal().to_owned());
                certificate.zip(key).map(|(certificate, key)| Identity { certificate, key })
            }
        };
        Tls { authority, identity }
    }

    fn login(&mut self, config: &Config) -> Option<Login> {
        let kafka = &config.kafka;
        let mechanism = match kafka.mechanism {
            SaslMechanism::None => return None,
            SaslMechanism::Plain => Mechanism::Plain,
            SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
        };
        if kafka.user.is_empty() {
            self.wrong("kafka.user", "is empty");
        }
        let Some(reference) = &kafka.password else {
            self.wrong("kafka.password", "names no Secret");
            return None;
        };
        let text = self.secret("kafka.password", reference)?;
        // Whoever writes a file by hand ends its line, and no password ends with one.
        let text = text.reveal().strip_suffix('\n').unwrap_or(text.reveal());
        let password = text.strip_suffix('\r').unwrap_or(text);
        if password.is_empty() || password.contains('\0') {
            self.wrong(
                "kafka.password",
                &format!("Secret {reference} is empty, or holds a zero byte"),
            );
        }
        Some(Login { mechanism, user: kafka.user.clone(), password: Secret::new(password) })
    }

    /// A text in PEM that holds what is asked for.
    fn pem(&mut self, field: &str, reference: &SecretRef, holds: &str) -> Option<Secret> {
        let text = self.secret(field, reference)?;
        let why = match () {
            () if is_encrypted(text.reveal()) => "has a password of its own, and must have none",
            () if !is_pem(text.reveal(), holds) => "is not PEM, or not what belongs there",
            () => return Some(text),
        };
        self.wrong(field, &format!("Secret {reference} {why}"));
        None
    }

    fn secret(&mut self, field: &str, reference: &SecretRef) -> Option<Secret> {
        let found = self.secrets.get(reference).cloned();
        if found.is_none() {
            self.wrong(field, &format!("Secret {reference} is not there"));
        }
        found
    }

    fn wrong(&mut self, field: &str, what: &str) {
        self.problems.push(format!("{field}: {what}"));
    }
}

/// Whether one block of the text is of that kind and ends; what is in it, the client judges.
fn is_pem(text: &str, holds: &str) -> bool {
    let whole = |block: &str| {
        let Some((label, body)) = block.split_once("-----") else { return false };
        label.ends_with(holds) && body.contains(&format!("-----END {label}-----"))
    };
    !text.contains('\0') && text.split("-----BEGIN ").skip(1).any(whole)
}

/// Nobody is there to type the password of a key.
fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;
    use config_schemas::read_sections;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nS0VZ\n-----END EC PRIVATE KEY-----\n";

    fn config(text: &str) -> Config {
        let sections = serde_json::from_str(text).unwrap();
        let read = read_sections(&sections);
        assert_eq!((read.problems, read.unknown), (vec![], vec![]));
        Config::from_values(&read.values)
    }

    fn full() -> Config {
        config(
            r#"{"broker": {"kind": "kafka"}, "partitions": {"count": 64},
                "topics": {"events": "in"}, "producer": {"linger": "7ms"},
                "kafka": {"bootstrap": ["a:1", "b:2"], "tls": true,
                "authority": {"name": "ca", "key": "ca.crt"},
                "certificate": {"name": "us", "key": "tls.crt"},
                "privateKey": {"name": "us", "key": "tls.key"},
                "mechanism": "scram-sha-512", "user": "ana",
                "password": {"name": "us", "key": "password"}}}"#,
        )
    }

    fn secrets(list: &[(&str, &str)]) -> Secrets {
        let entry = |(at, text): &(&str, &str)| {
            let (name, key) = at.split_once('/').unwrap();
            (SecretRef::new(name, key).unwrap(), Secret::new(*text))
        };
        list.iter().map(entry).collect()
    }

    fn all() -> [(&'static str, &'static str); 4] {
        [
            ("ca/ca.crt", CERTIFICATE),
            ("us/tls.crt", CERTIFICATE),
            ("us/tls.key", KEY),
            ("us/password", "pa55\n"),
        ]
    }

    fn of(config: &Config, secrets: &Secrets) -> Result<KafkaOptions, Vec<String>> {
        let hunt = HuntName::new("play", "harbour").unwrap();
        KafkaOptions::of(config, &hunt, "agent-1", secrets)
    }

    #[test]
    fn a_whole_configuration_becomes_options() {
        let options = of(&full(), &secrets(&all())).unwrap();
        assert_eq!((&*options.events, &*options.dead), ("in", "play.harbour.dead"));
        assert_eq!((options.partitions, options.connection.bootstrap.as_str()), (64, "a:1,b:2"));
        assert_eq!(options.settings.producer.linger.as_millis(), 7);
        let login = options.connection.login.as_ref().unwrap();
        assert_eq!((&*login.user, login.password.reveal()), ("ana", "pa55"));
        let identity = options.connection.tls.as_ref().unwrap().identity.as_ref().unwrap();
        assert_eq!(identity.key.reveal(), KEY);
        let printed = format!("{options:?}");
        assert!(!printed.contains("pa55") && !printed.contains("S0VZ"), "{printed}");
    }

    #[test]
    fn only_what_is_used_is_asked_for() {
        let check = |text: &str, expected: &[&str]| {
            let found = secret_refs(&config(text));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        };
        let whole: Vec<_> = secret_refs(&full()).iter().map(ToString::to_string).collect();
        assert_eq!(whole, ["ca/ca.crt", "us/password", "us/tls.crt", "us/tls.key"]);
        let login = r#""user": "ana", "password": {"name": "a", "key": "b"}"#;
        check(&format!(r#"{{"kafka": {{"mechanism": "scram-sha-512", {login}}}}}"#), &[]);
        let kafka = r#""broker": {"kind": "kafka"}, "kafka": {"bootstrap": ["a:1"]"#;
        check(&format!("{{{kafka}, {login}}}}}"), &[]);
        check(&format!(r#"{{{kafka}, "mechanism": "scram-sha-512", {login}}}}}"#), &["a/b"]);
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once_and_nothing_is_shown() {
        let check = |config: &Config, list: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(of(config, &secrets(list)).unwrap_err(), expected);
        };
        check(
            &full(),
            &[],
            &[
                "kafka.authority: Secret ca/ca.crt is not there",
                "kafka.certificate: Secret us/tls.crt is not there",
                "kafka.privateKey: Secret us/tls.key is not there",
                "kafka.password: Secret us/password is not there",
            ],
        );
        let mut wrong = all();
        (wrong[0].1, wrong[1].1, wrong[3].1) = ("s3cret", KEY, "\n");
        wrong[2].1 = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nS0VZ\n";
        check(
            &full(),
            &wrong,
            &[
                "kafka.authority: Secret ca/ca.crt is not PEM, or not what belongs there",
                "kafka.certificate: Secret us/tls.crt is not PEM, or not what belongs there",
                "kafka.privateKey: Secret us/tls.key has a password of its own, and must have none",
                "kafka.password: Secret us/password is empty, or holds a zero byte",
            ],
        );
        let mut cut = all();
        cut[0].1 = "-----BEGIN CERTIFICATE-----\nQUJD\n";
        check(
            &full(),
            &cut,
            &["kafka.authority: Secret ca/ca.crt is not PEM, or not what belongs there"],
        );
        let mut empty = full();
        empty.kafka.bootstrap.clear();
        check(&empty, &all(), &["kafka.bootstrap: names no broker"]);
        let mut nobody = full();
        (nobody.kafka.user, nobody.kafka.password) = (String::new(), None);
        nobody.kafka.privateKey = None;
        check(
            &nobody,
            &all(),
            &[
                "kafka.certificate: is of no use without kafka.privateKey",
                "kafka.user: is empty",
                "kafka.password: names no Secret",
            ],
        );
    }
}
