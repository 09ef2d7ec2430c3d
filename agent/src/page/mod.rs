//! The page that an operator looks at: files that are part of the program, so that nothing has to be built or fetched.
//!
//! Gives a file for a path. The page shows what `/api/v1` says, and keeps what it needs for rates in the browser.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A file of the page.
#[derive(Debug)]
pub(crate) struct File {
    /// Its `Content-Type`.
    pub(crate) kind: &'static str,
    /// What is in it.
    pub(crate) text: &'static str,
}

impl File {
    /// Changes with its text.
    pub(crate) fn etag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The file at this path, if the page has one there.
pub(crate) fn file(path: &str) -> Option<File> {
    let (kind, text) = match path {
        "/" => (HTML, include_str!("index.html")),
        "/page/page.css" => (CSS, include_str!("page.css")),
        "/page/main.js" => (SCRIPT, include_str!("main.js")),
        "/page/elements.js" => (SCRIPT, include_str!("elements.js")),
        "/page/picture.js" => (SCRIPT, include_str!("picture.js")),
        "/page/status.js" => (SCRIPT, include_str!("status.js")),
        "/page/targets.js" => (SCRIPT, include_str!("targets.js")),
        "/page/texts.js" => (SCRIPT, include_str!("texts.js")),
        _ => return None,
    };
    Some(File { kind, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 8] = [
        "/",
        "/page/page.css",
        "/page/main.js",
        "/page/elements.js",
        "/page/picture.js",
        "/page/status.js",
        "/page/targets.js",
        "/page/texts.js",
    ];

    /// Labels and errors are what others wrote, so that texts become texts and never markup; and everything is small.
    #[test]
    fn nothing_turns_texts_into_markup_or_asks_elsewhere() {
        for path in PATHS {
            let text = file(path).unwrap().text;
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "style=\"",
                "onclick=",
            ] {
                assert!(!text.contains(forbidden), "{path}: {forbidden}");
            }
            let elsewhere = text.split("//").skip(1).find(|rest| {
                let host = rest.split(['/', '"', '\'', ' ', '`']).next().unwrap_or_default();
                host.contains('.') && !host.ends_with('.') && host != "www.w3.org" && !host.contains('(')
            });
            assert!(elsewhere.is_none(), "{path} names another host: {elsewhere:?}");
            assert!(text.len() < 32 << 10, "{path} has {} bytes", text.len());
            assert!(text.lines().count() <= 500, "{path} has {} lines", text.lines().count());
        }
    }

    /// Behind a proxy the page does not stand at the top.
    #[test]
    fn addresses_are_relative() {
        let html = file("/").unwrap().text;
        for found in html.split("src=\"").skip(1).chain(html.split("href=\"").skip(1)) {
            assert!(!found.starts_with('/'), "{}", found.lines().next().unwrap_or_default());
        }
        assert!(file("/page/mod.rs").is_none() && file("/page/").is_none());
    }
}
