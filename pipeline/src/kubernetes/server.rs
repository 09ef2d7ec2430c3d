//! Where the API server is and how to get in, as a configuration says it.
//!
//! Takes Prometheus' `api_server`, `kubeconfig_file` and client keys, gives what `kube` needs to build a client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::error::Error;
use crate::http::{ClientConfig, TlsConfig};

/// An API server is near; one that does not take a connection within this is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No answer takes longer to send its next byte. Above the length of a watch, which may be silent from end to end.
const READ_TIMEOUT: Duration = Duration::from_secs(150);

/// Where the API server is, and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// The cluster that this process runs in, by its service account.
    #[default]
    InCluster,
    /// As a kubeconfig file says, by its current context.
    Kubeconfig(PathBuf),
    /// At a URL, with the client keys of the section.
    Url(String, Box<ClientConfig>),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the API server of this cluster"),
            Self::Kubeconfig(path) => write!(f, "the API server of {}", path.display()),
            Self::Url(url, _) => write!(f, "the API server {url}"),
        }
    }
}

impl Server {
    /// The configuration of a client, and the keys that give its requests their headers.
    pub(super) async fn configure(&self) -> Result<(Config, ClientConfig), Error> {
        let (mut config, mut keys) = match self {
            Self::InCluster => (in_cluster()?, ClientConfig::default()),
            Self::Kubeconfig(path) => (kubeconfig(path).await?, ClientConfig::default()),
            Self::Url(url, keys) => (at_url(url, keys.tls_config.as_ref()).await?, (**keys).clone()),
        };
        // Read by us at each request: a rotated token counts at once, and white space around it does no harm.
        if config.auth_info.token.is_none()
            && let Some(file) = config.auth_info.token_file.take()
        {
            keys.bearer_token_file = Some(file);
        }
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // A connection that lay idle must not have used up the time of its next request.
        config.reset_reader_on_write = true;
        // Whoever asks knows how often: one layer of retries only.
        config.default_retry = false;
        Ok((config, keys))
    }
}

fn in_cluster() -> Result<Config, Error> {
    let mut config = Config::incluster().map_err(|e| {
        Error::Config(format!(
            "no service account of a cluster ({e}): outside a cluster name one by kubeconfig_file or api_server; inside, \
             the pod needs automountServiceAccountToken"
        ))
    })?;
    config.default_namespace = config.default_namespace.trim().to_owned();
    Ok(config)
}

async fn kubeconfig(path: &Path) -> Result<Config, Error> {
    let shown = path.display();
    let read = Kubeconfig::read_from(path).map_err(|e| {
        Error::Config(format!("kubeconfig {shown}: {}: name another by kubeconfig_file", plain(&e)))
    })?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    config.map_err(|e| {
        Error::Config(format!(
            "kubeconfig {shown}: {}: mend it, or name another by kubeconfig_file",
            plain(&e)
        ))
    })
}

/// The first line: what stands below it quotes the file, which holds secrets.
fn plain(error: &kube::config::KubeconfigError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

async fn at_url(url: &str, tls: Option<&TlsConfig>) -> Result<Config, Error> {
    let uri = url.parse().map_err(|e| Error::Config(format!("api_server {url:?} is not a URL: {e}")))?;
    let mut config = Config::new(uri);
    let Some(tls) = tls else { return Ok(config) };
    config.accept_invalid_certs = tls.insecure_skip_verify;
    config.tls_server_name.clone_from(&tls.server_name);
    if let Some(file) = &tls.ca_file {
        config.root_cert = Some(certificates(file, &read(file).await?)?);
        // Read again now and then, for the day on which the authority changes.
        config.root_cert_file = Some(PathBuf::from(file));
    } else if let Some(pem) = &tls.ca {
        config.root_cert = Some(certificates("tls_config.ca", pem.as_bytes())?);
    }
    config.auth_info.client_certificate.clone_from(&tls.cert_file);
    config.auth_info.client_key.clone_from(&tls.key_file);
    if tls.cert.is_some() || tls.key.is_some() {
        return Err(Error::Config(
            "tls_config.cert and tls_config.key cannot be used with an API server: name files by cert_file and key_file"
                .to_owned(),
        ));
    }
    Ok(config)
}

async fn read(file: &str) -> Result<Vec<u8>, Error> {
    tokio::fs::read(file).await.map_err(|e| Error::Config(format!("{file}: {e}")))
}

fn certificates(of: &str, pem: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found.iter().map(|certificate| certificate.to_vec()).collect()),
        Ok(_) => Err(Error::Config(format!("{of} holds no certificate in PEM"))),
        Err(e) => Err(Error::Config(format!("{of}: {e}"))),
    }
}
