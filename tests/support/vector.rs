//! Objects as Vector wrote them, read back into samples: what a reader of the rows makes of them.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::exposition::NAN;
use crate::objects::Row;

/// Reads an object, by gzip or not. Histograms and summaries become the samples that they were put together from; what JSON
/// cannot say, [`NAN`]. The tags that are not labels are left out.
///
/// # Errors
/// When it is not what Vector would have written.
pub fn read(bytes: &[u8]) -> anyhow::Result<Vec<Row>> {
    let mut text = String::new();
    match bytes.starts_with(&[0x1f, 0x8b]) {
        true => _ = GzDecoder::new(bytes).read_to_string(&mut text)?,
        false => std::str::from_utf8(bytes)?.clone_into(&mut text),
    }
    ensure!(!text.contains('\n'), "more than one line");
    let elements: Vec<Value> = serde_json::from_str(&text)?;
    let mut rows = Vec::new();
    for element in &elements {
        rows_of(element, &mut rows).with_context(|| element.to_string())?;
    }
    Ok(rows)
}

fn rows_of(element: &Value, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let fields: Vec<&String> = element.as_object().context("no object")?.keys().collect();
    ensure!(fields.len() == 5 && fields[..4] == ["name", "tags", "timestamp", "kind"], "fields {fields:?}");
    ensure!(element["kind"] == "absolute", "a kind");
    let name = element["name"].as_str().context("a name")?;
    let time: jiff::Timestamp = element["timestamp"].as_str().context("a time")?.parse()?;
    let mut tags: BTreeMap<String, String> = serde_json::from_value(element["tags"].clone())?;
    ensure!(tags.remove("ts") == Some(time.as_second().to_string()), "the tag ts");
    ensure!(tags.remove("collector").as_ref() == tags.get("job"), "the tag collector");
    ensure!(tags.remove("host").as_ref() == tags.get("node"), "the tag host");
    let mut add = |suffix: &str, label: Option<(&str, String)>, value: f64| {
        let mut labels = tags.clone();
        labels.extend(label.map(|(name, value)| (name.to_owned(), value)));
        let (metric, kind) = (format!("{name}{suffix}"), fields[4].clone());
        let promoted = BTreeMap::new();
        rows.push(Row { timestamp: time.as_millisecond(), metric, kind, promoted, labels, value });
    };
    let value = &element[fields[4]];
    let number = |value: &Value| value.as_f64().unwrap_or(NAN);
    match fields[4].as_str() {
        "counter" | "gauge" => add("", None, number(&value["value"])),
        "aggregated_histogram" => {
            let mut until = 0.0;
            for bucket in value["buckets"].as_array().context("buckets")? {
                until += number(&bucket["count"]);
                let limit = number(&bucket["upper_limit"]).to_string();
                add("_bucket", Some(("le", limit)), until);
            }
            add("_bucket", Some(("le", "+Inf".to_owned())), number(&value["count"]));
        }
        "aggregated_summary" => {
            for quantile in value["quantiles"].as_array().context("quantiles")? {
                let which = number(&quantile["quantile"]).to_string();
                add("", Some(("quantile", which)), number(&quantile["value"]));
            }
        }
        other => anyhow::bail!("{other} is nothing that Vector wrote"),
    }
    if fields[4].starts_with("aggregated") {
        add("_sum", None, number(&value["sum"]));
        add("_count", None, number(&value["count"]));
    }
    Ok(())
}
