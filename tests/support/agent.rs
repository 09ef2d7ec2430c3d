//! The real `agent` binary: built once, run with a configuration and an environment of its own, watched through its
//! admin server and its output, stopped by id.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Longest that any run may take to end by itself or after a signal: above the 25 seconds the agent gives itself.
const DEADLINE: Duration = Duration::from_secs(60);

/// The binary: cargo puts it beside the programs that it builds, and one folder above the tests.
///
/// # Panics
/// When it is not there.
pub fn binary() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let directory = program.parent().expect("a directory");
    let directory =
        if directory.ends_with("deps") { directory.parent().expect("a directory") } else { directory };
    let binary = directory.join("agent");
    assert!(
        binary.is_file(),
        "{} is not there: build it with cargo build --workspace --bins",
        binary.display()
    );
    binary
}

/// An agent about to be run.
#[derive(Clone, Debug)]
pub struct Agent {
    arguments: Vec<OsString>,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Agent {
    /// An agent in this directory, with these arguments and an empty environment.
    pub fn new<A: Into<OsString>>(directory: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        // No cloud is asked for keys, whatever machine this is.
        let environment = [("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nonexistent")];
        let environment = environment.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        Self { arguments, environment, directory: directory.to_owned() }
    }

    /// An agent with this configuration, written to a file in the directory.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn with_config(directory: &Path, config: &str) -> Self {
        let file = directory.join("config.yaml");
        std::fs::write(&file, config).expect("to write the configuration");
        Self::new(directory, [OsString::from("--config"), file.into()])
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(&self) -> Running {
        let mut command = Command::new(binary());
        command.args(&self.arguments).env_clear().envs(&self.environment).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("to start the agent");
        let stdout = Captured::new(child.stdout.take().expect("its stdout"));
        let stderr = Captured::new(child.stderr.take().expect("its stderr"));
        Running { child, stdout, stderr }
    }

    /// Runs it until it ends by itself.
    #[must_use]
    pub fn run(&self) -> Outcome {
        self.start().wait()
    }
}

/// Text that a thread reads from a pipe.
struct Captured {
    text: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Captured {
    fn new(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { text, thread: Some(thread) }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all(mut self) -> String {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.so_far()
    }
}

/// A running agent; killed when dropped.
pub struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Where its admin server listens, as it says in its log.
    ///
    /// # Panics
    /// When it does not say so within 20 seconds.
    pub fn address(&mut self) -> String {
        let listening =
            regex::Regex::new(r#""(?:listen|address)":"(127\.0\.0\.1:[1-9]\d*)""#).expect("a pattern");
        let found = wait::for_some(Duration::from_secs(20), || {
            let text = self.stderr();
            let ended = self.child.try_wait().expect("the state of a child").is_some();
            assert!(!ended, "the agent ended early: {text}");
            listening.captures(&text).map(|found| found[1].to_owned())
        });
        found.unwrap_or_else(|| panic!("the agent does not say where it listens: {}", self.stderr()))
    }

    /// Asks the admin server: status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        let address = self.address();
        let answer = ask(&address, "GET", path);
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}; log: {}", self.stderr()))
    }

    /// Sends the admin server a POST without a body: status and body of the answer.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn post(&mut self, path: &str) -> (u16, String) {
        let address = self.address();
        let answer = ask(&address, "POST", path);
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}; log: {}", self.stderr()))
    }

    /// The sum of a metric of the agent's own over all series whose labels contain all of `labels`.
    pub fn metric(&mut self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, body) = self.get("/metrics");
        sum(&body, name, labels)
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// When it does not within 20 seconds; the text says what was waited for.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = Duration::from_secs(20);
        let met = wait::for_some(deadline, || condition(self).then_some(()));
        assert!(met.is_some(), "not within {deadline:?}: {what}");
    }

    /// Waits until the log contains `text`.
    pub fn wait_for_log(&mut self, text: &str) {
        self.wait_until(text, |agent| agent.stderr().contains(text));
    }

    /// Waits until `/readyz` answers with this status, and returns its body.
    pub fn wait_for_ready(&mut self, status: u16) -> String {
        self.wait_until(&format!("/readyz to answer {status}"), |agent| agent.get("/readyz").0 == status);
        self.get("/readyz").1
    }

    /// Sends it SIGTERM and waits for its end.
    #[must_use]
    pub fn terminate(self) -> Outcome {
        signal(&self.child, Signal::TERM);
        self.wait()
    }

    /// Kills it, as a node that fails would.
    #[must_use]
    pub fn kill(self) -> Outcome {
        signal(&self.child, Signal::KILL);
        self.wait()
    }

    /// Asks it to load its configuration again (SIGHUP).
    pub fn hang_up(&self) {
        signal(&self.child, Signal::HUP);
    }

    /// Stops it where it is (SIGSTOP), as a node without time for it would.
    pub fn pause(&self) {
        signal(&self.child, Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within a minute.
    #[must_use]
    pub fn wait(mut self) -> Outcome {
        let status = wait::for_some(DEADLINE, || self.child.try_wait().expect("the state of a child"));
        let Some(status) = status else { panic!("the agent does not end: {}", self.stderr()) };
        let stdout = std::mem::replace(&mut self.stdout, Captured::new(std::io::empty()));
        let stderr = std::mem::replace(&mut self.stderr, Captured::new(std::io::empty()));
        Outcome { code: status.code(), stdout: stdout.all(), stderr: stderr.all() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(&self.child, Signal::KILL);
            let _ = self.child.wait();
        }
        let log = self.stderr();
        // Whatever the test failed of, this is where the reason stands.
        if std::thread::panicking() && !log.is_empty() {
            eprintln!("the agent's log:\n{log}");
        }
    }
}

/// Signals a child that has not been waited for, so that its id cannot belong to anyone else.
fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(id) = id {
        let _ = kill_process(id, signal);
    }
}

/// One blocking request: status and body.
fn ask(address: &str, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| std::io::Error::other(head.to_owned()))?, body.to_owned()))
}

fn sum(body: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let lines = body.lines().filter_map(|line| line.strip_prefix(name));
    let lines = lines.filter(|rest| rest.starts_with('{') || rest.starts_with(' '));
    let lines =
        lines.filter(|rest| labels.iter().all(|(name, value)| rest.contains(&format!("{name}=\"{value}\""))));
    lines.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_matching_series() {
        let body = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na_total 9\nb 1e3\n";
        let check = |name: &str, labels: &[(&str, &str)], expected: f64| {
            assert!((sum(body, name, labels) - expected).abs() < 1e-9, "{name} {labels:?}");
        };
        check("a", &[], 7.0);
        check("a", &[("y", "3")], 4.0);
        check("a", &[("y", "4")], 0.0);
        check("b", &[], 1000.0);
    }
}
