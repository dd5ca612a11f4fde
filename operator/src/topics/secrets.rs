//! Secrets for the operator: from a directory laid out as Kubernetes mounts them, or by `get` of the
//! one that is named. In: references. Out: texts that are never printed, or why there are none. I/O.
//!
//! Verb that it needs: secrets get.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::kafka::{Secret, SecretFileError, Secrets, read_secret};
use config_schemas::SecretRef;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A password, a key or a chain of certificates is far shorter; so is Kubernetes' own limit.
const SECRET_BYTES_MAX: u64 = 1 << 20;
/// Longest wait for one Secret.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Why a Secret could not be read. Says which, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not there.
    #[error("there is no Secret {0}")]
    Absent(SecretRef),
    /// It is larger than any that we could use, or no text.
    #[error("Secret {0} is no text, or is longer than {SECRET_BYTES_MAX} bytes")]
    Unusable(SecretRef),
    /// Its file could not be read.
    #[error("reading Secret {reference}")]
    File {
        /// Which.
        reference: SecretRef,
        /// Why.
        #[source]
        source: SecretFileError,
    },
    /// The Kubernetes API did not give it.
    #[error("asking the Kubernetes API for Secret {reference}")]
    Api {
        /// Which.
        reference: SecretRef,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("no answer about Secret {0} within {READ_WITHIN:?}")]
    Late(SecretRef),
    /// Nobody said where Secrets are.
    #[error("Secret {0} is named, and the operator was given no --secrets")]
    Nowhere(SecretRef),
}

/// Where Secrets are.
#[derive(Clone)]
pub enum SecretStore {
    /// Nowhere.
    None,
    /// `<directory>/<name>/<key>`.
    Directory(PathBuf),
    /// In the hunt's namespace.
    Kubernetes(Client),
}

impl SecretStore {
    /// Reads all of these.
    pub async fn read(
        &self,
        namespace: &str,
        wanted: &BTreeSet<SecretRef>,
    ) -> Result<Secrets, SecretError> {
        let mut secrets = Secrets::new();
        for reference in wanted {
            let late = |_| SecretError::Late(reference.clone());
            let secret =
                timeout(READ_WITHIN, self.secret(namespace, reference)).await.map_err(late)??;
            secrets.insert(reference.clone(), secret);
        }
        Ok(secrets)
    }

    async fn secret(&self, namespace: &str, reference: &SecretRef) -> Result<Secret, SecretError> {
        match self {
            SecretStore::None => Err(SecretError::Nowhere(reference.clone())),
            SecretStore::Directory(directory) => file(directory, reference).await,
            SecretStore::Kubernetes(client) => object(client, namespace, reference).await,
        }
    }
}

async fn file(directory: &Path, reference: &SecretRef) -> Result<Secret, SecretError> {
    let (folder, wanted) = (directory.to_owned(), reference.clone());
    let reading = spawn_blocking(move || read_secret(&folder, &wanted, SECRET_BYTES_MAX));
    let read = reading.await.unwrap_or_else(|end| Err(SecretFileError::Unreadable(end.into())));
    let reference = reference.clone();
    read.map_err(|error| match error {
        SecretFileError::Absent => SecretError::Absent(reference),
        SecretFileError::TooLong(_) | SecretFileError::NoText => SecretError::Unusable(reference),
        source => SecretError::File { reference, source },
    })
}

async fn object(
    client: &Client,
    namespace: &str,
    reference: &SecretRef,
) -> Result<Secret, SecretError> {
    let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(reference.name()).await.map_err(|source| SecretError::Api {
        reference: reference.clone(),
        source: Box::new(source),
    })?;
    let bytes = found.and_then(|secret| secret.data?.remove(reference.key()));
    let bytes = bytes.ok_or_else(|| SecretError::Absent(reference.clone()))?;
    let text = String::from_utf8(bytes.0);
    text.map(Secret::new).map_err(|_| SecretError::Unusable(reference.clone()))
}
