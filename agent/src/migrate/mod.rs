//! From a Vector configuration to one of the agent: `agent migrate`.
//!
//! Takes the text of a file, gives the agent's configuration and a report in which every part of the input is accounted for:
//! translated, fixed, not needed, or for the operator to decide. Pure functions; the file is read by `commands`.
//!
//! ```text
//! yaml > document > graph > scrape, transform (vrl > lower > formula; steps), sink > plan > write
//! ```

mod client;
mod document;
mod endpoint;
mod foreign;
mod formula;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod graph;
mod job;
mod lower;
mod plan;
#[cfg(test)]
mod properties;
mod report;
mod scrape;
mod selector;
mod sink;
mod steps;
#[cfg(test)]
mod tests;
mod transform;
mod vrl;
mod write;
mod yaml;

pub use report::{Finding, Report, Verdict};
pub(crate) use yaml::FILE_BYTES_MAX;

use document::Document;
use yaml::Node;

/// What is asked for beside the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file as it is named in the report.
    pub file: String,
    /// The sink to translate; the first of type `aws_s3` if none is named.
    pub sink: Option<String>,
    /// Whether objects stay Vector's.
    pub keep_encoding: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The agent's configuration, YAML.
    pub config: String,
    /// What became of every part of the input.
    pub report: Report,
}

/// What a component is read with.
struct Setting<'a> {
    document: &'a Document<'a>,
    /// Every statement of every transform, read or not.
    statements: Vec<vrl::Statement>,
    keep_encoding: bool,
}

impl Setting<'_> {
    /// Whether a transform looks at the label.
    fn is_read(&self, label: &str) -> bool {
        let path = format!(".tags.{label}");
        self.statements.iter().any(|statement| match &statement.expr {
            Ok(expr) => expr.reads(label),
            // It may set it too, but who knows.
            Err(_) => statement.text.contains(&path),
        })
    }
}

/// Translates a file.
///
/// # Errors
/// When it is no Vector configuration: what is wrong, and where.
pub fn migrate(text: &str, options: &Options) -> Result<Migration, String> {
    let root = yaml::parse(text)?;
    let document = document::find(&root)?;
    let mut report = Report { file: options.file.clone(), ..Report::default() };
    let transforms = document.config.get("transforms").map(Node::entries).unwrap_or_default();
    let statements = transforms.iter().flat_map(|entry| {
        let condition = entry.value.get("condition").map(|node| node.get("source").unwrap_or(node));
        let texts = condition.into_iter().chain(entry.value.get("source")).filter_map(Node::text);
        texts.flat_map(vrl::program).collect::<Vec<_>>()
    });
    let setting = Setting {
        document: &document,
        statements: statements.collect(),
        keep_encoding: options.keep_encoding,
    };
    let config = plan::configuration(&setting, options, &mut report)?;
    foreign::commented_out(text, &root, &mut report);
    report.sort();
    Ok(Migration { config, report })
}
