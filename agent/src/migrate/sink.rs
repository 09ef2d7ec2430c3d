//! A sink `aws_s3`: <https://vector.dev/docs/reference/configuration/sinks/aws_s3/>.
//!
//! Takes the component, gives the sections `batch`, `sink` and `credentials` as they are written, and a finding for each key.

use pipeline::model::units::{Duration, Size};

use super::Setting;
use super::document::Document;
use super::graph::Component;
use super::report::{Place, Report};
use super::write::scalar;
use super::yaml::Node;

/// The sections, without their indentation.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) batch: Vec<String>,
    pub(super) s3: Vec<String>,
    /// The credentials are those of AWS' standard chain.
    pub(super) is_aws: bool,
    pub(super) spool_max_bytes: Option<String>,
    /// How objects are written, where it is not the default.
    pub(super) encoding: Vec<String>,
    /// Where Vector's objects are, which a table reads as JSON.
    pub(super) prefix: String,
}

/// Keys that have nothing to stand for in the agent, and why.
const NOT_NEEDED: [(&str, &str); 13] = [
    ("filename_append_uuid", "the key of an object is {time}/{writer}-{number}, which no other has"),
    ("filename_time_format", "the key of an object has its time, that of the servers"),
    ("filename_extension", "the name of an object ends in .parquet"),
    ("content_type", "says nothing about what is in an object"),
    ("content_encoding", "an object is not encoded as a whole"),
    ("timezone", "times are in UTC"),
    ("healthcheck", "`agent doctor` tries the bucket, and /readyz says how uploads fare"),
    ("request", "one upload at a time, in order, retried until it is confirmed"),
    ("acknowledgements", "an object leaves the disk only when S3 has confirmed it"),
    ("framing", "an object is one Parquet file"),
    ("retry_strategy", "an upload is retried until it is confirmed"),
    ("max_in_flight", "one upload at a time, in order"),
    ("graph", "says nothing about samples"),
];

/// Reads a sink.
pub(super) fn sections(component: &Component<'_>, setting: &Setting<'_>, report: &mut Report) -> Sections {
    let mut sections = Sections::default();
    let endpoint = component.node.get("endpoint").and_then(Node::text).filter(|text| !text.is_empty());
    for entry in component.node.entries() {
        let (place, value) = (component.at(&entry.key), &entry.value);
        let text = setting.document.environment.carry(value.text().unwrap_or_default());
        match entry.key.as_str() {
            "type" | "inputs" | "endpoint" => {}
            "bucket" => place_of(&mut sections, "bucket", "S3_BUCKET", &text, &place, report),
            "region" => place_of(&mut sections, "region", "AWS_REGION", &text, &place, report),
            "key_prefix" => sections.prefix = literal_prefix(&text),
            "batch" => batch(value, &place, &mut sections, report),
            "encoding" if setting.keep_encoding => report.translated(&place, "encoding: vector_json"),
            "compression" if setting.keep_encoding => compression(&text, &place, &mut sections, report),
            "compression" => {
                report.not_needed(&place, "Parquet compresses its pages itself (parquet.compression: zstd)");
            }
            "encoding" => report
                .translated(&place, "objects are Parquet: one column per common label, a map for the others"),
            "auth" => auth(value, &place, &mut sections, report),
            "buffer" => buffer(value, &place, &mut sections, report),
            "storage_class" => copy(&mut sections, "storage_class", &text, &place, report),
            "server_side_encryption" => copy(&mut sections, "server_side_encryption", &text, &place, report),
            "ssekms_key_id" => copy(&mut sections, "kms_key_id", &text, &place, report),
            "force_path_style" => path_style(value, endpoint.is_some(), &mut sections, &place, report),
            key => match NOT_NEEDED.iter().find(|(known, _)| *known == key) {
                Some((_, why)) => report.not_needed(&place, *why),
                None => report.decide(&place, decision(key)),
            },
        }
    }
    if let Some(endpoint) = endpoint {
        let text = setting.document.environment.carry(endpoint);
        let place = component.at("endpoint");
        if text.contains('@') || !(text.starts_with("http://") || text.starts_with("https://")) {
            report.decide(&place, "is no address that the agent takes: write sink.s3.endpoint_url as http://host:port, without a user");
        } else {
            copy(&mut sections, "endpoint_url", &text, &place, report);
        }
        if component.node.get("force_path_style").is_none() {
            report.translated(&place, "with force_path_style, which is Vector's default");
            sections.s3.push("force_path_style: true".to_owned());
        }
    }
    if setting.keep_encoding {
        sections.encoding.insert(0, "encoding: vector_json".to_owned());
        if component.node.get("compression").is_none() {
            compression("gzip", &component.at("compression"), &mut sections, report);
        }
    }
    prefix(component, &mut sections, setting, report);
    sections
}

