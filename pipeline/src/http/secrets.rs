//! The headers of a section's requests, and the secrets among them.
//!
//! Takes the section, gives the headers of one request. Files are read afresh at each request, so that a rotated token
//! needs no restart. A secret never appears in an error: that names the file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::config::ClientKeys;
use crate::model::scrape::ScrapeError;
use crate::model::secret::Secret;

/// What the agent calls itself.
pub(crate) const USER_AGENT_VALUE: &str = concat!("cedana-agent/", env!("CARGO_PKG_VERSION"));
/// A token of 64 KiB would not fit into the headers that servers accept.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The headers of all requests of a section.
#[derive(Debug)]
pub(crate) struct Headers {
    /// What any server may see, redirected to or not.
    public: HeaderMap,
    /// `public` and the secrets that stand in the configuration.
    all: HeaderMap,
    /// What has to be read at each request.
    files: Vec<(HeaderName, Recipe)>,
}

/// How a header is made of files.
#[derive(Debug)]
enum Recipe {
    /// `<prefix><content>`
    File { prefix: String, path: String },
    /// RFC 7617
    Basic { username: Origin, password: Origin },
}

#[derive(Debug)]
enum Origin {
    Text(Secret),
    File(String),
}

impl Headers {
    /// The headers that the keys add to `public`.
    pub(crate) fn new(keys: &ClientKeys<'_>, mut public: HeaderMap) -> Result<Self, ScrapeError> {
        let mut files = Vec::new();
        let mut secrets = Vec::new();
        for (name, header) in keys.http_headers {
            let text = format!("http_headers.{name}");
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| ScrapeError::Credentials(format!("{text} is not a header name")))?;
            for value in &header.values {
                let value = HeaderValue::from_str(value);
                let refused =
                    |_| ScrapeError::Credentials(format!("{text} holds a value that no header may hold"));
                public.append(name.clone(), value.map_err(refused)?);
            }
            for secret in &header.secrets {
                secrets.push((name.clone(), value(&text, secret.expose())?));
            }
            for path in &header.files {
                files.push((name.clone(), Recipe::File { prefix: String::new(), path: path.clone() }));
            }
        }
        match authorization(keys)? {
            Some(Ok(value)) => secrets.push((AUTHORIZATION, value)),
            Some(Err(recipe)) => files.push((AUTHORIZATION, recipe)),
            None => {}
        }
        let mut all = public.clone();
        for (name, value) in secrets {
            all.append(name, value);
        }
        Ok(Self { public, all, files })
    }

    /// What a server may see that the configuration does not name.
    pub(crate) fn public(&self) -> HeaderMap {
        self.public.clone()
    }

    /// All headers, those from files read now.
    pub(crate) async fn all(&self) -> Result<HeaderMap, ScrapeError> {
        let mut headers = self.all.clone();
        for (name, recipe) in &self.files {
            headers.append(name.clone(), recipe.value().await?);
        }
        Ok(headers)
    }
}

impl Recipe {
    async fn value(&self) -> Result<HeaderValue, ScrapeError> {
        match self {
            Self::File { prefix, path } => {
                let content = read(path).await?;
                value(path, &Zeroizing::new(format!("{prefix}{}", *content)))
            }
            Self::Basic { username, password } => {
                let (username, password) = (username.read().await?, password.read().await?);
                value("basic_auth", &basic(&username, &password))
            }
        }
    }
}

impl Origin {
    fn new(text: &str, file: Option<&String>) -> Self {
        file.map_or_else(|| Self::Text(Secret::new(text.to_owned())), |path| Self::File(path.clone()))
    }

    async fn read(&self) -> Result<Zeroizing<String>, ScrapeError> {
        match self {
            Self::Text(text) => Ok(Zeroizing::new(text.expose().to_owned())),
            Self::File(path) => read(path).await,
        }
    }
}

/// The header `Authorization`, or how to make it at each request.
fn authorization(keys: &ClientKeys<'_>) -> Result<Option<Result<HeaderValue, Recipe>>, ScrapeError> {
    let made = if let Some(authorization) = keys.authorization {
        let prefix = format!("{} ", authorization.kind.trim());
        match (&authorization.credentials_file, &authorization.credentials) {
            (Some(path), _) => Err(Recipe::File { prefix, path: path.clone() }),
            (None, Some(secret)) => {
                let text = Zeroizing::new(format!("{prefix}{}", secret.expose()));
                Ok(value("authorization.credentials", &text)?)
            }
            (None, None) => return Ok(None),
        }
    } else if let Some(path) = keys.bearer_token_file {
        Err(Recipe::File { prefix: "Bearer ".to_owned(), path: path.clone() })
    } else if let Some(secret) = keys.bearer_token {
        let text = Zeroizing::new(format!("Bearer {}", secret.expose()));
        Ok(value("bearer_token", &text)?)
    } else if let Some(auth) = keys.basic_auth {
        let password = auth.password.as_ref().map_or("", |p| p.expose());
        if auth.username_file.is_none() && auth.password_file.is_none() {
            Ok(value("basic_auth", &basic(&auth.username, password))?)
        } else {
            let username = Origin::new(&auth.username, auth.username_file.as_ref());
            let password = Origin::new(password, auth.password_file.as_ref());
            Err(Recipe::Basic { username, password })
        }
    } else {
        return Ok(None);
    };
    Ok(Some(made))
}

fn basic(username: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    Zeroizing::new(format!("Basic {}", BASE64.encode(pair.as_bytes())))
}

/// A header value that is left out of every debug print.
fn value(of: &str, text: &str) -> Result<HeaderValue, ScrapeError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| ScrapeError::Credentials(format!("{of} holds characters that no header may hold")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The content of a small text file, without the white space around it.
async fn read(path: &str) -> Result<Zeroizing<String>, ScrapeError> {
    let failed = |e: std::io::Error| ScrapeError::Credentials(format!("{path}: {e}"));
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut content = Zeroizing::new(String::new());
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut content).await.map_err(failed)?;
    if content.len() as u64 > SECRET_BYTES_MAX {
        return Err(ScrapeError::Credentials(format!("{path}: more than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(Zeroizing::new(content.trim().to_owned()))
}
