//! What a request to the API server can fail with, in words that say what to do.

use super::permission::Permission;
use crate::http::chain;
use crate::model::scrape::ScrapeError;

/// Why the API server gave no answer, or none that helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No client can be made of what the configuration says. Try again: files may appear.
    #[error("cannot ask the API server: {0}")]
    Config(String),
    /// It does not answer. Try again.
    #[error("{server} does not answer: {cause}")]
    Unreachable {
        /// Which one.
        server: String,
        /// Why not.
        cause: String,
    },
    /// It does not know us. Try again: tokens rotate.
    #[error("{server} does not know us (401): the token or certificate is wrong or has expired")]
    Unauthorized {
        /// Which one.
        server: String,
    },
    /// A permission is missing. Try again, seldom: someone has to add a rule.
    #[error("{who} may not {permission} (403): add to {place} bound to it: {rule}", place = .permission.place(), rule = .permission.rule())]
    Forbidden {
        /// What is missing.
        permission: Box<Permission>,
        /// Who we are there, in the server's words.
        who: String,
    },
    /// It refused for another reason.
    #[error("{server} refused to {permission} ({code}): {cause}")]
    Refused {
        /// Which one.
        server: String,
        /// What was asked.
        permission: Box<Permission>,
        /// The HTTP status.
        code: u16,
        /// The server's words.
        cause: String,
    },
}

impl Error {
    /// What `error` means for whoever asked `server` for what `permission` grants.
    pub(crate) fn new(server: &str, permission: &Permission, error: &kube::Error) -> Self {
        let server = server.to_owned();
        match error {
            kube::Error::Api(status) => Self::from_status(server, permission, status),
            kube::Error::Auth(e) => Self::Config(chain(e)),
            kube::Error::InferConfig(e) => Self::Config(chain(e)),
            kube::Error::InferKubeconfig(e) => Self::Config(chain(e)),
            kube::Error::RustlsTls(e) => Self::Config(chain(e)),
            // Our own layer: a token that cannot be read.
            kube::Error::Service(e) if e.downcast_ref::<ScrapeError>().is_some() => {
                Self::Config(e.to_string())
            }
            other => Self::Unreachable { server, cause: without_prefix(&chain(other)).to_owned() },
        }
    }

    /// The same for the status that an answer or a watch brought.
    pub(crate) fn from_status(server: String, permission: &Permission, status: &kube::core::Status) -> Self {
        match status.code {
            401 => Self::Unauthorized { server },
            403 => Self::Forbidden { permission: Box::new(permission.clone()), who: who(&status.message) },
            code => Self::Refused {
                server,
                permission: Box::new(permission.clone()),
                code,
                cause: shorten(&status.message),
            },
        }
    }

    /// Whether it is the missing permission of someone rather than a disturbance that passes.
    #[must_use]
    pub fn needs_someone(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Unauthorized { .. } | Self::Forbidden { .. })
    }
}

/// The longest part of an answer that is repeated: a proxy's error page is nobody's remedy.
const CAUSE_CHARS_MAX: usize = 200;

/// The first line, as far as it is short.
fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(CAUSE_CHARS_MAX).collect()
}

/// kube's words for which of its layers it was say nothing to people.
fn without_prefix(text: &str) -> &str {
    let prefixes =
        ["ServiceError: ", "HyperError: ", "Error reading events stream: ", "client error (Connect): "];
    let mut text = text;
    while let Some(rest) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text
}

/// The user in a sentence such as `pods is forbidden: User "system:serviceaccount:a:b" cannot list resource ...`.
fn who(message: &str) -> String {
    let user = message.split_once("User \"").and_then(|(_, rest)| rest.split_once('"')).map(|(user, _)| user);
    user.unwrap_or("the agent's account").to_owned()
}
