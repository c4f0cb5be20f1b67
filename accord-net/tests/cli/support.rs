//! Processes of the command, and a cluster that is shared by the tests of clients.
//!
//! Nothing is waited for by time alone: conditions are polled, and lines awaited, up to a bound.
//! Whatever is started ends with this process at the latest: clusters end when their standard input
//! does.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Long enough for a machine that has much else to do.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The command, without anything from the environment that it would look at.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accord"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ACCORD_") {
            command.env_remove(name);
        }
    }
    command
}

/// What came of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The output, of a command that must have succeeded.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What was complained of, by a command that must have ended with this code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.err
    }

    /// Each line of the output as JSON.
    #[track_caller]
    pub fn json(self) -> Vec<Value> {
        let lines = self.out.lines();
        lines.map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8]) -> Ran {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawned.spawn().expect("the command starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that does not look at its input may be gone already.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("the command ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs the command with these arguments.
#[track_caller]
pub fn accord(args: &[&str]) -> Ran {
    run(command().args(args), b"")
}

/// A process whose output is read line by line as it comes. Ends when dropped.
pub struct Process {
    child: Child,
    /// Behind a lock only so that the shared cluster may be shared.
    lines: Mutex<Receiver<String>>,
    seen: Vec<String>,
}

impl Process {
    /// Starts a command. Both of its outputs are read.
    pub fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawned.spawn().expect("the command starts");
        let (tell, lines) = channel();
        let out: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("it is piped"));
        let err: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("it is piped"));
        for stream in [out, err] {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines: Mutex::new(lines), seen: Vec::new() }
    }

    /// Waits for a line that contains this.
    #[track_caller]
    pub fn line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.get_mut().expect("nobody panicked").recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {part:?} came, but {:#?}", self.seen),
            }
        }
    }

    /// The lines that came so far, as far as they were awaited.
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().expect("it can be waited for"))
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number fits")
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        send(self.pid(), signal);
    }

    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it listens");
    }

    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test started.
pub fn send(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// True while there is such a process, and it has not ended.
pub fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Polls until there is something.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A cluster of real processes on ports that the system chose.
pub struct Cluster {
    pub process: Process,
    /// Where clients connect, as `--servers` has it.
    pub servers: String,
    /// The servers' processes.
    pub pids: Vec<i32>,
}

impl Cluster {
    /// Starts one and waits until it serves.
    pub fn start(extra: &[&str]) -> Self {
        let fixed = ["cluster", "--client-port-base", "auto", "--http", "auto", "--plain"];
        let mut command = command();
        command.args(fixed).arg("--exit-with-parent").args(extra);
        let mut process = Process::start(&mut command);
        let line = process.line("cluster serves at ");
        let servers = line.split(" at ").nth(1).expect("the line names them").to_owned();
        let line = process.line("accord: processes ");
        let pids = line.split(|c: char| !c.is_ascii_digit()).filter_map(|pid| pid.parse().ok());
        Self { process, servers, pids: pids.collect() }
    }

    /// The one that the tests of clients share. It ends with this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// A command on this cluster.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.env("ACCORD_SERVERS", &self.servers).env("ACCORD_TIMEOUT_MS", "30000").args(args);
        command
    }

    /// Runs a command on this cluster.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args), b"")
    }
}
