//! One bounded GET: asks a target once for its exposition.
//!
//! Takes a target, gives its body or the reason why there is none, within the scrape's timeout. Keeps the target's
//! connection between scrapes. Never looks into the body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Uri};
use url::{Position, Url};

use super::body::{self, Body, Memory, Outlet};
use super::gzip::Gzip;
use super::job::{Render, ResolvedJob, Source};
use crate::http::{Connection, Origin, RequestHeaders, Tls, USER_AGENT_VALUE, chain};
use crate::model::scrape::{Exposition, ScrapeError};

/// Text format 0.0.4 and nothing else: some exporters name their metrics differently in OpenMetrics.
const ACCEPT_VALUE: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";
/// As Prometheus (Go's `net/http`).
const REDIRECTS_MAX: usize = 10;
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What all targets of a job share.
pub(super) struct Client {
    headers: RequestHeaders,
    tls: Tls,
    follow_redirects: bool,
    body_limit: u64,
}

/// Asks one target, scrape after scrape.
pub(super) struct Fetcher {
    way: Way,
    timeout: Duration,
    memory: Memory,
    outlet: Outlet,
}

enum Way {
    Http(Box<Http>),
    InProcess(Render),
    Blocking(Render),
    /// No scrape can succeed, and this is why.
    Never(ScrapeError),
}

struct Http {
    client: Arc<Client>,
    place: Place,
    timeout_header: HeaderValue,
    /// The connection that the last scrape left.
    idle: Option<Connection>,
}

/// A URL, taken apart once into what a request needs.
struct Place {
    url: Url,
    origin: Origin,
    path: Uri,
    host: HeaderValue,
}

impl Place {
    fn new(url: Url) -> Result<Self, ScrapeError> {
        let invalid =
            || ScrapeError::Connect(format!("{url} is no URL that can be asked: use http or https"));
        let origin = Origin::of(&url).ok_or_else(invalid)?;
        let path = url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| invalid())?;
        let host =
            HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]).map_err(|_| invalid())?;
        Ok(Self { url, origin, path, host })
    }
}

impl Client {
    pub(super) fn new(job: &ResolvedJob) -> Result<Arc<Self>, ScrapeError> {
        Ok(Arc::new(Self {
            headers: RequestHeaders::new(&job.config.client_keys(), public_headers(job))?,
            tls: Tls::new(job.config.tls_config.as_ref()),
            follow_redirects: job.config.follow_redirects,
            body_limit: job.body_limit,
        }))
    }
}

/// The headers that any server may see.
pub(super) fn public_headers(job: &ResolvedJob) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_VALUE));
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    let encoding = if job.config.enable_compression { "gzip" } else { "identity" };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    headers
}

impl Fetcher {
    /// Asks `url` by the job's settings, or calls the job's function.
    pub(super) fn new(
        job: &ResolvedJob,
        client: &Result<Arc<Client>, ScrapeError>,
        url: &str,
        timeout: Duration,
        memory: &Memory,
        outlet: Outlet,
    ) -> Self {
        let way = match (&job.source, client) {
            (Source::InProcess(render), _) => Way::InProcess(Arc::clone(render)),
            (Source::Blocking(render, _), _) => Way::Blocking(Arc::clone(render)),
            (Source::Http, Err(error)) => Way::Never(error.clone()),
            (Source::Http, Ok(client)) => match Http::new(client, url, timeout) {
                Ok(http) => Way::Http(Box::new(http)),
                Err(error) => Way::Never(error),
            },
        };
        Self { way, timeout, memory: memory.for_one(), outlet }
    }

    /// Fails every scrape with `error`.
    pub(super) fn never(error: ScrapeError, timeout: Duration, memory: &Memory, outlet: Outlet) -> Self {
        Self { way: Way::Never(error), timeout, memory: memory.for_one(), outlet }
    }

    /// Asks once, and hands on parts of a large body as they come. Whatever happens, it is over within the timeout.
    pub(super) async fn fetch(&mut self) -> Result<Exposition, ScrapeError> {
        let Self { way, memory, outlet, .. } = self;
        let answer = async {
            match way {
                Way::Http(http) => http.get(memory, outlet).await,
                Way::InProcess(render) => body::whole(memory, render()).await,
                Way::Blocking(render) => body::whole(memory, aside(render).await?).await,
                Way::Never(error) => Err(error.clone()),
            }
        };
        let timeout = self.timeout;
        match tokio::time::timeout(timeout, answer).await {
            Ok(outcome) => outcome,
            Err(_) if self.memory.was_waiting() => Err(ScrapeError::Limit(format!(
                "no room for the body within {timeout:?}, because others wait to be read: raise limits.max_body_bytes"
            ))),
            Err(_) => Err(ScrapeError::Timeout(timeout)),
        }
    }
}

/// Calls a function that blocks where it keeps nobody waiting.
async fn aside(render: &Render) -> Result<Vec<u8>, ScrapeError> {
    let render = Arc::clone(render);
    let ended = tokio::task::spawn_blocking(move || render()).await;
    ended.map_err(|_| ScrapeError::Truncated("the reading failed, which is a defect".to_owned()))
}