/// Of Vector's objects.
fn compression(text: &str, place: &Place, sections: &mut Sections, report: &mut Report) {
    match text {
        "none" => report.translated(place, "vector_json.compression: none, which is the default"),
        "gzip" => {
            report.translated(place, "vector_json.compression: gzip, which is Vector's default");
            sections.encoding.push("vector_json: { compression: gzip }".to_owned());
        }
        other => report.decide(
            place,
            format!("{other:?}: the agent writes such objects plain, as here, or by gzip (vector_json.compression)"),
        ),
    }
}

fn decision(key: &str) -> String {
    match key {
        "acl" | "grant_full_control" | "grant_read" | "grant_read_acp" | "grant_write_acp" => {
            format!("{key}: the agent sets no access lists on objects: let the bucket's policy say it")
        }
        "tags" => {
            "the agent puts no tags on objects: rules of the bucket's life cycle can go by prefix".to_owned()
        }
        "tls" => "the agent trusts the system's authorities: SSL_CERT_FILE names others".to_owned(),
        "proxy" => "the agent uploads without a proxy: it has to reach S3 itself".to_owned(),
        key => format!("the key {key:?} is not known: see what it did"),
    }
}

/// Bucket or region: what is empty comes with the credentials.
fn place_of(
    sections: &mut Sections,
    key: &str,
    variable: &str,
    text: &str,
    place: &Place,
    report: &mut Report,
) {
    if text.is_empty() {
        let text = format!("is empty: it comes with the credentials of the Cedana API, or from {variable}");
        report.translated(place, text);
    } else {
        report.translated(place, format!("sink.s3.{key}"));
        sections.s3.push(format!("{key}: {}", scalar(text)));
    }
}

fn copy(sections: &mut Sections, key: &str, text: &str, place: &Place, report: &mut Report) {
    if text.is_empty() {
        report.not_needed(place, "is empty");
        return;
    }
    if key == "server_side_encryption" && !["AES256", "aws:kms", "aws:kms:dsse"].contains(&text) {
        report.decide(place, format!("{text:?}: the agent knows AES256, aws:kms and aws:kms:dsse"));
        return;
    }
    report.translated(place, format!("sink.s3.{key}"));
    sections.s3.push(format!("{key}: {}", scalar(text)));
}

fn path_style(value: &Node, has_endpoint: bool, sections: &mut Sections, place: &Place, report: &mut Report) {
    if value.is(true) && has_endpoint {
        sections.s3.push("force_path_style: true".to_owned());
        report.translated(place, "sink.s3.force_path_style");
    } else {
        report.not_needed(
            place,
            "Amazon's own S3 wants the bucket in the name of the host, which is the default",
        );
    }
}

fn batch(batch: &Node, place: &Place, sections: &mut Sections, report: &mut Report) {
    for entry in batch.entries() {
        let at = Place { line: entry.line, path: format!("{}.{}", place.path, entry.key) };
        let number =
            entry.value.text().and_then(|text| text.parse::<f64>().ok()).filter(|n| *n >= 0.1 && *n < 1e9);
        match (entry.key.as_str(), number) {
            ("max_bytes", Some(_)) => {
                let bytes = entry.value.text().and_then(|text| text.parse::<u64>().ok()).unwrap_or(10 << 20);
                // Below, the agent refuses it.
                let size = Size(bytes.max(1 << 10));
                report.translated(&at, format!("batch.max_bytes: {size}, of Parquet; rarely reached"));
                sections.batch.push(format!("max_bytes: {size}"));
            }
            ("timeout_secs", Some(seconds)) => {
                let age = Duration(std::time::Duration::from_secs_f64(seconds));
                report.translated(&at, format!("batch.max_age: {age}"));
                sections.batch.push(format!("max_age: {age}"));
            }
            ("max_events", _) => {
                let text = "rows cost little in Parquet, and a limit of them would refuse large scrapes: batch.max_rows stays as it is";
                report.not_needed(&at, text);
            }
            (key, _) => report.decide(&at, format!("the batch has no {key:?} of this kind: see what it did")),
        }
    }
    if batch.get("timeout_secs").is_none() {
        report.not_needed(
            place,
            "Vector's default is an object every 300 s; the agent's is 15s (batch.max_age)",
        );
    }
}

