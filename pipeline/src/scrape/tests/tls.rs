//! TLS against a server with a certificate made for the purpose (`*.pem` beside this file; worth nothing elsewhere).

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

const CA: &str = include_str!("ca.pem");
const CERT: &str = include_str!("cert.pem");
const KEY: &str = include_str!("key.pem");

/// A server that speaks TLS and answers every request; its certificate is for 127.0.0.1 and exporter.test.
pub(crate) async fn start(wants_certificate: bool) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let certs = vec![CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let builder = builder.unwrap();
    let builder = if wants_certificate {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(certs, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let number = seen.lock().unwrap().len();
            seen.lock().unwrap().push(Vec::new());
            follow(stream, vec![Step::Send(ok("up 1\n"))], Arc::clone(&seen), number).await;
        }
    });
    Server { address, requests, _tasks: tasks }
}

async fn get(yaml: &str, server: &Server) -> Result<Vec<u8>, ScrapeError> {
    let url = format!("https://{}/metrics", server.address);
    fetcher(yaml, &url, LONG).ask().await
}

/// PEM within YAML within braces.
fn quoted(pem: &str) -> String {
    format!("{pem:?}")
}

#[tokio::test]
async fn whom_to_trust() {
    let server = start(false).await;
    let ca = quoted(CA);
    for yaml in [
        format!("tls_config: {{ca: {ca}}}"),
        format!("tls_config: {{ca: {ca}, server_name: exporter.test, min_version: TLS13}}"),
        format!("tls_config: {{ca: {ca}, max_version: TLS12}}"),
        "tls_config: {insecure_skip_verify: true}".to_owned(),
    ] {
        assert_eq!(get(&yaml, &server).await, Ok(b"up 1\n".to_vec()), "{yaml}");
    }
    let refused = async |yaml: String, expected: &str| {
        let error = get(&yaml, &server).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{yaml}: {error}");
    };
    refused(String::new(), "UnknownIssuer: name its authority by tls_config.ca_file, or take any certificate for this job alone by tls_config.insecure_skip_verify: true").await;
    refused(format!("tls_config: {{ca: {ca}, server_name: other.test}}"), "set tls_config.server_name").await;
    refused("tls_config: {ca: nonsense}".to_owned(), "tls_config.ca: holds no certificate in PEM").await;
    refused("tls_config: {ca_file: /nowhere/ca.pem}".to_owned(), "/nowhere/ca.pem: ").await;
    // A server without TLS takes the greeting for a bad request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/metrics", listener.local_addr().unwrap());
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let mut fetcher = fetcher("", &url, LONG);
    let (error, _stream) = tokio::join!(fetcher.ask(), answer);
    let error = error.unwrap_err();
    assert!(error.to_string().contains("the server does not speak TLS, set scheme: http"), "{error}");
}

#[tokio::test]
async fn what_to_show() {
    let server = start(true).await;
    let (ca, cert, key) = (quoted(CA), quoted(CERT), quoted(KEY));
    let with = format!("tls_config: {{ca: {ca}, cert: {cert}, key: {key}}}");
    assert_eq!(get(&with, &server).await, Ok(b"up 1\n".to_vec()));
    let error = get(&format!("tls_config: {{ca: {ca}}}"), &server).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
}

#[tokio::test]
async fn files_are_read_again_at_each_connection() {
    let server = start(false).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let url = format!("https://{}/metrics", server.address);
    let mut fetcher = fetcher(&format!("tls_config: {{ca_file: {}}}", file.display()), &url, LONG);
    // The server's own certificate is not its authority's.
    std::fs::write(&file, CERT).unwrap();
    assert!(fetcher.ask().await.is_err());
    std::fs::write(&file, CA).unwrap();
    assert!(fetcher.ask().await.is_ok());
    // The server closes after each answer, so that this is another connection.
    std::fs::write(&file, "").unwrap();
    assert_eq!(fetcher.ask().await.unwrap_err().reason(), "credentials");
}