impl Http {
    fn new(client: &Arc<Client>, url: &str, timeout: Duration) -> Result<Self, ScrapeError> {
        let invalid = || ScrapeError::Connect(format!("{url:?} is no URL"));
        let place = Place::new(Url::parse(url).map_err(|_| invalid())?)?;
        let timeout_header =
            HeaderValue::from_str(&timeout.as_secs_f64().to_string()).map_err(|_| invalid())?;
        Ok(Self { client: Arc::clone(client), place, timeout_header, idle: None })
    }

    /// Follows redirects to the answer that counts.
    async fn get(&mut self, memory: &Memory, outlet: &Outlet) -> Result<Exposition, ScrapeError> {
        let (mut elsewhere, mut is_trusted) = (None, true);
        for _ in 0..=REDIRECTS_MAX {
            // Taken, not borrowed: a scrape that is cut short leaves no connection in the middle of an answer.
            let idle = self.idle.take();
            let place = elsewhere.as_ref().unwrap_or(&self.place);
            let (mut connection, response) = self.ask(idle, place, is_trusted).await?;
            let Some(next) = self.redirect(&place.url, &response)? else {
                return self.read(connection, response, memory, outlet).await;
            };
            let place = Place::new(next)?;
            // Secrets are for the server that the configuration names, and nobody else may send us there with them.
            is_trusted &= place.origin == self.place.origin;
            elsewhere = Some(place);
            let is_whole = response.body().is_end_stream();
            drop(response);
            if is_whole && connection.is_ready().await {
                self.idle = Some(connection);
            }
        }
        Err(ScrapeError::Connect(format!("redirected more than {REDIRECTS_MAX} times")))
    }

    /// Sends one request, over the idle connection if it still lives.
    async fn ask(
        &self,
        idle: Option<Connection>,
        place: &Place,
        is_trusted: bool,
    ) -> Result<(Connection, Response<Incoming>), ScrapeError> {
        if let Some(mut connection) = idle.filter(|idle| idle.origin == place.origin)
            && connection.is_ready().await
        {
            // The server may close an idle connection at the very moment it is used again: that is no failure of the
            // target, and asking again over a new one cannot do harm.
            let request = self.request(place, is_trusted).await?;
            if let Ok(response) = connection.send(request).await {
                return Ok((connection, response));
            }
        }
        let request = self.request(place, is_trusted).await?;
        let mut connection = Connection::open(&place.origin, &self.client.tls).await?;
        let response = connection.send(request).await.map_err(|e| broken(&e))?;
        Ok((connection, response))
    }

    async fn request(&self, place: &Place, is_trusted: bool) -> Result<Request<Empty<Bytes>>, ScrapeError> {
        let headers = &self.client.headers;
        let mut headers = if is_trusted { headers.all().await? } else { headers.public() };
        headers.insert(HOST, place.host.clone());
        headers.insert(TIMEOUT_HEADER, self.timeout_header.clone());
        let mut request = Request::new(Empty::new());
        request.uri_mut().clone_from(&place.path);
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Where the answer leads on to, if anywhere.
    fn redirect(&self, url: &Url, response: &Response<Incoming>) -> Result<Option<Url>, ScrapeError> {
        use StatusCode as S;
        let leads_on = matches!(
            response.status(),
            S::MOVED_PERMANENTLY | S::FOUND | S::SEE_OTHER | S::TEMPORARY_REDIRECT | S::PERMANENT_REDIRECT
        );
        if !leads_on || !self.client.follow_redirects {
            return Ok(None);
        }
        let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
        let next = location.to_str().ok().and_then(|location| url.join(location).ok());
        next.map(Some)
            .ok_or_else(|| ScrapeError::Connect("redirected to something that is no URL".to_owned()))
    }

    /// Reads the body of the answer that counts, and keeps the connection if it can be used again.
    async fn read(
        &mut self,
        mut connection: Connection,
        response: Response<Incoming>,
        memory: &Memory,
        outlet: &Outlet,
    ) -> Result<Exposition, ScrapeError> {
        if response.status() != StatusCode::OK {
            return Err(ScrapeError::Status(response.status().as_u16()));
        }
        let is_gzip = is_gzip(response.headers())?;
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let mut body = Body::new(memory, outlet, self.client.body_limit, announced)?;
        let mut gzip = is_gzip.then(|| Gzip::new(&mut body));
        let mut incoming = response.into_body();
        while let Some(data) = connection.data(&mut incoming).await {
            let data = data.map_err(|e| broken(&e))?;
            match &mut gzip {
                Some(gzip) => gzip.push(&data, &mut body).await?,
                None => body.push(data).await?,
            }
        }
        self.idle = Some(connection);
        if let Some(gzip) = gzip {
            gzip.finish(&mut body).await?;
        }
        Ok(body.finish())
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, ScrapeError> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(false) };
    match encoding.to_str().unwrap_or_default().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Ok(true),
        "" | "identity" => Ok(false),
        other => Err(ScrapeError::Decompress(format!("Content-Encoding {other:?} was not asked for"))),
    }
}

/// The connection broke, or what came is no HTTP.
fn broken(error: &hyper::Error) -> ScrapeError {
    let text = chain(error);
    if error.is_parse() {
        ScrapeError::Connect(format!("the answer is no HTTP: {text}"))
    } else {
        ScrapeError::Truncated(text)
    }
}
