//! Servers that nobody vouches for: the Cedana API and S3 get no token and no object from us.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use pipeline::model::secret::Secret;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::s3::credentials::{Cedana, Fetch as _};
use crate::s3::server_time::tests::told;

/// Made for tests, of an authority that no machine knows; for 127.0.0.1.
const CERT: &[u8] = include_bytes!("../../../../pipeline/src/scrape/tests/cert.pem");
const PRIVATE: &[u8] = include_bytes!("../../../../pipeline/src/scrape/tests/key.pem");

/// Speaks TLS with one client and answers what it asks; what that was goes to the channel.
fn start() -> (String, mpsc::Receiver<String>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERT).unwrap()],
            PrivateKeyDer::from_pem_slice(PRIVATE).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (asked, was_asked) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap_or_default();
        let _ = stream.write_all(&http_answer("200 OK", DATE, GRANT));
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let _ = asked.send(String::from_utf8_lossy(&request[..length]).into_owned());
    });
    (url, was_asked)
}

fn asked(channel: &mpsc::Receiver<String>) -> String {
    channel.recv_timeout(Duration::from_secs(30)).unwrap()
}

fn cedana(url: String) -> Cedana {
    let auth_token = Some(Secret::new("bearer-secret".to_owned()));
    Cedana { url, auth_token, cluster_id: "c1".to_owned(), ..Cedana::default() }
}

#[tokio::test]
async fn the_api_has_to_show_a_certificate() {
    let (url, requests) = start();
    let config = credentials::Config { cedana: Some(cedana(url)), aws: None };
    let source = Source::new(&config, None, "1.2.3", &told(0), &client::http()).unwrap();
    let Source::Cedana(api) = source else { panic!("another source") };
    let problem = api.fetch().await.unwrap_err();
    assert!(problem.to_lowercase().contains("certificate"), "{problem}");
    assert_eq!(asked(&requests), "", "it was asked all the same");
}

#[tokio::test]
async fn s3_has_to_show_a_certificate() {
    let (url, requests) = start();
    let config = Config { endpoint_url: Some(url), force_path_style: true, ..Config::default() };
    let api = Server::start().await;
    let credentials = credentials::Config { cedana: Some(cedana(api.url())), aws: None };
    let s3 = open(&config, &credentials, "1.2.3", &metrics()).unwrap();
    let put = async {
        s3.ready().await;
        s3.put(super::KEY, &body(), Condition::Absent).await
    };
    let both = async { tokio::join!(put, api.answer([http_answer("200 OK", DATE, GRANT)])).0 };
    let refused = tokio::select! {
        () = s3.keep_credentials() => panic!("it refreshes for ever"),
        put = both => put.unwrap_err(),
    };
    assert_eq!(refused.next, Next::Unknown);
    assert!(refused.text.contains("certificate"), "{}", refused.text);
    assert_eq!(asked(&requests), "", "it was asked all the same");
}
