//! The flags by which each of our binaries is told how to reach etcd. In: a command line and the
//! environment. Out: `StoreOptions`. Pure but for the password's variable.

use std::path::PathBuf;

use clap::Args;

use crate::options::{StoreOptions, TlsFiles, User};

/// Not a flag, so that it shows in no list of processes.
const PASSWORD: &str = "TREASUREHUNT_ETCD_PASSWORD";

/// How to reach etcd.
#[derive(Debug, Clone, Args)]
pub struct EtcdFlags {
    /// Endpoints of etcd, separated by commas.
    #[arg(
        long = "etcd",
        env = "TREASUREHUNT_ETCD",
        value_delimiter = ',',
        value_name = "URL",
        default_value = "http://127.0.0.1:2379",
        global = true
    )]
    pub endpoints: Vec<String>,
    /// Authority that signed etcd's certificate (PEM); switches TLS on.
    #[arg(long, env = "TREASUREHUNT_ETCD_CA", value_name = "FILE", global = true)]
    pub etcd_ca: Option<PathBuf>,
    /// Our certificate for etcd (PEM); where etcd asks for one, its common name is our user.
    #[arg(
        long,
        env = "TREASUREHUNT_ETCD_CERT",
        value_name = "FILE",
        requires = "etcd_ca",
        requires = "etcd_key",
        global = true
    )]
    pub etcd_cert: Option<PathBuf>,
    /// The key of our certificate (PEM).
    #[arg(
        long,
        env = "TREASUREHUNT_ETCD_KEY",
        value_name = "FILE",
        requires = "etcd_cert",
        global = true
    )]
    pub etcd_key: Option<PathBuf>,
    /// User of etcd; the password comes from TREASUREHUNT_ETCD_PASSWORD.
    #[arg(long, env = "TREASUREHUNT_ETCD_USER", value_name = "NAME", global = true)]
    pub etcd_user: Option<String>,
}

impl EtcdFlags {
    /// As the store wants it.
    pub fn options(&self) -> StoreOptions {
        let identity = self.etcd_cert.clone().zip(self.etcd_key.clone());
        let tls = self.etcd_ca.clone().map(|ca| TlsFiles { ca, identity, domain: None });
        let password = || std::env::var(PASSWORD).unwrap_or_default();
        let user = self.etcd_user.clone().map(|name| User { name, password: password() });
        StoreOptions { endpoints: self.endpoints.clone(), tls, user, one_connection: false }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        etcd: EtcdFlags,
    }

    fn read(flags: &[&str]) -> Result<StoreOptions, clap::Error> {
        Line::try_parse_from(std::iter::once(&"program").chain(flags))
            .map(|line| line.etcd.options())
    }

    #[test]
    fn files_and_user_reach_the_store() {
        let flags = ["--etcd", "https://a:1,https://b:2", "--etcd-ca", "ca", "--etcd-user", "ana"];
        let options = read(&flags).unwrap();
        assert_eq!(options.endpoints, ["https://a:1", "https://b:2"]);
        assert_eq!(options.tls.unwrap().identity, None);
        assert_eq!(options.user.unwrap().name, "ana");
        let both = ["--etcd-ca", "ca", "--etcd-cert", "mine", "--etcd-key", "key"];
        assert_eq!(read(&both).unwrap().tls.unwrap().identity, Some(("mine".into(), "key".into())));
    }

    #[test]
    fn half_a_certificate_is_refused() {
        for half in [
            ["--etcd-cert", "mine"].as_slice(),
            &["--etcd-key", "key"],
            &["--etcd-ca", "ca", "--etcd-key", "key"],
            &["--etcd-cert", "mine", "--etcd-key", "key"],
        ] {
            assert!(read(half).is_err(), "{half:?}");
        }
    }
}