fn buffer(buffer: &Node, place: &Place, sections: &mut Sections, report: &mut Report) {
    let size = buffer.get("max_size").and_then(Node::text).and_then(|text| text.parse::<u64>().ok());
    match (buffer.get("type").and_then(Node::text), size.filter(|bytes| *bytes > 0)) {
        (Some("disk"), Some(bytes)) => {
            report.translated(
                place,
                "spool.max_bytes: when it is full, the oldest object is dropped and counted",
            );
            sections.spool_max_bytes = Some(Size(bytes).to_string());
        }
        _ => {
            report.not_needed(place, "everything is on disk within a second of its scrape (spool.max_bytes)");
        }
    }
}

fn auth(auth: &Node, place: &Place, sections: &mut Sections, report: &mut Report) {
    for entry in auth.entries() {
        let at = Place { line: entry.line, path: format!("{}.{}", place.path, entry.key) };
        match entry.key.as_str() {
            "access_key_id" | "secret_access_key" | "session_token" => {
                let variable = match entry.key.as_str() {
                    "access_key_id" => "AWS_ACCESS_KEY_ID",
                    "secret_access_key" => "AWS_SECRET_ACCESS_KEY",
                    _ => "AWS_SESSION_TOKEN",
                };
                report.decide(
                    &at,
                    format!("a credential, which is left out here: give it to the agent as {variable}"),
                );
            }
            "credentials_file" | "profile" => {
                let variable =
                    if entry.key == "profile" { "AWS_PROFILE" } else { "AWS_SHARED_CREDENTIALS_FILE" };
                report.decide(
                    &at,
                    format!("set {variable} for the agent, which reads such a file again when it changes"),
                );
            }
            "assume_role" | "external_id" | "session_name" => {
                let text = "name the role in a profile (AWS_PROFILE) or let the service account have it (AWS_ROLE_ARN)";
                report.decide(&at, text);
            }
            "imds" | "load_timeout_secs" | "region" => {
                report.not_needed(&at, "the standard chain of AWS finds it");
            }
            key => report.decide(&at, format!("the key {key:?} is not known: see what it did")),
        }
    }
    sections.is_aws = true;
}

/// What stands before the first template or part of a time.
fn literal_prefix(text: &str) -> String {
    let end = text.find("{{").into_iter().chain(text.find('%')).min().unwrap_or(text.len());
    let literal = text.get(..end).unwrap_or_default();
    // A part that is cut within its name belongs to the template.
    let whole =
        if end == text.len() { literal } else { literal.rsplit_once('/').map_or("", |(before, _)| before) };
    let parts: Vec<_> = whole.split('/').filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

fn prefix(component: &Component<'_>, sections: &mut Sections, setting: &Setting<'_>, report: &mut Report) {
    let place = component.at("key_prefix");
    let own_bucket = sections.s3.iter().any(|line| line.starts_with("bucket: "));
    let prefix = sections.prefix.clone();
    if component.node.get("key_prefix").is_some() {
        let time = match setting.keep_encoding {
            true => "keys are {prefix}/{seconds}/{seconds}-{uuid}.log, as Vector's",
            false => {
                "keys are {prefix}/{seconds}/{writer}-{number}.parquet, which sort by time as S3Queue's ordered mode wants it"
            }
        };
        match (own_bucket, prefix.is_empty()) {
            (true, false) => {
                report.translated(&place, format!("sink.s3.prefix: {prefix}; {time}"));
                sections.s3.push(format!("prefix: {}", scalar(&prefix)));
            }
            (true, true) => report.translated(&place, time),
            (false, _) => report.translated(
                &place,
                format!("the prefix comes with the bucket, from the Cedana API; where it does not, set sink.s3.prefix; {time}"),
            ),
        }
    }
    if setting.keep_encoding {
        let text = "Vector and the agent must never write below the same prefix at a time: the queue's one pointer would pass the \
                    objects of one by. Stop Vector first";
        report.decide(&place, text);
    } else {
        let text = "a table that reads Vector's JSON below this prefix would be given Parquet: look at its glob (SHOW CREATE TABLE), \
                    and set S3_PREFIX_SUFFIX where it takes in everything";
        report.decide(&place, text);
        sections.s3.push("prefix_suffix: ${S3_PREFIX_SUFFIX:-}".to_owned());
    }
    sections.is_aws |= uses_aws(setting.document, own_bucket);
}

/// Credentials from the environment of Vector's own pod.
fn uses_aws(document: &Document<'_>, own_bucket: bool) -> bool {
    own_bucket && document.environment.has_aws_keys()
}
