//! TLS: rustls with the ring provider.
//!
//! Takes `tls_config`, gives connectors. Certificates and keys are read at each new connection, and a connector is made
//! anew when they have changed; the system's authorities are read once.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion, version,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::config::{TlsConfig, TlsVersion};
use super::connection::chain;
use crate::model::scrape::ScrapeError;

/// The authorities that the system trusts; read once, because it takes milliseconds.
static SYSTEM_ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// How a section speaks TLS.
pub(crate) struct Tls {
    config: TlsConfig,
    /// The connector made last, and what it was made of.
    latest: Mutex<Option<(Material, TlsConnector)>>,
}

/// What was read from files or the configuration, in PEM.
#[derive(PartialEq, Eq)]
struct Material {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Zeroizing<Vec<u8>>>,
}

impl Tls {
    pub(crate) fn new(config: Option<&TlsConfig>) -> Self {
        Self { config: config.cloned().unwrap_or_default(), latest: Mutex::new(None) }
    }

    /// The name that the server's certificate must carry.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, ScrapeError> {
        let name = self.config.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|_| ScrapeError::Connect(format!("{name:?} is no name that a certificate can carry")))
    }

    /// What to say of a handshake with `host` that failed, and the remedy.
    pub(super) fn refused(&self, host: &str, error: &io::Error) -> ScrapeError {
        let text = chain(error);
        let relax = self.config.relaxed_by.unwrap_or("tls_config.insecure_skip_verify: true");
        let remedy = if text.contains("CaUsedAsEndEntity") {
            format!(
                ": it is self-signed; give it one that its authority issued, or take any for this job alone by {relax}"
            )
        } else if text.contains("UnknownIssuer") {
            format!(
                ": name its authority by tls_config.ca_file, or take any certificate for this job alone by {relax}"
            )
        } else if text.contains("NotValidForName") || text.contains("not valid for name") {
            format!(": set tls_config.server_name, or take any certificate for this job alone by {relax}")
        } else if text.contains("InvalidContentType") {
            ": the server does not speak TLS, set scheme: http".to_owned()
        } else {
            String::new()
        };
        ScrapeError::Connect(format!("TLS with {host:?}: {text}{remedy}"))
    }

    /// A connector for the certificates and keys as they are now.
    pub(crate) async fn connector(&self) -> Result<TlsConnector, ScrapeError> {
        let material = self.material().await?;
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, connector)) = latest.as_ref()
            && *made_of == material
        {
            return Ok(connector.clone());
        }
        let connector = TlsConnector::from(Arc::new(self.client_config(&material)?));
        *latest = Some((material, connector.clone()));
        Ok(connector)
    }

    async fn material(&self) -> Result<Material, ScrapeError> {
        let config = &self.config;
        let key = match (&config.key_file, &config.key) {
            (Some(path), _) => Some(Zeroizing::new(read(path).await?)),
            (None, key) => key.as_ref().map(|key| Zeroizing::new(key.expose().as_bytes().to_vec())),
        };
        Ok(Material {
            ca: pem(config.ca_file.as_ref(), config.ca.as_ref()).await?,
            cert: pem(config.cert_file.as_ref(), config.cert.as_ref()).await?,
            key,
        })
    }

    fn client_config(&self, material: &Material) -> Result<ClientConfig, ScrapeError> {
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            ScrapeError::Credentials(format!("tls_config.{what}: {e}"))
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions())
            .map_err(|e| failed("min_version", &e))?;
        let roots = match &material.ca {
            Some(pem) => Arc::new(roots(pem).map_err(|e| failed("ca", &e))?),
            None => Arc::clone(SYSTEM_ROOTS.get_or_init(system_roots)),
        };
        let builder = if self.config.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        } else {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            builder.with_webpki_verifier(verifier.map_err(|e| failed("ca", &e))?)
        };
        let mut config = match (&material.cert, &material.key) {
            (Some(cert), Some(key)) => {
                let certs = certificates(cert).map_err(|e| failed("cert", &e))?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| failed("key", &"holds no private key in PEM"))?;
                builder.with_client_auth_cert(certs, key).map_err(|e| failed("cert", &e))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let min = self.config.min_version.unwrap_or(TlsVersion::Tls12);
        let max = self.config.max_version.unwrap_or(TlsVersion::Tls13);
        let all = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
        all.into_iter().filter(|(v, _)| (min..=max).contains(v)).map(|(_, version)| version).collect()
    }
}

async fn pem(file: Option<&String>, inline: Option<&String>) -> Result<Option<Vec<u8>>, ScrapeError> {
    match file {
        Some(path) => read(path).await.map(Some),
        None => Ok(inline.map(|text| text.as_bytes().to_vec())),
    }
}

async fn read(path: &str) -> Result<Vec<u8>, ScrapeError> {
    tokio::fs::read(path).await.map_err(|e| ScrapeError::Credentials(format!("{path}: {e}")))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(e) => Err(e.to_string()),
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    Ok(roots)
}

fn system_roots() -> Arc<RootCertStore> {
    let loaded = rustls_native_certs::load_native_certs();
    if let Some(error) = loaded.errors.first() {
        tracing::warn!(error = %error, "cannot read all certificates of the system");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    Arc::new(roots)
}

/// `insecure_skip_verify`: any certificate will do, as long as the server holds its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
