//! The JSON below `/api/v1`, in the shape of Prometheus' HTTP API where that has one
//! (prometheus.io/docs/prometheus/latest/querying/api).
//!
//! Takes a path and a query, gives a status and a body. Every answer is bounded, so that lists come in pages; nothing is
//! changed, and no secret is in what it is given.

mod query;
mod status;
mod targets;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::admin::Views;
use crate::clock;
use query::Parameters;

/// What goes back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 200, 400 or 404.
    pub(crate) status: StatusCode,
    /// JSON.
    pub(crate) body: String,
}

/// Every path, for whoever asks for another one.
const PATHS: [&str; 5] = [
    "/api/v1/targets",
    "/api/v1/status",
    "/api/v1/status/buildinfo",
    "/api/v1/status/config",
    "/api/v1/status/problems",
];

/// Answers what is asked at `path`.
pub(crate) fn answer(path: &str, query: Option<&str>, views: &Views) -> Answer {
    let none = || Parameters::read(query.unwrap_or_default(), &[]);
    let answered = match path {
        "/api/v1/targets" => targets::Query::read(query.unwrap_or_default())
            .map(|query| targets::list(&(views.targets)(), &query, clock::now_millis())),
        "/api/v1/status" => none().map(|_| Data::of(status::status(views, clock::now_millis()))),
        "/api/v1/status/buildinfo" => none().map(|_| Data::of(status::build())),
        "/api/v1/status/config" => none().map(|_| Data::of(status::config(views))),
        "/api/v1/status/problems" => none().map(|_| Data::of(status::problems(views))),
        _ => {
            let text = format!("nothing is served at this path: there are {}", PATHS.join(", "));
            return refusal(StatusCode::NOT_FOUND, "not_found", &text);
        }
    };
    match answered {
        Ok(data) => data.answer(),
        Err(problem) => refusal(StatusCode::BAD_REQUEST, "bad_data", &problem),
    }
}

/// An error as Prometheus writes it.
pub(crate) fn refusal(status: StatusCode, kind: &str, text: &str) -> Answer {
    let body = json!({"status": "error", "errorType": kind, "error": text});
    Answer { status, body: format!("{body}\n") }
}

/// What was asked for, and what has to be said of it.
#[derive(Debug)]
struct Data {
    data: Value,
    warnings: Vec<String>,
}

impl Data {
    fn of(data: Value) -> Self {
        Self { data, warnings: Vec::new() }
    }

    fn answer(self) -> Answer {
        let mut body = json!({"status": "success", "data": self.data});
        if let (Some(fields), false) = (body.as_object_mut(), self.warnings.is_empty()) {
            fields.insert("warnings".to_owned(), self.warnings.into());
        }
        Answer { status: StatusCode::OK, body: format!("{body}\n") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problems::RecentProblems;
    use crate::telemetry;

    fn views() -> Views {
        Views {
            registry: telemetry::registry().unwrap(),
            not_ready: Box::new(|| vec!["no credentials yet".to_owned()]),
            doing: Box::new(|| None),
            targets: Box::new(Vec::new),
            sinks: Box::new(sinks::Status::default),
            config: Box::new(|| "global: {}\n".to_owned()),
            source: "a test".to_owned(),
            problems: RecentProblems::default(),
            reload: None,
        }
    }

    #[test]
    fn every_path_answers_in_prometheus_shape() {
        for path in PATHS {
            let Answer { status, body } = answer(path, None, &views());
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &body["status"]), (StatusCode::OK, &"success".into()), "{path}");
            assert!(body["data"].is_object(), "{path}: {body}");
        }
        let config: Value =
            serde_json::from_str(&answer("/api/v1/status/config", None, &views()).body).unwrap();
        assert_eq!(config["data"]["yaml"], "global: {}\n");
        let build: Value =
            serde_json::from_str(&answer("/api/v1/status/buildinfo", None, &views()).body).unwrap();
        assert_eq!(build["data"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn what_cannot_be_answered_is_an_error_in_prometheus_shape() {
        let check = |path: &str, query: &str, status: u16, kind: &str, said: &str| {
            let found = answer(path, Some(query), &views());
            let body: Value = serde_json::from_str(&found.body).unwrap();
            assert_eq!((found.status.as_u16(), &body["status"]), (status, &"error".into()), "{path}?{query}");
            assert_eq!(body["errorType"], kind, "{path}?{query}");
            assert!(body["error"].as_str().unwrap().contains(said), "{path}?{query}: {body}");
        };
        check("/api/v1/query", "query=up", 404, "not_found", "/api/v1/targets");
        check("/api/v1/targets", "state=up", 400, "bad_data", "active, dropped or any");
        check("/api/v1/targets", "limit=0", 400, "bad_data", "limit");
        check("/api/v1/targets", "limit=1001", 400, "bad_data", "1000");
        check("/api/v1/targets", "limit=-1", 400, "bad_data", "limit");
        check("/api/v1/targets", "offset=x", 400, "bad_data", "offset");
        check("/api/v1/targets", "sort=color", 400, "bad_data", "duration");
        check("/api/v1/targets", "health=sick", 400, "bad_data", "unknown");
        check("/api/v1/targets", "labels=maybe", 400, "bad_data", "true or false");
        check("/api/v1/targets", "serch=a", 400, "bad_data", "search");
        check("/api/v1/targets", "search=a&search=b", 400, "bad_data", "twice");
        check("/api/v1/status", "x=%3Cimg%3E", 400, "bad_data", "takes no parameters");
    }
}
